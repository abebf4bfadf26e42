#include "ctl_lab.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/text.h"
#include "base/words.h"
#include "dcs/base64.h"

#define ANSWER_HEAD "{\"header\":{\"cluster_id\":\"7\",\"revision\":\"100\",\"raft_term\":\"2\"}"
#define VERSION "{\"etcdserver\":\"3.4.23\",\"etcdcluster\":\"3.4.0\"}"

static bool refuse_writes;

/* --- the store ------------------------------------------------------------------------------------------------------
 */

static void put_value(struct textbuf *b, const char *value, const char *rest_url)
{
    struct textbuf text = {0};

    for (; *value; value++)
        if (*value == '@')
            textbuf_puts(&text, rest_url);
        else
            textbuf_append(&text, value, 1);
    base64_append(b, text.data ? text.data : "", text.len);
    textbuf_done(&text);
}

static char *range_answer(const struct ctl_lab *lab, const struct ctl_lab_key *keys, size_t n)
{
    struct textbuf b = {0};

    textbuf_puts(&b, ANSWER_HEAD ",\"kvs\":[");
    for (size_t i = 0; i < n; i++) {
        char path[256];

        assert_true(text_print(path, sizeof(path), "/service/demo/%s", keys[i].key));
        textbuf_printf(&b, "%s{\"key\":\"", i ? "," : "");
        base64_append(&b, path, strlen(path));
        textbuf_printf(&b, "\",\"mod_revision\":\"%u\",\"value\":\"", keys[i].revision ? keys[i].revision : 10);
        put_value(&b, keys[i].value, canned_server_url(lab->rest));
        textbuf_puts(&b, "\"}");
    }
    textbuf_printf(&b, "],\"count\":\"%zu\"}", n);
    return textbuf_take(&b);
}

static void set_store_rules(struct ctl_lab *lab)
{
    struct canned_rule rules[16] = {
        {.path = "/version", .body = VERSION},
        {.path = "/kv/txn", .body = refuse_writes ? ANSWER_HEAD "}" : ANSWER_HEAD ",\"succeeded\":true}"},
        {.path = "/kv/deleterange", .body = ANSWER_HEAD ",\"deleted\":\"5\"}"},
    };
    size_t n = 3;

    for (size_t i = 0; i < ARRAY_LEN(lab->ranges) && lab->ranges[i]; i++) {
        bool last = i + 1 == ARRAY_LEN(lab->ranges) || !lab->ranges[i + 1];

        rules[n++] = (struct canned_rule){.path = "/kv/range", .body = lab->ranges[i], .times = last ? 0 : 1};
    }
    canned_server_replace(lab->store, rules, n);
}

void ctl_lab_then(struct ctl_lab *lab, const struct ctl_lab_key *keys, size_t n_keys)
{
    size_t i = 0;

    while (i < ARRAY_LEN(lab->ranges) && lab->ranges[i])
        i++;
    assert_true(i < ARRAY_LEN(lab->ranges));
    lab->ranges[i] = range_answer(lab, keys, n_keys);
    set_store_rules(lab);
}

void ctl_lab_refuse_writes(struct ctl_lab *lab)
{
    refuse_writes = true;
    set_store_rules(lab);
}

/* --- the configuration ----------------------------------------------------------------------------------------------
 */

static void load_config(struct ctl_lab *lab, const char *more)
{
    char path[] = "/tmp/pgtether-test-ctl-XXXXXX";
    struct config_problems problems = {0};
    struct textbuf text = {0};
    struct err err = {0};
    int fd = mkstemp(path);

    textbuf_printf(&text,
                   "scope = \"demo\"; name = \"ctl\";\n"
                   "restapi: { connect_address = \"10.0.0.9:8008\";\n"
                   "           authentication: { username = \"admin\"; password = \"rest\"; }; };\n"
                   "etcd3: { url = \"%s\"; use_proxies = true; };\n"
                   "postgresql: { listen = \"10.0.0.9:5432\"; data_dir = \"/nowhere/x\"; bin_dir = \"/tmp\";\n"
                   "    authentication: { replication: { username = \"r\"; password = \"x\"; };\n"
                   "                      superuser: { username = \"p\"; password = \"x\"; }; }; };\n%s",
                   canned_server_url(lab->store), more ? more : "");
    assert_true(fd >= 0 && write(fd, text.data, text.len) == (ssize_t)text.len);
    if (config_load(path, &lab->ctl.config, &problems, &err) < 0) {
        char *why = config_problems_text(&problems);

        fail_msg("%s\n%s", err.msg, why);
    }
    config_problems_done(&problems);
    textbuf_done(&text);
    assert_int_equal(close(fd) | unlink(path), 0);
}

void ctl_lab_open(struct ctl_lab *lab, const char *config, const struct canned_rule *rest, size_t n_rest,
                  const struct ctl_lab_key *keys, size_t n_keys)
{
    *lab = (struct ctl_lab){0};
    refuse_writes = false;
    assert_true(sd_event_new(&lab->ctl.loop) >= 0);
    lab->store = canned_server_new(lab->ctl.loop, NULL, 0);
    lab->rest = canned_server_new(lab->ctl.loop, rest, n_rest);
    ctl_lab_then(lab, keys, n_keys);
    load_config(lab, config);
}

void ctl_lab_close(struct ctl_lab *lab)
{
    sd_event *loop = sd_event_ref(lab->ctl.loop);

    ctl_done(&lab->ctl);
    lab->store = canned_server_free(lab->store);
    lab->rest = canned_server_free(lab->rest);
    for (size_t i = 0; i < ARRAY_LEN(lab->ranges); i++)
        free(lab->ranges[i]);
    (void)sd_event_unref(loop);
}

/* --- the command ----------------------------------------------------------------------------------------------------
 */

/* An unlinked file that is read later. */
static int scratch(const char *content)
{
    char path[] = "/tmp/pgtether-test-ctl-XXXXXX";
    int fd = mkstemp(path);

    assert_true(fd >= 0 && unlink(path) == 0);
    assert_true(write(fd, content, strlen(content)) == (ssize_t)strlen(content));
    assert_true(lseek(fd, 0, SEEK_SET) == 0);
    return fd;
}

static void take(int fd, char *buf, size_t size)
{
    ssize_t n;

    assert_true(lseek(fd, 0, SEEK_SET) == 0);
    n = read(fd, buf, size - 1);
    assert_true(n >= 0);
    buf[n] = '\0';
    assert_int_equal(close(fd), 0);
}

/* stdin, stdout and stderr become these; what they were comes back in their place. */
static void swap(int fds[3])
{
    (void)fflush(stdout);
    (void)fflush(stderr);
    for (int i = 0; i < 3; i++) {
        int before = dup(i);

        assert_true(before >= 0 && dup2(fds[i], i) == i && dup2(before, fds[i]) == fds[i]);
        assert_int_equal(close(before), 0);
    }
    (void)fflush(stdin);
    clearerr(stdin);
}

void ctl_lab_run(struct ctl_lab *lab, ctl_command_fn command, const char *line, const char *answers)
{
    int fds[3] = {scratch(answers), scratch(""), scratch("")};
    char **words = words_split(line), *argv[32] = {NULL};
    int argc = 0;

    assert_non_null(words);
    for (; words[argc]; argc++) {
        assert_true((size_t)argc + 1 < ARRAY_LEN(argv));
        argv[argc] = words[argc]; /* which the command may reorder */
    }
    swap(fds);
    optind = 0;
    opterr = 0;
    lab->exit_code = command(&lab->ctl, argc, argv);
    swap(fds);
    assert_int_equal(close(fds[0]), 0);
    take(fds[1], lab->out, sizeof(lab->out));
    take(fds[2], lab->errors, sizeof(lab->errors));
    (void)words_free(words);
}

void ctl_lab_expect(const struct ctl_lab *lab, int exit_code, const char *out)
{
    if (lab->exit_code != exit_code || (!strstr(lab->out, out) && !strstr(lab->errors, out)))
        fail_msg("expected %d and \"%s\", got %d and\n%s\n--- stderr\n%s", exit_code, out, lab->exit_code, lab->out,
                 lab->errors);
}
