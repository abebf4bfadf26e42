/* A configuration that is read again: what is taken over, what keeps its value, and where it stands. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include "base/text.h"
#include "config/config.h"
#include "config/load.h"

static const char base[] = "scope = \"demo\";\n"
                           "name = \"n1\";\n"
                           "restapi: { listen = \"10.0.0.1:8008\"; %s };\n"
                           "etcd3: { hosts = [ \"10.0.0.1:2379\" ]; };\n"
                           "postgresql: {\n"
                           "  listen = \"%s\";\n"
                           "  connect_address = \"10.0.0.1:5432\";\n"
                           "  data_dir = \"/var/lib/x\";\n"
                           "  bin_dir = \"/usr/bin\";\n"
                           "  authentication: { superuser: { username = \"postgres\"; password = \"%s\"; };\n"
                           "    replication: { username = \"r\"; password = \"p\"; }; };\n"
                           "  parameters: { work_mem = \"%s\"; };\n"
                           "  custom_parameters = ( \"auto_explain.log_min_duration = 5s\" );\n"
                           "};\n"
                           "%s\n";

static struct config *load(const char *rest, const char *listen, const char *password, const char *work_mem,
                           const char *more)
{
    struct config_problems problems;
    struct config *c = NULL;
    char text[4096];

    (void)text_print(text, sizeof(text), base, rest, listen, password, work_mem, more);
    if (config_load_text("/etc/n1.conf", text, &c, &problems, NULL) < 0)
        fail_msg("%s", config_problems_text(&problems));
    config_problems_done(&problems);
    return c;
}

static struct config *usual(const char *work_mem)
{
    return load("", "10.0.0.1:5432", "secret", work_mem, "tags: { zone = \"a\"; };");
}

static void renew(struct config *live, struct config *fresh, const char *want_applied, const char *want_restart)
{
    struct textbuf applied = {0}, restart = {0};
    char *a, *r;

    config_renew(live, fresh, &applied, &restart);
    a = textbuf_take(&applied);
    r = textbuf_take(&restart);
    assert_string_equal(a, want_applied);
    assert_string_equal(r, want_restart);
    free(a);
    free(r);
}

static void test_config_renew_of_the_same_changes_nothing(void **state)
{
    struct config *c = usual("4MB");

    (void)state;
    renew(c, usual("4MB"), "", "");
    (void)config_free(c);
}

static void test_config_renew_takes_over_what_can_be(void **state)
{
    struct config *c = usual("4MB");

    (void)state;
    renew(c, load("", "10.0.0.1:5432", "other", "8MB", "tags: { zone = \"b\"; nofailover = true; };"),
          "postgresql.authentication.superuser.password: (secret) -> (secret) (n1.conf:10)\n"
          "postgresql.parameters.work_mem: 4MB -> 8MB (n1.conf:12)\n"
          "tags.zone: a -> b (n1.conf:15)\n"
          "tags.nofailover: (not set) -> on (n1.conf:15)\n",
          "");
    assert_string_equal(c->postgresql.superuser.password, "other");
    assert_string_equal(c->postgresql.parameters.items[0].value, "8MB");
    assert_true(c->tags.nofailover);
    assert_non_null(strstr(c->tags_json, "\"zone\":\"b\""));
    (void)config_free(c);
}

static void test_config_renew_keeps_what_the_process_was_started_with(void **state)
{
    struct config *c = usual("4MB");
    const char *data_dir = c->postgresql.data_dir;

    (void)state;
    renew(c, load("", "10.0.0.1:5433", "secret", "4MB", "watchdog: { mode = \"off\"; };"),
          "tags.zone: a -> (not set)\n",
          "postgresql.listen: 10.0.0.1:5432 -> 10.0.0.1:5433 (n1.conf:6)\n"
          "watchdog.mode: (not set) -> off (n1.conf:15)\n");
    assert_int_equal(c->postgresql.listen_port, 5432);
    assert_int_equal(c->watchdog.mode, WATCHDOG_AUTOMATIC);
    assert_ptr_equal(c->postgresql.data_dir, data_dir);
    assert_string_equal(c->tags_json, "{}");
    (void)config_free(c);
}

/* The server either has TLS or not; its certificates can be others. */
static void test_config_renew_does_not_switch_tls_on_or_off(void **state)
{
    struct config *c = usual("4MB");

    (void)state;
    renew(c, load("certfile = \"/a.crt\";", "10.0.0.1:5432", "secret", "4MB", "tags: { zone = \"a\"; };"), "",
          "restapi.certfile: (not set) -> /a.crt (n1.conf:3)\n");
    assert_null(c->restapi.tls.certfile);
    (void)config_free(c);
    c = load("certfile = \"/a.crt\";", "10.0.0.1:5432", "secret", "4MB", "");
    renew(c, load("certfile = \"/b.crt\";", "10.0.0.1:5432", "secret", "4MB", ""),
          "restapi.certfile: /a.crt -> /b.crt (n1.conf:3)\n", "");
    assert_string_equal(c->restapi.tls.certfile, "/b.crt");
    (void)config_free(c);
}

static void test_config_places_name_file_and_line(void **state)
{
    struct config *c = usual("4MB");
    const struct config_place *p = config_place_of(c, "postgresql.parameters.work_mem");

    (void)state;
    assert_non_null(p);
    assert_int_equal(p->line, 12);
    assert_string_equal(p->file, "/etc/n1.conf");
    p = config_place_of(c, "postgresql.parameters.auto_explain.log_min_duration");
    assert_non_null(p);
    assert_string_equal(p->text, "5s");
    assert_int_equal(p->line, 13);
    p = config_place_of(c, "postgresql.authentication.superuser.password");
    assert_non_null(p);
    assert_null(p->text);
    assert_null(config_place_of(c, "postgresql.parameters"));
    (void)config_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_config_renew_of_the_same_changes_nothing),
        cmocka_unit_test(test_config_renew_takes_over_what_can_be),
        cmocka_unit_test(test_config_renew_keeps_what_the_process_was_started_with),
        cmocka_unit_test(test_config_renew_does_not_switch_tls_on_or_off),
        cmocka_unit_test(test_config_places_name_file_and_line),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
