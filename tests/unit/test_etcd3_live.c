/*
 * The etcd3 store against real etcd servers, which this test starts on loopback in a directory of its own and stops,
 * freezes and kills. Skipped where etcd is not installed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/text.h"
#include "config/config.h"
#include "dcs/dcs.h"
#include "dcs/etcd3_internal.h"

enum { SERVERS_MAX = 3, FIRST_PORT = 21100, LAST_PORT = 21199 };

static const char etcd_program[] = "/usr/bin/etcd", etcdctl_program[] = "/usr/bin/etcdctl";

struct server {
    pid_t pid;
    unsigned client_port, peer_port;
};

static struct {
    char dir[64];
    struct server servers[SERVERS_MAX];
    size_t n;
    sd_event *loop;
} lab;

/* --- servers --------------------------------------------------------------------------------------------------------
 */

static bool port_is_free(unsigned port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    bool ok;

    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    ok = bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0;
    (void)close(fd);
    return ok;
}

/* Other runs of this test may be under way: each begins its search elsewhere. */
static unsigned find_port(void)
{
    static unsigned next;
    unsigned range = LAST_PORT - FIRST_PORT + 1;

    if (!next)
        next = (unsigned)getpid() * 7 % range;
    for (unsigned i = 0; i < range; i++) {
        unsigned port = FIRST_PORT + next++ % range;

        if (port_is_free(port))
            return port;
    }
    fail_msg("no port between %d and %d is free", FIRST_PORT, LAST_PORT);
    return 0;
}

static void run_etcd(size_t i)
{
    char name[16], dir[128], client[64], peer[64], cluster[256] = "", log[128];

    (void)snprintf(name, sizeof(name), "m%zu", i);
    (void)snprintf(dir, sizeof(dir), "%s/%s", lab.dir, name);
    (void)snprintf(log, sizeof(log), "%s/%s.log", lab.dir, name);
    (void)snprintf(client, sizeof(client), "http://127.0.0.1:%u", lab.servers[i].client_port);
    (void)snprintf(peer, sizeof(peer), "http://127.0.0.1:%u", lab.servers[i].peer_port);
    for (size_t j = 0; j < lab.n; j++)
        (void)snprintf(cluster + strlen(cluster), sizeof(cluster) - strlen(cluster), "%sm%zu=http://127.0.0.1:%u",
                       j ? "," : "", j, lab.servers[j].peer_port);

    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);

    (void)dup2(fd, 1);
    (void)dup2(fd, 2);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)execl(etcd_program, etcd_program, "--name", name, "--data-dir", dir, "--listen-client-urls", client,
                "--advertise-client-urls", client, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
                "--initial-cluster", cluster, "--initial-cluster-state", "new", "--unsafe-no-fsync", (char *)NULL);
    _exit(127);
}

static void start_server(size_t i)
{
    lab.servers[i].pid = fork();
    if (lab.servers[i].pid == 0)
        run_etcd(i);
    assert_true(lab.servers[i].pid > 0);
}

static void kill_server(size_t i)
{
    if (lab.servers[i].pid <= 0)
        return;
    (void)kill(lab.servers[i].pid, SIGKILL);
    (void)waitpid(lab.servers[i].pid, NULL, 0);
    lab.servers[i].pid = 0;
}

/* Returns when every thread of the server stands still. */
static void freeze_server(size_t i)
{
    int status;

    assert_int_equal(kill(lab.servers[i].pid, SIGSTOP), 0);
    assert_true(waitpid(lab.servers[i].pid, &status, WUNTRACED) == lab.servers[i].pid && WIFSTOPPED(status));
}

static void thaw_server(size_t i)
{
    assert_int_equal(kill(lab.servers[i].pid, SIGCONT), 0);
}

/* After every test, as a failed one may have left a server frozen or killed. */
static int mend_servers(void **state)
{
    (void)state;
    for (size_t i = 0; i < lab.n; i++)
        if (lab.servers[i].pid > 0)
            (void)kill(lab.servers[i].pid, SIGCONT);
        else
            start_server(i);
    return 0;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static int stop_servers(void **state)
{
    (void)state;
    for (size_t i = 0; i < lab.n; i++)
        kill_server(i);
    lab.n = 0;
    if (*lab.dir)
        (void)nftw(lab.dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    lab.loop = sd_event_unref(lab.loop);
    return 0;
}

/* --- stores on them -------------------------------------------------------------------------------------------------
 */

struct client {
    struct dcs *dcs;
    const char *name;
    unsigned answers, changes;
    struct dcs_answer answer;
    char last_change[64];
};

static void open_client(struct client *c, const char *name, const char *username)
{
    char urls[SERVERS_MAX][64], *items[SERVERS_MAX + 1] = {NULL};
    struct dcs_config config = {.kind = DCS_KIND_ETCD3,
                                .namespace_ = (char *)"service",
                                .scope = (char *)"live",
                                .member_name = (char *)name,
                                .username = (char *)username,
                                .password = (char *)"pa\"ss",
                                .hosts = {.items = items, .n = lab.n},
                                .discover_members = true};
    struct err err = {0};

    *c = (struct client){.name = name};
    for (size_t i = 0; i < lab.n; i++) {
        (void)snprintf(urls[i], sizeof(urls[i]), "http://127.0.0.1:%u", lab.servers[i].client_port);
        items[i] = urls[i];
    }
    if (dcs_open(lab.loop, &config, &c->dcs, &err) < 0)
        fail_msg("%s", err.msg);
}

static void close_client(struct client *c)
{
    c->dcs = dcs_free(c->dcs);
    c->answer.cluster = cluster_free(c->answer.cluster);
}

static void on_answer(void *userdata, struct dcs_answer *answer)
{
    struct client *c = userdata;

    c->answers++;
    c->answer.cluster = cluster_free(c->answer.cluster);
    c->answer = *answer;
}

static void on_change(void *userdata, const char *key)
{
    struct client *c = userdata;

    c->changes++;
    (void)text_copy(c->last_change, sizeof(c->last_change), key);
}

static uint64_t in_seconds(unsigned s)
{
    return clock_now_us() + s * USEC_PER_SEC;
}

static void wait_for(const unsigned *count, unsigned want, unsigned seconds, const char *what)
{
    uint64_t end_us = in_seconds(seconds);

    while (*count < want) {
        if (clock_now_us() > end_us)
            fail_msg("%s did not come within %u s", what, seconds);
        assert_true(sd_event_run(lab.loop, 100 * USEC_PER_MSEC) >= 0);
    }
}

static enum dcs_outcome answered(struct client *c)
{
    wait_for(&c->answers, 1, 20, "an answer");
    assert_int_equal(c->answers, 1);
    c->answers = 0;
    return c->answer.outcome;
}

static enum dcs_outcome acquire_unless(struct client *c, unsigned ttl_s, const char *key, uint64_t revision)
{
    c->dcs->ops->acquire_leader(c->dcs, c->name, ttl_s * USEC_PER_SEC, (struct dcs_guard){key, revision}, in_seconds(5),
                                on_answer, c);
    return answered(c);
}

static enum dcs_outcome acquire(struct client *c, unsigned ttl_s)
{
    return acquire_unless(c, ttl_s, NULL, 0);
}

static enum dcs_outcome renew(struct client *c, uint64_t session)
{
    c->dcs->ops->renew_leader(c->dcs, c->name, session, in_seconds(5), on_answer, c);
    return answered(c);
}

static enum dcs_outcome reclaim(struct client *c, uint64_t session)
{
    c->dcs->ops->reclaim_leader(c->dcs, c->name, session, 10 * USEC_PER_SEC, in_seconds(5), on_answer, c);
    return answered(c);
}

static enum dcs_outcome release(struct client *c, uint64_t session)
{
    c->dcs->ops->release_leader(c->dcs, c->name, session, in_seconds(5), on_answer, c);
    return answered(c);
}

static enum dcs_outcome touch(struct client *c, const char *json, unsigned ttl_s)
{
    c->dcs->ops->touch_member(c->dcs, c->name, json, ttl_s * USEC_PER_SEC, in_seconds(5), on_answer, c);
    return answered(c);
}

static const struct cluster *read_cluster(struct client *c)
{
    c->dcs->ops->get_cluster(c->dcs, true, in_seconds(5), on_answer, c);
    if (answered(c) != DCS_DONE)
        fail_msg("%s", c->answer.err.msg);
    return c->answer.cluster;
}

static enum dcs_outcome put(struct client *c, const char *key, const char *value, enum dcs_compare compare,
                            uint64_t revision)
{
    c->dcs->ops->put(c->dcs, key, value, compare, revision, in_seconds(5), on_answer, c);
    return answered(c);
}

static enum dcs_outcome delete_key(struct client *c, const char *key, enum dcs_compare compare, uint64_t revision)
{
    c->dcs->ops->delete (c->dcs, key, compare, revision, in_seconds(5), on_answer, c);
    return answered(c);
}

static void wait_until_up(void)
{
    uint64_t end_us = in_seconds(20);
    struct client c;
    enum dcs_outcome outcome;

    open_client(&c, "probe", NULL);
    do {
        c.dcs->ops->get_cluster(c.dcs, true, in_seconds(1), on_answer, &c);
        outcome = answered(&c);
        if (clock_now_us() > end_us)
            fail_msg("etcd did not start: %s", c.answer.err.msg);
    } while (outcome != DCS_DONE && c.answer.err.code != -EACCES);
    close_client(&c);
}

static int start_servers(size_t n)
{
    if (access(etcd_program, X_OK) < 0) {
        print_message("[  SKIPPED ] %s is not installed: nothing is tested against a real store\n", etcd_program);
        return 0;
    }
    (void)snprintf(lab.dir, sizeof(lab.dir), "/tmp/test_etcd3_live.XXXXXX");
    assert_non_null(mkdtemp(lab.dir));
    assert_true(sd_event_new(&lab.loop) >= 0);
    lab.n = n;
    for (size_t i = 0; i < n; i++)
        lab.servers[i] = (struct server){.client_port = find_port(), .peer_port = find_port()};
    for (size_t i = 0; i < n; i++)
        start_server(i);
    wait_until_up();
    return 0;
}

static int start_one(void **state)
{
    (void)state;
    return start_servers(1);
}

static int start_three(void **state)
{
    (void)state;
    return start_servers(3);
}

#define SKIP_WITHOUT_ETCD()                                                                                            \
    do {                                                                                                               \
        (void)state;                                                                                                   \
        if (!lab.n)                                                                                                    \
            skip();                                                                                                    \
    } while (0)

/* --- one server -----------------------------------------------------------------------------------------------------
 */

static void test_etcd3_live_leader_key_is_acquired_renewed_and_released(void **state)
{
    struct client a, b;
    uint64_t session;

    SKIP_WITHOUT_ETCD();
    open_client(&a, "node1", NULL);
    open_client(&b, "node2", NULL);
    assert_int_equal(acquire(&a, 10), DCS_DONE);
    session = a.answer.session;
    assert_true(session && a.answer.ttl_us == 10 * USEC_PER_SEC);
    assert_int_equal(acquire(&b, 10), DCS_REFUSED);
    assert_string_equal(read_cluster(&b)->leader.name, "node1");
    assert_true(b.answer.cluster->leader.session == session);
    assert_int_equal(renew(&a, session), DCS_DONE);
    assert_true(a.answer.ttl_us == 10 * USEC_PER_SEC && a.answer.session == session);
    assert_int_equal(renew(&a, session + 1), DCS_REFUSED);
    assert_int_equal(renew(&b, session), DCS_REFUSED);

    assert_int_equal(release(&b, session + 1), DCS_REFUSED);
    assert_true(read_cluster(&b)->leader.exists);
    assert_int_equal(release(&a, session), DCS_DONE);
    assert_false(read_cluster(&b)->leader.exists);
    assert_int_equal(renew(&a, session), DCS_REFUSED);
    assert_int_equal(acquire(&b, 10), DCS_DONE);
    assert_int_equal(release(&b, b.answer.session), DCS_DONE);
    close_client(&a);
    close_client(&b);
}

static void test_etcd3_live_free_leader_key_is_not_taken_when_the_guard_was_written(void **state)
{
    struct client a;
    uint64_t written;

    SKIP_WITHOUT_ETCD();
    open_client(&a, "node1", NULL);
    assert_int_equal(acquire_unless(&a, 10, "timeline", 0), DCS_DONE);
    assert_int_equal(release(&a, a.answer.session), DCS_DONE);
    a.dcs->ops->put(a.dcs, "timeline", "2", DCS_ABSENT, 0, in_seconds(5), on_answer, &a);
    assert_int_equal(answered(&a), DCS_DONE);
    written = a.answer.revision;
    assert_int_equal(acquire_unless(&a, 10, "timeline", 0), DCS_REFUSED);
    assert_int_equal(acquire_unless(&a, 10, "timeline", written - 1), DCS_REFUSED);
    assert_false(read_cluster(&a)->leader.exists);
    assert_int_equal(acquire_unless(&a, 10, "timeline", written), DCS_DONE);
    assert_int_equal(release(&a, a.answer.session), DCS_DONE);
    a.dcs->ops->delete (a.dcs, "timeline", DCS_REVISION, written, in_seconds(5), on_answer, &a);
    assert_int_equal(answered(&a), DCS_DONE);
    close_client(&a);
}

static void test_etcd3_live_leader_key_ends_with_its_lease_and_not_before(void **state)
{
    uint64_t session, sent_us, renewed_sent_us, last_seen_us, gone_us;
    struct client a;

    SKIP_WITHOUT_ETCD();
    open_client(&a, "node1", NULL);
    assert_int_equal(acquire(&a, 3), DCS_DONE);
    session = a.answer.session;
    sent_us = a.answer.sent_at_us;
    while (clock_now_us() < sent_us + USEC_PER_SEC)
        assert_true(sd_event_run(lab.loop, 100 * USEC_PER_MSEC) >= 0);
    assert_int_equal(renew(&a, session), DCS_DONE);
    renewed_sent_us = a.answer.sent_at_us;
    assert_true(renewed_sent_us >= sent_us + USEC_PER_SEC);
    do {
        last_seen_us = clock_now_us();
        (void)read_cluster(&a);
        gone_us = clock_now_us();
    } while (a.answer.cluster->leader.exists && last_seen_us < renewed_sent_us + 10 * USEC_PER_SEC);
    assert_false(a.answer.cluster->leader.exists);
    assert_true(gone_us >= renewed_sent_us + a.answer.ttl_us);
    assert_true(gone_us >= renewed_sent_us + 3 * USEC_PER_SEC);
    assert_int_equal(renew(&a, session), DCS_REFUSED);
    close_client(&a);
}

static void test_etcd3_live_leader_key_deleted_by_somebody_is_refused(void **state)
{
    struct client a;

    SKIP_WITHOUT_ETCD();
    open_client(&a, "node1", NULL);
    assert_int_equal(acquire(&a, 10), DCS_DONE);
    uint64_t session = a.answer.session;

    assert_int_equal(delete_key(&a, "leader", DCS_ANY, 0), DCS_DONE);
    assert_int_equal(renew(&a, session), DCS_REFUSED);
    /* The name is back, but not on our lease. */
    assert_int_equal(put(&a, "leader", "node1", DCS_ANY, 0), DCS_DONE);
    assert_int_equal(renew(&a, session), DCS_REFUSED);
    assert_int_equal(release(&a, session), DCS_REFUSED);
    assert_int_equal(delete_key(&a, "leader", DCS_ANY, 0), DCS_DONE);
    close_client(&a);
}

static void test_etcd3_live_leader_key_that_is_gone_is_reclaimed_under_the_same_lease(void **state)
{
    struct client a, b;
    uint64_t session, until_us;

    SKIP_WITHOUT_ETCD();
    open_client(&a, "node1", NULL);
    open_client(&b, "node2", NULL);
    assert_int_equal(acquire(&a, 10), DCS_DONE);
    session = a.answer.session;

    /* The key was deleted, its lease goes on. */
    assert_int_equal(delete_key(&a, "leader", DCS_ANY, 0), DCS_DONE);
    assert_int_equal(renew(&a, session), DCS_REFUSED);
    assert_int_equal(a.answer.err.code, -ENOENT);
    assert_int_equal(reclaim(&a, session), DCS_DONE);
    assert_int_equal(renew(&a, session), DCS_DONE);
    assert_int_equal(reclaim(&a, session), DCS_DONE); /* as if the first answer had been lost */

    /* The lease is gone, too. */
    etcd3_revoke(etcd3_from(b.dcs), session, 0);
    until_us = in_seconds(10);
    while (renew(&b, session) != DCS_REFUSED || b.answer.err.code != -ENOENT)
        assert_true(clock_now_us() < until_us);
    assert_int_equal(reclaim(&a, session), DCS_DONE);
    assert_int_equal(renew(&a, session), DCS_DONE);
    assert_true(read_cluster(&b)->leader.session == session);

    /* Somebody else was faster. */
    assert_int_equal(release(&a, session), DCS_DONE);
    assert_int_equal(acquire(&b, 10), DCS_DONE);
    assert_int_equal(reclaim(&a, session), DCS_REFUSED);
    assert_int_equal(release(&b, b.answer.session), DCS_DONE);
    close_client(&a);
    close_client(&b);
}

static void test_etcd3_live_conditional_writes_compare_with_the_revision(void **state)
{
    struct client a;
    uint64_t first, second;

    SKIP_WITHOUT_ETCD();
    open_client(&a, "node1", NULL);
    assert_int_equal(put(&a, "config", "{\"ttl\":30}", DCS_ABSENT, 0), DCS_DONE);
    first = a.answer.revision;
    assert_int_equal(put(&a, "config", "{}", DCS_ABSENT, 0), DCS_REFUSED);
    assert_true(read_cluster(&a)->config.revision == first);
    assert_int_equal(put(&a, "config", "{\"ttl\":20}", DCS_REVISION, first), DCS_DONE);
    second = a.answer.revision;
    assert_true(second > first);
    assert_int_equal(put(&a, "config", "{}", DCS_REVISION, first), DCS_REFUSED);
    assert_string_equal(read_cluster(&a)->config.text, "{\"ttl\":20}");
    assert_true(a.answer.cluster->config.revision == second);
    assert_int_equal(delete_key(&a, "config", DCS_REVISION, first), DCS_REFUSED);
    assert_int_equal(delete_key(&a, "config", DCS_REVISION, second), DCS_DONE);
    assert_false(read_cluster(&a)->config.exists);
    assert_int_equal(put(&a, "initialize", "", DCS_ABSENT, 0), DCS_DONE);
    assert_true(read_cluster(&a)->initialize.exists);
    assert_int_equal(delete_key(&a, "initialize", DCS_ANY, 0), DCS_DONE);
    close_client(&a);
}

/* The mark of a bootstrap: it goes with its maker, unless the finished cluster has put its identifier there. */
static void test_etcd3_live_mark_vanishes_with_the_member_unless_it_is_written_again(void **state)
{
    struct client a, b;
    uint64_t until_us, revision;

    SKIP_WITHOUT_ETCD();
    open_client(&a, "node1", NULL);
    open_client(&b, "node2", NULL);
    assert_int_equal(put(&a, "initialize", "", DCS_ABSENT_WHILE_MEMBER, 0), DCS_UNKNOWN); /* no lease yet */
    assert_int_equal(touch(&a, "{}", 2), DCS_DONE);
    assert_int_equal(touch(&b, "{}", 2), DCS_DONE);
    assert_int_equal(put(&a, "initialize", "", DCS_ABSENT_WHILE_MEMBER, 0), DCS_DONE);
    revision = a.answer.revision;
    assert_true(read_cluster(&b)->initialize.session == cluster_member(read_cluster(&b), "node1")->session);
    assert_int_equal(put(&b, "initialize", "", DCS_ABSENT_WHILE_MEMBER, 0), DCS_REFUSED);
    /* As if the first answer had been lost. */
    assert_int_equal(put(&a, "initialize", "", DCS_ABSENT_WHILE_MEMBER, 0), DCS_DONE);
    assert_true(a.answer.revision == revision);
    until_us = in_seconds(20);
    while (read_cluster(&b)->initialize.exists)
        if (clock_now_us() > until_us)
            fail_msg("the mark of a dead member stays");
    assert_int_equal(touch(&b, "{}", 2), DCS_DONE);
    assert_int_equal(put(&b, "initialize", "", DCS_ABSENT_WHILE_MEMBER, 0), DCS_DONE);
    revision = b.answer.revision;
    assert_int_equal(put(&b, "initialize", "7300000000000000001", DCS_REVISION, revision), DCS_DONE);
    while (cluster_member(read_cluster(&a), "node2"))
        if (clock_now_us() > until_us)
            fail_msg("the member key stays");
    assert_string_equal(read_cluster(&a)->initialize.text, "7300000000000000001");
    assert_true(read_cluster(&a)->initialize.session == 0);
    assert_int_equal(delete_key(&a, "initialize", DCS_ANY, 0), DCS_DONE);
    close_client(&a);
    close_client(&b);
}

static void test_etcd3_live_member_lives_as_long_as_it_is_touched_and_the_watch_sees_it(void **state)
{
    struct client a, b;
    struct err err = {0};
    uint64_t session, revision;

    SKIP_WITHOUT_ETCD();
    open_client(&a, "node1", NULL);
    open_client(&b, "node2", NULL);
    assert_int_equal(b.dcs->ops->watch(b.dcs, on_change, &b, &err), 0);
    wait_for(&b.changes, 1, 5, "the watch");
    assert_int_equal(touch(&a, "{\"state\":\"running\",\"role\":\"replica\"}", 3), DCS_DONE);
    wait_for(&b.changes, 2, 5, "a change");
    assert_string_equal(b.last_change, "members/node1");
    revision = read_cluster(&b)->revision;
    session = b.answer.cluster->members[0].session;
    assert_int_equal(b.answer.cluster->members[0].state, PG_STATE_RUNNING);

    /* Nothing changed, nothing is written; status is written, but not told. */
    assert_int_equal(touch(&a, "{\"state\":\"running\",\"role\":\"replica\"}", 3), DCS_DONE);
    assert_true(read_cluster(&b)->revision == revision);
    assert_int_equal(put(&a, "status", "{\"optime\":1}", DCS_ANY, 0), DCS_DONE);
    assert_int_equal(touch(&a, "{\"state\":\"stopped\"}", 3), DCS_DONE);
    wait_for(&b.changes, 3, 5, "a change");
    assert_string_equal(b.last_change, "members/node1");
    assert_true(read_cluster(&b)->members[0].session == session);

    /* Not touched any more it vanishes, and comes back with the next touch. */
    wait_for(&b.changes, 4, 15, "the end of the lease");
    assert_int_equal(read_cluster(&b)->n_members, 0);
    assert_int_equal(touch(&a, "{\"state\":\"stopped\"}", 3), DCS_DONE);
    assert_int_equal(read_cluster(&b)->n_members, 1);
    assert_true(b.answer.cluster->members[0].session != session);
    assert_int_equal(delete_key(&b, "members/node1", DCS_ANY, 0), DCS_DONE);
    close_client(&a);
    close_client(&b);
}

static void test_etcd3_live_frozen_server_makes_everything_unknown_by_the_deadline(void **state)
{
    uint64_t session, deadline_us;
    struct client a;

    SKIP_WITHOUT_ETCD();
    open_client(&a, "node1", NULL);
    assert_int_equal(acquire(&a, 20), DCS_DONE);
    session = a.answer.session;
    freeze_server(0);
    deadline_us = clock_now_us() + 700 * USEC_PER_MSEC;
    a.dcs->ops->renew_leader(a.dcs, "node1", session, deadline_us, on_answer, &a);
    assert_int_equal(answered(&a), DCS_UNKNOWN);
    assert_in_range(clock_now_us(), deadline_us - 200 * USEC_PER_MSEC, deadline_us + 300 * USEC_PER_MSEC);
    a.dcs->ops->put(a.dcs, "history", "[]", DCS_ANY, 0, in_seconds(1), on_answer, &a);
    assert_int_equal(answered(&a), DCS_UNKNOWN);
    thaw_server(0);
    assert_int_equal(renew(&a, session), DCS_DONE);
    assert_int_equal(release(&a, session), DCS_DONE);
    close_client(&a);
}

/* S1: the lease counts from before the request left, however late the answer comes. */
static void test_etcd3_live_lease_counts_from_before_the_request_when_the_answer_is_late(void **state)
{
    uint64_t session = 0, thawed_us;
    struct client a;

    SKIP_WITHOUT_ETCD();
    open_client(&a, "node1", NULL);
    (void)read_cluster(&a);
    for (int renewing = 0; renewing < 2; renewing++) {
        freeze_server(0);
        if (renewing)
            a.dcs->ops->renew_leader(a.dcs, "node1", session, in_seconds(10), on_answer, &a);
        else
            a.dcs->ops->acquire_leader(a.dcs, "node1", 20 * USEC_PER_SEC, (struct dcs_guard){0}, in_seconds(10),
                                       on_answer, &a);
        thawed_us = clock_now_us() + 300 * USEC_PER_MSEC;
        while (clock_now_us() < thawed_us)
            assert_true(sd_event_run(lab.loop, 20 * USEC_PER_MSEC) >= 0);
        thaw_server(0);
        assert_int_equal(answered(&a), DCS_DONE);
        assert_true(a.answer.sent_at_us < thawed_us - 200 * USEC_PER_MSEC);
        session = a.answer.session;
    }
    assert_int_equal(release(&a, session), DCS_DONE);
    close_client(&a);
}

static void test_etcd3_live_acquire_that_timed_out_leaves_no_leader_key_behind(void **state)
{
    struct client a;

    SKIP_WITHOUT_ETCD();
    open_client(&a, "node1", NULL);
    (void)read_cluster(&a);
    freeze_server(0);
    a.dcs->ops->acquire_leader(a.dcs, "node1", 20 * USEC_PER_SEC, (struct dcs_guard){0},
                               clock_now_us() + 500 * USEC_PER_MSEC, on_answer, &a);
    assert_int_equal(answered(&a), DCS_UNKNOWN);
    thaw_server(0);
    /* Whatever the server did with the requests it had received: well before the ttl is over nobody holds the key. */
    uint64_t end_us = in_seconds(5);

    while (read_cluster(&a)->leader.exists)
        assert_true(clock_now_us() < end_us);
    assert_int_equal(acquire(&a, 20), DCS_DONE);
    assert_int_equal(release(&a, a.answer.session), DCS_DONE);
    close_client(&a);
}

static void test_etcd3_live_watch_and_lease_survive_a_restart_of_the_server(void **state)
{
    struct client a;
    struct err err = {0};
    uint64_t session;
    unsigned changes;

    SKIP_WITHOUT_ETCD();
    open_client(&a, "node1", NULL);
    assert_int_equal(acquire(&a, 20), DCS_DONE);
    session = a.answer.session;
    assert_int_equal(a.dcs->ops->watch(a.dcs, on_change, &a, &err), 0);
    wait_for(&a.changes, 1, 5, "the watch");
    changes = a.changes;
    kill_server(0);
    a.dcs->ops->renew_leader(a.dcs, "node1", session, in_seconds(1), on_answer, &a);
    assert_int_equal(answered(&a), DCS_UNKNOWN);
    start_server(0);
    wait_for(&a.changes, changes + 1, 20, "the watch");
    assert_string_equal(a.last_change, "");
    assert_int_equal(renew(&a, session), DCS_DONE);
    changes = a.changes;
    assert_int_equal(put(&a, "sync", "{}", DCS_ANY, 0), DCS_DONE);
    wait_for(&a.changes, changes + 1, 5, "a change");
    assert_string_equal(a.last_change, "sync");
    assert_int_equal(release(&a, session), DCS_DONE);
    close_client(&a);
}

static void etcdctl(const char *a, const char *b, const char *c, const char *d)
{
    char url[64];
    int status = -1;
    pid_t pid;

    (void)snprintf(url, sizeof(url), "--endpoints=http://127.0.0.1:%u", lab.servers[0].client_port);
    pid = fork();
    if (pid == 0) {
        (void)dup2(open("/dev/null", O_WRONLY), 1);
        (void)execl(etcdctl_program, etcdctl_program, url, a, b, c, d, (char *)NULL);
        _exit(127);
    }
    assert_true(waitpid(pid, &status, 0) == pid);
    assert_int_equal(status, 0);
}

static void test_etcd3_live_users_get_tokens_and_new_ones_when_the_old_are_gone(void **state)
{
    struct client a, nobody, wrong;
    struct err err = {0};

    SKIP_WITHOUT_ETCD();
    if (access(etcdctl_program, X_OK) < 0)
        skip();
    open_client(&a, "node1", "root");
    (void)read_cluster(&a); /* no authentication yet: the name is not used */
    etcdctl("user", "add", "root:pa\"ss", NULL);
    etcdctl("user", "grant-role", "root", "root");
    etcdctl("auth", "enable", NULL, NULL);

    assert_int_equal(acquire(&a, 20), DCS_DONE);
    assert_int_equal(renew(&a, a.answer.session), DCS_DONE);
    assert_int_equal(a.dcs->ops->watch(a.dcs, on_change, &a, &err), 0);
    wait_for(&a.changes, 1, 10, "the watch");
    open_client(&nobody, "node2", NULL);
    nobody.dcs->ops->get_cluster(nobody.dcs, true, in_seconds(2), on_answer, &nobody);
    assert_int_equal(answered(&nobody), DCS_UNKNOWN);
    assert_int_equal(nobody.answer.err.code, -EACCES);
    open_client(&wrong, "node2", "stranger");
    wrong.dcs->ops->get_cluster(wrong.dcs, true, in_seconds(2), on_answer, &wrong);
    assert_int_equal(answered(&wrong), DCS_UNKNOWN);
    assert_int_equal(wrong.answer.err.code, -EACCES);

    /* A restarted server knows none of its tokens. */
    uint64_t session = a.answer.session;
    unsigned changes = a.changes;

    kill_server(0);
    start_server(0);
    wait_for(&a.changes, changes + 1, 20, "the watch");
    assert_int_equal(renew(&a, session), DCS_DONE);
    close_client(&nobody);
    close_client(&wrong);
    close_client(&a);
}

/* --- three servers --------------------------------------------------------------------------------------------------
 */

static void test_etcd3_live_any_frozen_member_of_three_does_not_cost_the_lease(void **state)
{
    struct client a;
    uint64_t session;

    SKIP_WITHOUT_ETCD();
    open_client(&a, "node1", NULL);
    assert_int_equal(acquire(&a, 20), DCS_DONE);
    session = a.answer.session;
    /* One of the three is the leader, another the one we are connected to. */
    for (size_t i = 0; i < lab.n; i++) {
        freeze_server(i);
        a.dcs->ops->renew_leader(a.dcs, "node1", session, in_seconds(8), on_answer, &a);
        if (answered(&a) != DCS_DONE)
            fail_msg("member %zu frozen: %s", i, a.answer.err.msg);
        thaw_server(i);
        if (renew(&a, session) != DCS_DONE)
            fail_msg("member %zu back: %s", i, a.answer.err.msg);
    }
    close_client(&a);
}

static void test_etcd3_live_without_a_majority_nothing_is_confirmed(void **state)
{
    struct client a;
    uint64_t session;

    SKIP_WITHOUT_ETCD();
    open_client(&a, "node2", NULL);
    assert_int_equal(delete_key(&a, "leader", DCS_ANY, 0), DCS_DONE);
    assert_int_equal(acquire(&a, 30), DCS_DONE);
    session = a.answer.session;
    kill_server(0);
    kill_server(1);
    a.dcs->ops->renew_leader(a.dcs, "node2", session, in_seconds(2), on_answer, &a);
    assert_int_equal(answered(&a), DCS_UNKNOWN);
    start_server(0);
    start_server(1);
    a.dcs->ops->renew_leader(a.dcs, "node2", session, in_seconds(15), on_answer, &a);
    if (answered(&a) != DCS_DONE)
        fail_msg("%s", a.answer.err.msg);
    close_client(&a);
}

int main(void)
{
    const struct CMUnitTest one[] = {
        cmocka_unit_test_teardown(test_etcd3_live_leader_key_is_acquired_renewed_and_released, mend_servers),
        cmocka_unit_test_teardown(test_etcd3_live_free_leader_key_is_not_taken_when_the_guard_was_written,
                                  mend_servers),
        cmocka_unit_test_teardown(test_etcd3_live_leader_key_ends_with_its_lease_and_not_before, mend_servers),
        cmocka_unit_test_teardown(test_etcd3_live_leader_key_deleted_by_somebody_is_refused, mend_servers),
        cmocka_unit_test_teardown(test_etcd3_live_leader_key_that_is_gone_is_reclaimed_under_the_same_lease,
                                  mend_servers),
        cmocka_unit_test_teardown(test_etcd3_live_conditional_writes_compare_with_the_revision, mend_servers),
        cmocka_unit_test_teardown(test_etcd3_live_mark_vanishes_with_the_member_unless_it_is_written_again,
                                  mend_servers),
        cmocka_unit_test_teardown(test_etcd3_live_member_lives_as_long_as_it_is_touched_and_the_watch_sees_it,
                                  mend_servers),
        cmocka_unit_test_teardown(test_etcd3_live_frozen_server_makes_everything_unknown_by_the_deadline, mend_servers),
        cmocka_unit_test_teardown(test_etcd3_live_lease_counts_from_before_the_request_when_the_answer_is_late,
                                  mend_servers),
        cmocka_unit_test_teardown(test_etcd3_live_acquire_that_timed_out_leaves_no_leader_key_behind, mend_servers),
        cmocka_unit_test_teardown(test_etcd3_live_watch_and_lease_survive_a_restart_of_the_server, mend_servers),
        cmocka_unit_test_teardown(test_etcd3_live_users_get_tokens_and_new_ones_when_the_old_are_gone, mend_servers),
    };
    const struct CMUnitTest three[] = {
        cmocka_unit_test_teardown(test_etcd3_live_any_frozen_member_of_three_does_not_cost_the_lease, mend_servers),
        cmocka_unit_test_teardown(test_etcd3_live_without_a_majority_nothing_is_confirmed, mend_servers),
    };

    return cmocka_run_group_tests_name("etcd3, one real server", one, start_one, stop_servers) +
           cmocka_run_group_tests_name("etcd3, three real servers", three, start_three, stop_servers);
}
