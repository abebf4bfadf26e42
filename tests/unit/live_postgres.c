#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "live_postgres.h"
#include <errno.h>
#include <glob.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/text.h"

enum { CONFIGS_MAX = 32, TEXTS_MAX = 512, PORT_FIRST = 21340, PORTS_EACH = 10, PORT_SETS = 6 };

static char dir[64], bin_dir[256];
static struct config *configs[CONFIGS_MAX];
static size_t n_configs;
static void *texts[TEXTS_MAX];
static size_t n_texts;
static int port_lock = -1; /* held by a name in the abstract namespace, which ends with the process */
static unsigned port_base;

const char *live_dir(void)
{
    return dir;
}

const char *live_bin_dir(void)
{
    return bin_dir;
}

static void *keep(void *p)
{
    assert_non_null(p);
    assert_true(n_texts < TEXTS_MAX);
    texts[n_texts++] = p;
    return p;
}

char *live_text(const char *fmt, ...)
{
    struct textbuf b = {0};
    va_list ap;

    va_start(ap, fmt);
    textbuf_vprintf(&b, fmt, ap);
    va_end(ap);
    return keep(textbuf_take(&b));
}

/* The newest that is installed, or those of another version; see tests/system/get-postgresql. */
static bool find_programs(void)
{
    const char *wanted = getenv("PGTETHER_TEST_PG");
    glob_t found = {0};
    bool have;

    if (wanted && *wanted)
        return text_copy(bin_dir, sizeof(bin_dir), wanted);
    have = glob("/usr/lib/postgresql/*/bin/initdb", 0, NULL, &found) == 0 ||
           glob("/usr/pgsql-*/bin/initdb", 0, NULL, &found) == 0 || glob("/usr/bin/initdb", 0, NULL, &found) == 0;

    if (have) {
        (void)text_copy(bin_dir, sizeof(bin_dir), found.gl_pathv[found.gl_pathc - 1]);
        *strrchr(bin_dir, '/') = '\0';
    }
    globfree(&found);
    return have;
}

static bool become_unprivileged(void)
{
    const struct passwd *pw;

    if (geteuid() != 0)
        return true;
    pw = getpwnam("postgres");
    return pw && initgroups("postgres", pw->pw_gid) == 0 && setgid(pw->pw_gid) == 0 && setuid(pw->pw_uid) == 0 &&
           setenv("HOME", "/tmp", 1) == 0 && chdir("/") == 0; /* the build may be below /root */
}

/* Another run of the tests may be under way on this host: talking to its server would be worse than failing. */
static bool reserve_ports(void)
{
    for (unsigned i = 0; i < PORT_SETS; i++) {
        struct sockaddr_un name = {.sun_family = AF_UNIX};
        int n = snprintf(name.sun_path + 1, sizeof(name.sun_path) - 1, "pgtether-live-ports-%u", i);

        port_lock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        port_base = PORT_FIRST + i * PORTS_EACH;
        if (port_lock < 0)
            return false;
        if (bind(port_lock, (struct sockaddr *)&name, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + n)) == 0)
            return true;
        closep(&port_lock);
    }
    return false;
}

uint16_t live_port(unsigned i)
{
    assert_true(i < PORTS_EACH);
    return (uint16_t)(port_base + i);
}

bool live_begin(const char *test_name)
{
    if (!find_programs()) {
        (void)printf("SKIPPED %s: no PostgreSQL is installed here\n", test_name);
        return false;
    }
    if (!become_unprivileged()) {
        (void)printf("SKIPPED %s: there is no user \"postgres\" to run servers as\n", test_name);
        return false;
    }
    if (!reserve_ports()) {
        (void)printf("SKIPPED %s: too many of these tests run on this host\n", test_name);
        return false;
    }
    (void)text_print(dir, sizeof(dir), "/tmp/pgtether-%s-XXXXXX", test_name);
    if (!mkdtemp(dir)) {
        (void)printf("SKIPPED %s: no directory in /tmp can be made\n", test_name);
        return false;
    }
    return true;
}

int live_run(const char *fmt, ...)
{
    struct textbuf b = {0};
    va_list ap;
    int status;

    textbuf_printf(&b, "cd '%s' && (", dir);
    va_start(ap, fmt);
    textbuf_vprintf(&b, fmt, ap);
    va_end(ap);
    textbuf_puts(&b, ") > run.log 2>&1 < /dev/null || { code=$?; cat run.log >&2; exit $code; }");
    assert_false(b.failed);
    status = system(b.data);
    textbuf_done(&b);
    return status < 0 ? -1 : WEXITSTATUS(status);
}

void live_end(void)
{
    for (size_t i = 0; i < n_configs; i++) {
        const char *data_dir = configs[i]->postgresql.data_dir;

        (void)live_run("if test -f '%s/postmaster.pid'; then '%s/pg_ctl' -D '%s' -m immediate stop; fi", data_dir,
                       bin_dir, data_dir);
    }
    (void)live_run("rm -rf -- '%s'", dir);
    for (size_t i = 0; i < n_configs; i++)
        free(configs[i]);
    for (size_t i = 0; i < n_texts; i++)
        free(texts[i]);
    n_configs = n_texts = 0;
    closep(&port_lock);
}

struct settings live_settings(const struct setting *items, size_t n)
{
    struct settings s = {.n = n};

    s.items = keep(calloc(n, sizeof(*items)));
    memcpy(s.items, items, n * sizeof(*items));
    return s;
}

struct string_list live_list(const char *item)
{
    struct string_list list = {.n = 1};

    list.items = keep(calloc(2, sizeof(char *)));
    list.items[0] = live_text("%s", item);
    return list;
}

struct config *live_config(const char *name, uint16_t port)
{
    const struct setting socket_dir = {live_text("unix_socket_directories"), live_text("%s", dir)};
    struct config *c = calloc(1, sizeof(*c));

    assert_non_null(c);
    assert_true(n_configs < CONFIGS_MAX);
    configs[n_configs++] = c;
    c->scope = live_text("demo");
    c->name = live_text("%s", name);
    c->postgresql.listen_addresses = live_text("127.0.0.1");
    c->postgresql.listen_port = port;
    c->postgresql.connect_host = live_text("127.0.0.1");
    c->postgresql.connect_port = port;
    c->postgresql.data_dir = live_text("%s/%s", dir, name);
    c->postgresql.config_dir = c->postgresql.data_dir;
    c->postgresql.config_base_name = live_text("postgresql");
    c->postgresql.bin_dir = live_text("%s", bin_dir);
    c->postgresql.pgpass = live_text("%s/%s.pgpass", dir, name);
    c->postgresql.database = live_text("postgres");
    c->postgresql.log_file = live_text("%s/%s.log", dir, name);
    c->postgresql.run_dir = live_text("%s", dir);
    c->postgresql.superuser.username = live_text("postgres");
    c->postgresql.superuser.password = live_text("super secret");
    c->postgresql.replication.username = live_text("replicator");
    c->postgresql.replication.password = live_text("rep:secret\\");
    c->postgresql.parameters = live_settings(&socket_dir, 1);
    c->bootstrap.dcs_json = live_text("{}");
    return c;
}

void live_start(const struct config *c, const char *more_options)
{
    int r =
        live_run("'%s/pg_ctl' -D '%s' -l '%s' -w -t 60 -o \"-p %u -h 127.0.0.1 -k '%s' -c fsync=off %s\" start",
                 bin_dir, c->postgresql.data_dir, c->postgresql.log_file, c->postgresql.listen_port, dir, more_options);

    if (r != 0)
        (void)live_run("cat '%s'; exit 1", c->postgresql.log_file);
    assert_int_equal(r, 0);
}

void live_stop(const struct config *c, const char *mode)
{
    assert_int_equal(live_run("'%s/pg_ctl' -D '%s' -w -t 60 -m %s stop", bin_dir, c->postgresql.data_dir, mode), 0);
}

const char *live_query(const struct config *c, const char *sql)
{
    static char answer[4096];
    FILE *file;
    size_t n;

    /* The query travels in the environment: no quoting. */
    assert_int_equal(setenv("LIVE_SQL", sql, 1), 0);
    assert_int_equal(live_run("PGPASSWORD='%s' '%s/psql' -X -A -t -q -h 127.0.0.1 -p %u -U '%s' -d postgres -c "
                              "\"$LIVE_SQL\" > answer",
                              c->postgresql.superuser.password, bin_dir, c->postgresql.listen_port,
                              c->postgresql.superuser.username),
                     0);
    file = fopen(live_text("%s/answer", dir), "re");
    assert_non_null(file);
    n = fread(answer, 1, sizeof(answer) - 1, file);
    (void)fclose(file);
    answer[n] = '\0';
    answer[strcspn(answer, "\n")] = '\0';
    return answer;
}

void live_wait(sd_event *loop, const bool *flag, unsigned timeout_s)
{
    uint64_t deadline_us = clock_now_us() + timeout_s * USEC_PER_SEC;

    while (!*flag) {
        uint64_t rest_us = clock_rest_us(clock_now_us(), deadline_us);

        if (rest_us == 0)
            fail_msg("nothing happened for %u s", timeout_s);
        assert_true(sd_event_run(loop, rest_us) >= 0);
    }
}
