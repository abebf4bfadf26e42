#include "pg/archive_ready.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/text.h"
#include "io/child.h"
#include "pg/tool.h"

#define DISK_TIMEOUT_US (30 * USEC_PER_SEC)
#define FILE_TIMEOUT_US (60 * USEC_PER_SEC)
#define ALL_TIMEOUT_US (300 * USEC_PER_SEC) /* nobody gets this node's redundancy back meanwhile */
enum { NAME_SIZE = 65, COMMAND_SIZE = 4096 };

struct archive_ready {
    sd_event *loop;
    const struct config *config;
    char *cgroup_procs;
    char (*names)[NAME_SIZE];
    size_t n_names, at;
    char value[COMMAND_SIZE]; /* of the setting that was asked for */
    char command[COMMAND_SIZE];
    uint64_t until_us;
    struct archive_report report;
    struct child *child;
    archive_ready_fn done;
    void *userdata;
};

static const char *const c_locale[] = {"LC_ALL=C", "LANG=C", NULL};

bool archive_ready_name(const char *entry, char *buf, size_t size)
{
    /* What PostgreSQL's archiver takes for names, pgarch.h: no other can do harm in a command. */
    static const char allowed[] = "0123456789ABCDEFabcdefhikloprstuy.";
    size_t len = strlen(entry), ending = strlen(".ready");

    if (len <= ending || strcmp(entry + len - ending, ".ready") != 0 || strspn(entry, allowed) != len)
        return false;
    return text_print(buf, size, "%.*s", (int)(len - ending), entry);
}

bool archive_command_for(const char *command, const char *file, char *buf, size_t size)
{
    struct textbuf b = {0};
    bool fits;

    for (const char *c = command; *c; c++) {
        if (*c == '%' && c[1] == 'p')
            textbuf_printf(&b, "pg_wal/%s", file);
        else if (*c == '%' && c[1] == 'f')
            textbuf_puts(&b, file);
        else if (*c == '%' && c[1] == '%')
            textbuf_puts(&b, "%");
        else {
            textbuf_append(&b, c, 1);
            continue;
        }
        c++;
    }
    fits = !b.failed && text_copy(buf, size, b.data ? b.data : "");
    textbuf_done(&b);
    return fits;
}

/* The callback may free us. */
static void finish(struct archive_ready *a, const char *problem)
{
    a->report.n_left = a->n_names - a->at;
    if (a->report.n_left)
        (void)text_print(a->report.problem, sizeof(a->report.problem), "%.150s", problem);
    a->done(a->userdata, &a->report);
}

static void finish_failed(struct archive_ready *a, const char *what, const struct child_result *result)
{
    struct err err = {0};

    (void)tool_failure(what, result, &err);
    a->child = child_free(a->child);
    finish(a, err.msg);
}

/* --- 3: one after the other ------------------------------------------------------------------------------------------
 */

static void archive_next(struct archive_ready *a);

static void on_archived(void *userdata, const struct child_result *result)
{
    struct archive_ready *a = userdata;
    const char *dir = a->config->postgresql.data_dir, *name = a->names[a->at];
    char ready[512], done[512];

    if (result->exit_code != 0) {
        finish_failed(a, "archive_command", result);
        return;
    }
    a->child = child_free(a->child);
    /* Not renamed it would be archived once more, which an archive has to bear anyway. */
    if (text_print(ready, sizeof(ready), "%s/pg_wal/archive_status/%s.ready", dir, name) &&
        text_print(done, sizeof(done), "%s/pg_wal/archive_status/%s.done", dir, name))
        (void)rename(ready, done);
    a->report.n_archived++;
    a->at++;
    archive_next(a);
}

static void archive_next(struct archive_ready *a)
{
    char command[COMMAND_SIZE];
    const char *const argv[] = {"/bin/sh", "-c", command, NULL};
    struct child_spec spec = {.argv = argv,
                              .cwd = a->config->postgresql.data_dir,
                              .cgroup_procs = a->cgroup_procs,
                              .timeout_us = FILE_TIMEOUT_US};
    struct err err = {0};

    if (a->at == a->n_names)
        finish(a, "");
    else if (clock_now_us() >= a->until_us)
        finish(a, "it takes too long");
    else if (!archive_command_for(a->command, a->names[a->at], command, sizeof(command)))
        finish(a, "archive_command is too long");
    else if (child_start(a->loop, &spec, on_archived, a, &a->child, &err) < 0)
        finish(a, err.msg);
}

/* --- 2: what the server would do -------------------------------------------------------------------------------------
 */

static void on_line_of_value(void *userdata, const char *line)
{
    struct archive_ready *a = userdata;

    (void)text_copy(a->value, sizeof(a->value), line);
}

static int ask(struct archive_ready *a, const char *setting, child_done_fn done, struct err *err)
{
    const struct config *c = a->config;
    const char *dir = c->postgresql.config_dir, *base = c->postgresql.config_base_name;
    struct tool_args args = {0};
    struct child_spec spec = {
        .env = c_locale, .env_unset = tool_env_unset, .timeout_us = DISK_TIMEOUT_US, .on_line = on_line_of_value};
    int code;

    a->value[0] = '\0';
    /* What it complains about must not be taken for a command. */
    tool_args_add(&args, "/bin/sh");
    tool_args_add(&args, "-c");
    tool_args_add(&args, "exec \"$@\" 2>/dev/null");
    tool_args_add(&args, "sh");
    tool_args_program(&args, c, "postgres");
    tool_args_add(&args, "-D");
    tool_args_add(&args, "%s", c->postgresql.data_dir);
    tool_args_add(&args, "--config-file=%s/%s.conf", dir ? dir : c->postgresql.data_dir, base ? base : "postgresql");
    tool_args_add(&args, "-C");
    tool_args_add(&args, "%s", setting);
    spec.argv = tool_args_list(&args);
    code = spec.argv ? child_start(a->loop, &spec, done, a, &a->child, err) : err_set(err, -ENOMEM, "out of memory");
    tool_args_done(&args);
    return code;
}

static void on_command(void *userdata, const struct child_result *result)
{
    struct archive_ready *a = userdata;

    if (result->exit_code != 0) {
        finish_failed(a, "postgres -C archive_command", result);
        return;
    }
    a->child = child_free(a->child);
    (void)text_copy(a->command, sizeof(a->command), a->value);
    a->until_us = clock_now_us() + ALL_TIMEOUT_US;
    if (a->command[strspn(a->command, " ")])
        archive_next(a);
    else
        finish(a, "there is no archive_command");
}

static void on_mode(void *userdata, const struct child_result *result)
{
    struct archive_ready *a = userdata;
    struct err err = {0};

    if (result->exit_code != 0) {
        finish_failed(a, "postgres -C archive_mode", result);
        return;
    }
    a->child = child_free(a->child);
    if (text_equal(a->value, "off")) {
        a->at = a->n_names; /* left over from another time: nobody wants them */
        finish(a, "");
    } else if (ask(a, "archive_command", on_command, &err) < 0) {
        finish(a, err.msg);
    }
}

/* --- 1: what there is ------------------------------------------------------------------------------------------------
 */

static void on_entry(void *userdata, const char *line)
{
    struct archive_ready *a = userdata;
    char name[NAME_SIZE], (*more)[NAME_SIZE];

    if (!archive_ready_name(line, name, sizeof(name)))
        return;
    more = reallocarray(a->names, a->n_names + 1, sizeof(*a->names));
    if (!more)
        return;
    a->names = more;
    (void)text_copy(a->names[a->n_names++], NAME_SIZE, name);
}

static void on_list(void *userdata, const struct child_result *result)
{
    struct archive_ready *a = userdata;
    struct err err = {0};

    if (result->exit_code != 0) {
        finish_failed(a, "ls", result);
        return;
    }
    a->child = child_free(a->child);
    if (a->n_names == 0)
        finish(a, "");
    else if (ask(a, "archive_mode", on_mode, &err) < 0)
        finish(a, err.msg);
}

int archive_ready_start(sd_event *loop, const struct config *config, const char *cgroup_procs, archive_ready_fn done,
                        void *userdata, struct archive_ready **ret, struct err *err)
{
    struct archive_ready *a = calloc(1, sizeof(*a));
    char dir[512];
    const char *const argv[] = {"ls", "--", dir, NULL}; /* sorted: the oldest first, and histories behind their WAL */
    struct child_spec spec = {.argv = argv, .env = c_locale, .timeout_us = DISK_TIMEOUT_US, .on_line = on_entry};
    int code;

    if (!a)
        return err_set(err, -ENOMEM, "out of memory");
    *a = (struct archive_ready){.loop = loop, .config = config, .done = done, .userdata = userdata};
    a->cgroup_procs = cgroup_procs ? strdup(cgroup_procs) : NULL;
    if (!text_print(dir, sizeof(dir), "%s/pg_wal/archive_status", config->postgresql.data_dir))
        code = err_set(err, -ENAMETOOLONG, "path \"%s\" is too long", config->postgresql.data_dir);
    else
        code = child_start(loop, &spec, on_list, a, &a->child, err);
    if (code < 0) {
        (void)archive_ready_free(a);
        return code;
    }
    *ret = a;
    return 0;
}

struct archive_ready *archive_ready_free(struct archive_ready *a)
{
    if (!a)
        return NULL;
    (void)child_free(a->child);
    free(a->cgroup_procs);
    free(a->names);
    free(a);
    return NULL;
}
