/*
 * Failsafe mode in the agent: a promise that outlives its process, and a leader whose lease grows only when all others
 * have promised. The others are HTTP servers of this test, the store and the keeper are made of arrays.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include "agent/parts.h"
#include "base/clock.h"
#include "base/text.h"
#include "canned_http.h"
#include "io/file.h"

#define S UINT64_C(1000000)
enum { LEASE = 72 };

static char run_dir[64], state_dir[64];

static struct fixture {
    struct agent a;
    struct config config;
    struct dynamic dynamic;
    struct dcs dcs;
    struct cluster cluster;
    struct failsafe_list list;
    int keeper_fd;
    struct canned_server *servers[2];
    struct command command;
    struct command_answer answer;
    char put_value[1024];
    enum dcs_compare put_compare;
    unsigned n_puts;
    dcs_done_fn put_done;
    void *put_userdata;
} f;

static void fake_get_cluster(struct dcs *d, bool linearizable, uint64_t deadline_us, dcs_done_fn done, void *userdata)
{
    (void)d, (void)linearizable, (void)deadline_us, (void)done, (void)userdata;
}

static void fake_put(struct dcs *d, const char *key, const char *value, enum dcs_compare compare, uint64_t revision,
                     uint64_t deadline_us, dcs_done_fn done, void *userdata)
{
    (void)d, (void)revision, (void)deadline_us;
    assert_string_equal(key, "failsafe");
    (void)text_copy(f.put_value, sizeof(f.put_value), value);
    f.put_compare = compare;
    f.n_puts++;
    f.put_done = done;
    f.put_userdata = userdata;
}

static const struct dcs_ops ops = {.name = "fake", .get_cluster = fake_get_cluster, .put = fake_put};

static void on_keeper_gone(void *userdata)
{
    (void)userdata;
}

static void on_answer(struct command *c, struct command_answer *answer)
{
    (void)c;
    free(f.answer.body);
    f.answer = *answer;
}

static void make_agent(void)
{
    static char name[] = "n1", host[] = "10.0.0.1", database[] = "postgres", data_dir[] = "/nonexistent/data";
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    f.keeper_fd = pair[1];
    f.dcs.ops = &ops;
    f.config.name = name;
    f.config.restapi.connect_host = f.config.postgresql.connect_host = host;
    f.config.restapi.connect_port = 8008;
    f.config.postgresql.database = database;
    f.config.postgresql.data_dir = data_dir;
    f.dynamic.policy = POLICY_DEFAULT;
    f.dynamic.policy.failsafe_mode = true;
    f.a.config = &f.config;
    f.a.dynamic = &f.dynamic;
    f.a.dcs = &f.dcs;
    assert_true(sd_event_new(&f.a.loop) >= 0);
    assert_int_equal(keeper_link_new(f.a.loop, pair[0], on_keeper_gone, &f, &f.a.link, NULL), 0);
    assert_int_equal(http_new(f.a.loop, NULL, &f.a.http, NULL), 0);
    assert_int_equal(pg_server_new(f.a.loop, &f.config, NULL, NULL, NULL, &f.a.server, NULL), 0);
    assert_int_equal(failsafe_new(&f.a, NULL), 0);
}

static void end_agent(void)
{
    f.a.http = http_free(f.a.http);
    failsafe_free(&f.a);
    free(f.a.failsafe_heard.slots);
    f.a.server = pg_server_free(f.a.server);
    f.a.link = keeper_link_free(f.a.link);
    for (size_t i = 0; i < 2; i++)
        f.servers[i] = canned_server_free(f.servers[i]);
    f.a.renew_timer = sd_event_source_disable_unref(f.a.renew_timer);
    f.a.loop = sd_event_unref(f.a.loop);
    (void)close(f.keeper_fd);
    free(f.answer.body);
    memset(&f, 0, sizeof(f));
}

static int set_up(void **state)
{
    (void)state;
    (void)text_copy(run_dir, sizeof(run_dir), "/tmp/failsafe-run.XXXXXX");
    (void)text_copy(state_dir, sizeof(state_dir), "/tmp/failsafe-state.XXXXXX");
    if (!mkdtemp(run_dir) || !mkdtemp(state_dir))
        return -1;
    (void)setenv("PGTETHER_RUN_DIR", run_dir, 1);
    (void)setenv("PGTETHER_STATE_DIR", state_dir, 1);
    make_agent();
    return 0;
}

static int tear_down(void **state)
{
    char command[256];

    (void)state;
    end_agent();
    (void)unsetenv("PGTETHER_RUN_DIR");
    (void)unsetenv("PGTETHER_STATE_DIR");
    (void)text_print(command, sizeof(command), "rm -rf '%s' '%s'", run_dir, state_dir);
    return system(command);
}

/* --- promising ------------------------------------------------------------------------------------------------------
 */

static unsigned ask(const char *body)
{
    f.command = (struct command){.kind = COMMAND_FAILSAFE, .body = body, .answer = on_answer};
    promise_command(&f.a, &f.command);
    return f.answer.status;
}

static void prepare(void)
{
    promise_load(&f.a);
    promise_prepare(&f.a);
    f.a.begun = true;
}

static void test_promise_when_asked_by_a_member_of_ours_says_how_long(void **state)
{
    uint64_t before_us = clock_now_us();

    (void)state;
    prepare();
    assert_int_equal(ask("{\"name\":\"n2\",\"slots\":{\"n1\":7,\"n3\":0,\"n4\":\"8\"},\"promise_ms\":20000}"), 200);
    assert_string_equal(f.answer.body, "{\"promise_ms\":20000,\"lsn\":0}");
    assert_true(f.a.memory.promised_until_us >= before_us + 20 * S);
    assert_true(f.a.memory.promised_until_us <= clock_now_us() + 20 * S);
    assert_int_equal(f.a.failsafe_heard.n_slots, 1);
    assert_string_equal(f.a.failsafe_heard.slots[0].name, "n1");
    assert_true(f.a.failsafe_heard.slots[0].lsn == 7);
}

static void test_promise_when_asked_by_the_reference_is_one_word_and_a_whole_ttl(void **state)
{
    (void)state;
    prepare();
    f.a.pg.valid = true;
    f.a.pg.facts.in_recovery = true;
    f.a.pg.facts.receive_lsn = 4711;
    assert_int_equal(ask("{\"name\":\"n2\",\"conn_url\":\"x\",\"api_url\":\"y\",\"slots\":{}}"), 200);
    assert_string_equal(f.answer.body, "Accepted");
    assert_string_equal(f.answer.header, "lsn");
    assert_string_equal(f.answer.header_value, "4711");
    assert_true(f.a.memory.promised_until_us > clock_now_us() + 29 * S);
}

static void test_promise_is_refused_with_the_codes_of_the_reference(void **state)
{
    (void)state;
    prepare();
    assert_int_equal(ask("{}"), 400);
    assert_int_equal(ask("{\"name\":\"n\\n2\"}"), 400);
    f.a.begun = false;
    assert_int_equal(ask("{\"name\":\"n2\"}"), 503);
    f.a.begun = true;
    f.a.acquiring = true;
    assert_int_equal(ask("{\"name\":\"n2\"}"), 503);
    f.a.acquiring = false;
    f.a.lease.held = true;
    assert_int_equal(ask("{\"name\":\"n2\"}"), 500);
    assert_string_equal(f.answer.body, "Running as a leader");
    f.a.lease.held = false;
    f.dynamic.policy.failsafe_mode = false;
    assert_int_equal(ask("{\"name\":\"n2\"}"), 502);
    assert_true(f.a.memory.promised_until_us == 0);
}

static void test_promise_is_known_to_the_next_agent(void **state)
{
    uint64_t until_us;

    (void)state;
    prepare();
    assert_int_equal(ask("{\"name\":\"n2\"}"), 200);
    until_us = f.a.memory.promised_until_us;
    end_agent();
    make_agent();
    promise_load(&f.a);
    assert_true(f.a.memory.promised_until_us == until_us);
    assert_string_equal(f.a.memory.promised_to, "n2");
    /* A shorter one does not replace it. */
    prepare();
    assert_int_equal(ask("{\"name\":\"n3\",\"promise_ms\":1000}"), 200);
    assert_true(f.a.memory.promised_until_us == until_us);
}

static void write_file(const char *dir, const char *name, const char *text)
{
    char path[128];

    (void)text_print(path, sizeof(path), "%s/%s", dir, name);
    assert_int_equal(file_write_atomic(path, text, strlen(text), 0600, NULL), 0);
}

static void test_promise_of_an_earlier_boot_ends_when_the_host_is_up_that_long(void **state)
{
    (void)state;
    write_file(run_dir, "promise", "00000000-0000-0000-0000-000000000000 99999999999999 n2\n");
    write_file(state_dir, "longest-promise", "45000000\n");
    promise_load(&f.a);
    assert_true(f.a.memory.promised_until_us == 45 * S);
    assert_string_equal(f.a.memory.promised_to, "");
}

static void test_promise_that_would_not_outlive_a_restart_is_not_given(void **state)
{
    (void)state;
    promise_load(&f.a); /* and not prepared */
    f.a.begun = true;
    assert_int_equal(ask("{\"name\":\"n2\"}"), 503);
    promise_prepare(&f.a);
    (void)setenv("PGTETHER_RUN_DIR", "/nonexistent", 1);
    assert_int_equal(ask("{\"name\":\"n2\"}"), 503);
    assert_true(f.a.memory.promised_until_us == 0);
}

static void test_longest_promise_is_noted_once_and_only_grows(void **state)
{
    (void)state;
    prepare();
    assert_true(f.a.longest_promise_us == 30 * S);
    f.dynamic.policy.ttl_us = 20 * S;
    promise_prepare(&f.a);
    assert_true(f.a.longest_promise_us == 30 * S);
    f.dynamic.policy.ttl_us = 60 * S;
    promise_prepare(&f.a);
    end_agent();
    make_agent();
    promise_load(&f.a);
    assert_true(f.a.longest_promise_us == 60 * S);
    (void)setenv("PGTETHER_STATE_DIR", "/nonexistent", 1);
    f.dynamic.policy.ttl_us = 90 * S;
    promise_prepare(&f.a);
    assert_true(f.a.longest_promise_us == 60 * S);
}

/* --- asking ---------------------------------------------------------------------------------------------------------
 */

static const struct canned_rule promises[] = {{.path = "/failsafe", .body = "{\"promise_ms\":30000,\"lsn\":1}"}};
static const struct canned_rule promises_little[] = {{.path = "/failsafe", .body = "{\"promise_ms\":21000}"}};
static const struct canned_rule accepts[] = {{.path = "/failsafe", .body = "Accepted"}};
static const struct canned_rule leads[] = {{.path = "/failsafe", .body = "Running as a leader", .status = 500}};
static const struct canned_rule hangs_up[] = {{.path = "/failsafe", .how = CANNED_HANG_UP}};

/* What the keeper knows comes with an answer. */
static void keeper_is_armed(void)
{
    struct keeper_answer answer = {.version = KEEPER_PROTOCOL,
                                   .op = KEEPER_STATUS,
                                   .result = KEEPER_OK,
                                   .state = KEEPER_ARMED,
                                   .lease_id = LEASE,
                                   .deadline_us = f.a.lease.deadline_us,
                                   .fence_at_us = f.a.lease.deadline_us - S};
    struct keeper_request request;
    int pidfd;

    assert_int_equal(keeper_link_ask(f.a.link, KEEPER_STATUS, 0, 0, 0, -1, NULL, NULL, NULL), 0);
    while (keeper_recv(f.keeper_fd, &request, &pidfd, NULL) == -EAGAIN)
        assert_true(sd_event_run(f.a.loop, 10000) >= 0);
    answer.seq = request.seq;
    assert_int_equal(keeper_answer(f.keeper_fd, &answer, NULL), 0);
    while (keeper_link_last(f.a.link)->state != KEEPER_ARMED)
        assert_true(sd_event_run(f.a.loop, 10000) >= 0);
}

/* A leader of three that has seen its list in the store, and whose lease has ten seconds left. */
static void lead(const struct canned_rule *n2, const struct canned_rule *n3)
{
    char url[FAILSAFE_URL_SIZE];

    f.a.lease = (struct leader_lease){.held = true, .session = LEASE, .deadline_us = clock_now_us() + 10 * S};
    f.servers[0] = canned_server_new(f.a.loop, n2, 1);
    f.servers[1] = canned_server_new(f.a.loop, n3, 1);
    (void)failsafe_list_add(&f.list, "n1", "http://10.0.0.1:8008/patroni");
    (void)text_print(url, sizeof(url), "%s/patroni", canned_server_url(f.servers[0]));
    (void)failsafe_list_add(&f.list, "n2", url);
    (void)text_print(url, sizeof(url), "%s/patroni", canned_server_url(f.servers[1]));
    (void)failsafe_list_add(&f.list, "n3", url);
    f.cluster.leader = (struct leader_key){.exists = true, .name = "n1", .session = LEASE};
    f.cluster.failsafe = (struct text_key){.exists = true, .revision = 5};
    f.cluster.failsafe_list = &f.list;
    f.a.cluster = &f.cluster;
    keeper_is_armed();
}

static void run_for(uint64_t us)
{
    uint64_t until_us = clock_now_us() + us;

    while (clock_now_us() < until_us)
        assert_true(sd_event_run(f.a.loop, 10000) >= 0);
}

static void run_until_later_than(uint64_t deadline_us)
{
    uint64_t give_up_us = clock_now_us() + 10 * S;

    while (f.a.lease.deadline_us <= deadline_us) {
        assert_true(clock_now_us() < give_up_us);
        assert_true(sd_event_run(f.a.loop, 10000) >= 0);
    }
}

static struct failsafe_view view(void)
{
    struct failsafe_view v;

    failsafe_view(&f.a, &v);
    return v;
}

static void test_lease_grows_to_the_first_end_of_all_promises(void **state)
{
    uint64_t asked_us, deadline_us;

    (void)state;
    lead(promises, promises_little);
    deadline_us = f.a.lease.deadline_us;
    failsafe_note_cluster(&f.a);
    asked_us = clock_now_us();
    failsafe_store_is_silent(&f.a);
    run_until_later_than(deadline_us);
    assert_true(f.a.lease.deadline_us >= asked_us + 21 * S - 21000);
    assert_true(f.a.lease.deadline_us < clock_now_us() + 21 * S - 21000);
    assert_true(view().holds);
    assert_non_null(strstr(canned_server_last(f.servers[0], "/failsafe"), "\"name\":\"n1\""));
    assert_non_null(strstr(canned_server_last(f.servers[0], "/failsafe"), "\"promise_ms\":30000"));
    failsafe_store_answers(&f.a, 0);
    assert_false(view().holds);
}

static void expect_no_growth(const char *obstacle)
{
    uint64_t deadline_us = f.a.lease.deadline_us;

    failsafe_store_is_silent(&f.a);
    run_for(S);
    assert_int_equal(f.a.lease.deadline_us, deadline_us);
    assert_false(view().holds);
    assert_non_null(view().obstacle);
    if (!strstr(view().obstacle, obstacle))
        fail_msg("%s", view().obstacle);
}

static void test_lease_stays_when_one_agrees_without_a_promise_and_grows_when_it_has_learned(void **state)
{
    uint64_t deadline_us;

    (void)state;
    lead(promises, accepts);
    deadline_us = f.a.lease.deadline_us;
    failsafe_note_cluster(&f.a);
    expect_no_growth("\"n3\" agrees, but promises nothing in time");
    canned_server_replace(f.servers[1], promises, 1);
    run_until_later_than(deadline_us);
}

static void test_lease_stays_when_one_refuses(void **state)
{
    (void)state;
    lead(leads, promises);
    failsafe_note_cluster(&f.a);
    expect_no_growth("\"n2\" does not agree: Running as a leader");
}

static void test_lease_stays_when_one_is_silent(void **state)
{
    (void)state;
    lead(promises, hangs_up);
    failsafe_note_cluster(&f.a);
    expect_no_growth("\"n3\" does not answer");
}

static void test_lease_stays_when_the_store_never_showed_a_list_with_us(void **state)
{
    (void)state;
    lead(promises, promises);
    f.list.items[0].name[0] = 'x';
    failsafe_note_cluster(&f.a);
    expect_no_growth("the store had no list with this node in it");
    assert_int_equal(canned_server_count(f.servers[0], "/failsafe"), 0);
}

static void test_lease_stays_when_the_store_was_replaced_and_its_list_not_read(void **state)
{
    (void)state;
    lead(promises, promises);
    failsafe_note_cluster(&f.a);
    f.a.store_life = 1;
    failsafe_store_answers(&f.a, 2);
    expect_no_growth("the store had no list with this node in it");
}

static void test_member_outside_of_the_list_is_asked_too(void **state)
{
    struct member n3 = {.name = "n3"};

    (void)state;
    lead(promises, hangs_up);
    (void)text_copy(n3.api_url, sizeof(n3.api_url), f.list.items[2].api_url);
    f.list.n = 2;
    f.cluster.members = &n3;
    f.cluster.n_members = 1;
    failsafe_note_cluster(&f.a);
    expect_no_growth("\"n3\" does not answer");
    f.cluster.members = NULL;
    f.cluster.n_members = 0;
}

static void test_list_is_known_to_the_next_agent_of_the_same_lease(void **state)
{
    static struct failsafe_list kept;

    (void)state;
    lead(promises, promises);
    failsafe_note_cluster(&f.a);
    kept = f.list;
    end_agent();
    make_agent();
    f.a.lease = (struct leader_lease){.held = true, .session = LEASE};
    failsafe_adopt(&f.a);
    assert_true(failsafe_list_equal(failsafe_known(&f.a), &kept));
    end_agent();
    make_agent();
    f.a.lease = (struct leader_lease){.held = true, .session = LEASE + 1};
    failsafe_adopt(&f.a);
    assert_null(failsafe_known(&f.a));
}

/* --- the list in the store ------------------------------------------------------------------------------------------
 */

static void test_list_in_the_store_is_completed_at_once_and_shortened_after_a_ttl(void **state)
{
    struct member members[] = {{.name = "n2", .api_url = "http://n2"}, {.name = "n4", .api_url = "http://n4"}};

    (void)state;
    f.dynamic.policy.ttl_us = 5 * S;
    lead(promises, promises);
    f.list.n = 2;
    (void)failsafe_list_add(&f.list, "n2", "http://n2");
    (void)failsafe_list_add(&f.list, "n3", "http://n3");
    f.cluster.members = members;
    f.cluster.n_members = 2;
    failsafe_note_cluster(&f.a);
    failsafe_publish(&f.a);
    assert_int_equal(f.n_puts, 1);
    assert_int_equal(f.put_compare, DCS_REVISION);
    assert_string_equal(f.put_value, "{\"n1\":\"http://10.0.0.1:8008/patroni\",\"n2\":\"http://n2\","
                                     "\"n3\":\"http://n3\",\"n4\":\"http://n4\"}");
    /* Nobody knows whether that is there: n4 is to be asked from before it was sent. */
    assert_non_null(failsafe_list_find(failsafe_known(&f.a), "n4"));
    f.put_done(f.put_userdata, &(struct dcs_answer){.outcome = DCS_UNKNOWN});
    f.cluster.n_members = 1;
    failsafe_note_cluster(&f.a);
    assert_non_null(failsafe_list_find(failsafe_known(&f.a), "n4"));
    /* Another revision: what is shown is what there is. */
    f.cluster.failsafe.revision = 6;
    failsafe_note_cluster(&f.a);
    assert_null(failsafe_list_find(failsafe_known(&f.a), "n4"));
    failsafe_publish(&f.a);
    assert_int_equal(f.n_puts, 1); /* n3 has gone, but not long ago */
    run_for(5 * S);
    failsafe_publish(&f.a);
    assert_int_equal(f.n_puts, 2);
    assert_null(strstr(f.put_value, "n3"));
    f.put_done(f.put_userdata, &(struct dcs_answer){.outcome = DCS_REFUSED});
    assert_true(f.a.store_busy); /* it is read again first */
    f.a.store_busy = false;
    f.dynamic.policy.failsafe_mode = false;
    failsafe_publish(&f.a);
    assert_string_equal(f.put_value, "{}");
    f.cluster.members = NULL;
    f.cluster.n_members = 0;
}

static void test_list_is_not_written_while_promises_hold_the_lease_longer_than_the_store_does(void **state)
{
    struct member members[] = {{.name = "n2", .api_url = "http://n2"}, {.name = "n4", .api_url = "http://n4"}};
    uint64_t deadline_us;

    (void)state;
    lead(promises, promises);
    deadline_us = f.a.lease.deadline_us;
    failsafe_note_cluster(&f.a);
    failsafe_store_is_silent(&f.a);
    run_until_later_than(deadline_us);
    failsafe_store_answers(&f.a, 0);
    f.cluster.members = members;
    f.cluster.n_members = 2;
    f.a.lease.confirmed_at_us = f.a.lease.deadline_us - f.dynamic.policy.ttl_us;
    failsafe_publish(&f.a);
    assert_int_equal(f.n_puts, 0);
    f.a.lease.confirmed_at_us += S;
    failsafe_publish(&f.a);
    assert_int_equal(f.n_puts, 1);
    f.cluster.members = NULL;
    f.cluster.n_members = 0;
}

/* --- an election ----------------------------------------------------------------------------------------------------
 */

/* A leader that lost the store lost its member key, too, and may be alive. */
static void test_members_of_the_list_are_asked_in_an_election(void **state)
{
    static const struct canned_rule leads_on[] = {{.path = "/patroni", .body = "{\"role\":\"primary\"}"}};
    static const struct canned_rule follows[] = {
        {.path = "/patroni", .body = "{\"role\":\"replica\",\"xlog\":{\"replayed_location\":7}}"}};

    (void)state;
    lead(leads_on, follows);
    f.a.lease.held = false;
    f.cluster.leader.exists = false;
    op_ask_peers(&f.a);
    for (int i = 0; f.a.op.kind == OP_ASK_PEERS && i < 500; i++)
        run_for(10000);
    assert_int_equal(f.cluster.n_members, 0);
    assert_int_equal(f.a.n_peers, 2);
    assert_string_equal(f.a.peers[0].name, "n2");
    assert_true(f.a.peers[0].answered && f.a.peers[0].is_primary);
    assert_true(f.a.peers[1].answered && f.a.peers[1].lsn == 7);
    assert_true(f.a.peers_asked_at_us > 0);
}

#define ROW(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ROW(test_promise_when_asked_by_a_member_of_ours_says_how_long),
        ROW(test_promise_when_asked_by_the_reference_is_one_word_and_a_whole_ttl),
        ROW(test_promise_is_refused_with_the_codes_of_the_reference),
        ROW(test_promise_is_known_to_the_next_agent),
        ROW(test_promise_of_an_earlier_boot_ends_when_the_host_is_up_that_long),
        ROW(test_promise_that_would_not_outlive_a_restart_is_not_given),
        ROW(test_longest_promise_is_noted_once_and_only_grows),
        ROW(test_lease_grows_to_the_first_end_of_all_promises),
        ROW(test_lease_stays_when_one_agrees_without_a_promise_and_grows_when_it_has_learned),
        ROW(test_lease_stays_when_one_refuses),
        ROW(test_lease_stays_when_one_is_silent),
        ROW(test_lease_stays_when_the_store_never_showed_a_list_with_us),
        ROW(test_lease_stays_when_the_store_was_replaced_and_its_list_not_read),
        ROW(test_member_outside_of_the_list_is_asked_too),
        ROW(test_list_is_known_to_the_next_agent_of_the_same_lease),
        ROW(test_list_in_the_store_is_completed_at_once_and_shortened_after_a_ttl),
        ROW(test_list_is_not_written_while_promises_hold_the_lease_longer_than_the_store_does),
        ROW(test_members_of_the_list_are_asked_in_an_election),
    };

    return cmocka_run_group_tests_name("failsafe mode in the agent", tests, NULL, NULL);
}
