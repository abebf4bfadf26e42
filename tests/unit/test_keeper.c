#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/text.h"
#include "fence/lease.h"
#include "node.h"

#define MS USEC_PER_MSEC
enum { LEASE = 77 };

static bool no_postgres(struct node *n)
{
    return node_count_postgres(n) == 0;
}

static bool agent_is_dead(struct node *n)
{
    return !node_process_lives(n->agent);
}

static struct keeper_answer arm(struct node *n, uint64_t deadline_us)
{
    struct keeper_answer a = node_ask(n, KEEPER_ARM, LEASE, deadline_us, 0);

    assert_int_equal(a.result, KEEPER_OK);
    assert_int_equal(a.state, KEEPER_ARMED);
    return a;
}

static struct keeper_answer status(struct node *n)
{
    return node_ask(n, KEEPER_STATUS, 0, 0, 0);
}

/* --- life -----------------------------------------------------------------------------------------------------------
 */

static void test_keeper_is_ready_when_the_agent_asks_for_its_status(void **state)
{
    struct node *n = *state;
    struct keeper_answer a;

    node_start(n);
    a = status(n);
    assert_int_equal(a.state, KEEPER_DISARMED);
    assert_int_equal(a.watchdog, KEEPER_WATCHDOG_OFF);
    assert_int_equal(a.agent_starts, 1);
    assert_true(a.fenced_at_us == 0 && a.rung == FENCE_RUNG_NONE && a.deadline_us == 0);
    node_wait_for_notify(n, "READY=1");
    node_wait_for_notify(n, "STATUS=disarmed: no lease is armed, watchdog off");
    n->passed = true;
}

static void test_keeper_ends_with_the_status_of_an_agent_that_dislikes_the_configuration(void **state)
{
    struct node *n = *state;

    n->settings = "nonsense=1\n";
    node_start_keeper(n);
    assert_int_equal(node_wait_for_exit(n), 1);
    assert_true(node_log_says(n, "unknown keeper setting \"nonsense\""));
    n->passed = true;
}

static void test_keeper_refuses_to_be_the_second_of_its_instance(void **state)
{
    struct node *n = *state;
    pid_t first;

    node_start(n);
    first = n->keeper;
    node_start_keeper(n);
    assert_int_equal(node_wait_for_exit(n), 1);
    assert_true(node_log_says(n, "another pgtetherd runs this instance"));
    n->keeper = first;
    assert_int_equal(status(n).agent_starts, 1);
    n->passed = true;
}

static void test_keeper_told_to_stop_tells_the_agent_and_kills_what_it_leaves(void **state)
{
    struct node *n = *state;
    struct fake_report r;

    node_start(n);
    (void)arm(n, clock_now_us() + 20000 * MS);
    (void)node_start_postgres(n);
    (void)kill(n->keeper, SIGTERM);
    r = node_report(n);
    assert_int_equal(r.event, FAKE_SIGNAL);
    assert_int_equal(r.pid, SIGTERM);
    node_wait_for_notify(n, "STOPPING=1");
    assert_int_equal(node_count_postgres(n), 4); /* it is the agent's to stop PostgreSQL */
    node_exit_agent(n, 0);
    assert_int_equal(node_wait_for_exit(n), 0);
    assert_int_equal(node_count_postgres(n), 0);
    assert_true(node_log_says(n, "stopped"));
    n->passed = true;
}

static void test_keeper_passes_a_reload_on(void **state)
{
    struct node *n = *state;
    struct fake_report r;

    node_start(n);
    (void)status(n);
    node_wait_for_notify(n, "READY=1");
    (void)kill(n->keeper, SIGHUP);
    r = node_report(n);
    assert_int_equal(r.event, FAKE_SIGNAL);
    assert_int_equal(r.pid, SIGHUP);
    node_wait_for_notify(n, "RELOADING=1\nMONOTONIC_USEC=");
    node_wait_for_notify(n, "READY=1");
    n->passed = true;
}

static void test_keeper_ends_when_the_agent_cannot_run_with_its_configuration(void **state)
{
    struct node *n = *state;

    node_start(n);
    (void)node_start_postgres(n);
    node_exit_agent(n, 78);
    assert_int_equal(node_wait_for_exit(n), 1);
    assert_int_equal(node_count_postgres(n), 0);
    n->passed = true;
}

static void test_keeper_leaves_postgres_running_when_the_agent_wants_that_and_nothing_is_armed(void **state)
{
    struct node *n = *state;

    node_start(n);
    (void)node_start_postgres(n);
    node_exit_agent(n, 3);
    assert_int_equal(node_wait_for_exit(n), 0);
    assert_int_equal(node_count_postgres(n), 4);
    node_start(n); /* and the next keeper lets it run, too: its predecessor had nothing armed */
    assert_int_equal(status(n).state, KEEPER_DISARMED);
    assert_int_equal(node_count_postgres(n), 4);
    n->passed = true;
}

static void test_keeper_leaves_no_armed_postgres_running(void **state)
{
    struct node *n = *state;

    node_start(n);
    (void)arm(n, clock_now_us() + 20000 * MS);
    (void)node_start_postgres(n);
    node_exit_agent(n, 3);
    assert_int_equal(node_wait_for_exit(n), 0);
    assert_int_equal(node_count_postgres(n), 0);
    n->passed = true;
}

/* --- privileges -----------------------------------------------------------------------------------------------------
 */

/* A line of /proc/PID/status as a number. */
static uint64_t status_line(pid_t pid, const char *name, int base)
{
    char path[64], text[4096], *line;
    size_t len;
    FILE *f;

    (void)text_print(path, sizeof(path), "/proc/%d/status", (int)pid);
    f = fopen(path, "r");
    assert_non_null(f);
    len = fread(text, 1, sizeof(text) - 1, f);
    (void)fclose(f);
    text[len] = '\0';
    line = strstr(text, name);
    assert_non_null(line);
    return strtoull(line + strlen(name), NULL, base);
}

static void assert_without_privileges(pid_t pid)
{
    static const char *const sets[] = {"\nCapInh:", "\nCapPrm:", "\nCapEff:", "\nCapAmb:"};

    for (size_t i = 0; i < ARRAY_LEN(sets); i++)
        if (status_line(pid, sets[i], 16))
            fail_msg("process %d has capabilities:%s %" PRIx64, (int)pid, sets[i], status_line(pid, sets[i], 16));
    if (geteuid() == 0)
        assert_true(status_line(pid, "\nCapBnd:", 16) == 0);
    assert_int_equal(status_line(pid, "\nNoNewPrivs:", 10), 1);
}

static uint64_t bit(int cap)
{
    return UINT64_C(1) << cap;
}

static void test_agent_has_no_privileges_and_the_keeper_few(void **state)
{
    uint64_t few = bit(CAP_KILL) | bit(CAP_SETUID) | bit(CAP_SETGID) | bit(CAP_SETPCAP) | bit(CAP_SYS_PTRACE) |
                   bit(CAP_NET_ADMIN) | bit(CAP_NET_RAW) | bit(CAP_IPC_LOCK);
    struct node *n = *state;

    node_start(n);
    (void)status(n); /* it answers, so its start is over */
    assert_without_privileges(n->agent);
    assert_true((status_line(n->keeper, "\nCapEff:", 16) & ~few) == 0);
    assert_true((status_line(n->keeper, "\nCapPrm:", 16) & ~few) == 0);
    assert_true(status_line(n->keeper, "\nCapInh:", 16) == 0);
    assert_int_equal(status_line(n->keeper, "\nNoNewPrivs:", 10), 1);
    if (geteuid() == 0)
        assert_true((status_line(n->keeper, "\nCapBnd:", 16) & ~few) == 0);
    n->passed = true;
}

/* What it has kept is enough for all it does later, also with an agent of another user. */
static void check_restart_kill_and_end(struct node *n)
{
    char path[160];
    pid_t agent;

    n->user = "nobody";
    node_start(n);
    (void)status(n);
    agent = n->agent;
    assert_int_not_equal(status_line(agent, "\nUid:", 10), 0);
    (void)kill(agent, SIGKILL);
    node_wait_for_agent(n);
    assert_int_equal(status(n).agent_starts, 2);
    assert_int_not_equal(status_line(n->agent, "\nUid:", 10), 0);
    assert_without_privileges(n->agent);
    (void)arm(n, clock_now_us() + 2000 * MS);
    (void)node_start_postgres(n);
    assert_int_equal(node_count_postgres(n), 4);
    agent = n->agent;
    node_wait_until(agent_is_dead, n, "the agent is dead");
    node_wait_until(no_postgres, n, "PostgreSQL is dead");
    node_wait_for_agent(n);
    assert_int_not_equal(n->agent, agent);
    (void)node_start_postgres(n);
    do
        (void)node_ask(n, KEEPER_DISARM, 0, 0, 0);
    while (status(n).state != KEEPER_DISARMED);
    assert_int_equal(node_count_postgres(n), 0);
    (void)kill(n->keeper, SIGTERM);
    node_exit_agent(n, 0);
    assert_int_equal(node_wait_for_exit(n), 0);
    (void)text_print(path, sizeof(path), "%s/%s-node1/keeper.state", n->run_dir, n->dir + 5);
    assert_int_equal(access(path, F_OK), -1);
}

static void test_keeper_without_privileges_restarts_kills_and_tidies_up(void **state)
{
    struct node *n = *state;

    if (geteuid() != 0)
        skip();
    check_restart_kill_and_end(n);
    n->passed = true;
}

static void hide_cgroups(struct node *n)
{
    static const char *const words[] = {"unshare", "--mount", "sh", "-c",
                                        "umount --all --lazy --types cgroup2,cgroup; exec \"$0\" \"$@\""};

    memcpy(n->wrapper, words, sizeof(words));
}

static void test_keeper_without_privileges_and_cgroups_finds_and_kills_by_process_tree(void **state)
{
    struct node *n = *state;

    /* In a chroot, whose root is no mount point, there is no mount namespace in which paths look the same. */
    if (geteuid() != 0 || system("unshare --mount true 2>/dev/null") != 0)
        skip();
    hide_cgroups(n);
    check_restart_kill_and_end(n);
    assert_true(node_log_says(n, "killing by process tree"));
    /* What a dead keeper leaves is nobody's child any more: only its working directory gives PostgreSQL away. */
    node_start(n);
    (void)arm(n, clock_now_us() + 3000 * MS);
    (void)node_start_postgres(n);
    (void)kill(n->keeper, SIGKILL);
    (void)waitpid(n->keeper, NULL, 0);
    node_start(n);
    assert_int_equal(status(n).state, KEEPER_ARMED);
    assert_int_equal(node_count_postgres(n), 4);
    node_wait_until(no_postgres, n, "PostgreSQL is dead");
    node_wait_for_agent(n);
    assert_int_equal(status(n).state, KEEPER_DISARMED);
    n->passed = true;
}

/* --- fencing --------------------------------------------------------------------------------------------------------
 */

static void test_keeper_fences_a_stopped_agent_between_the_fence_point_and_the_deadline(void **state)
{
    struct node *n = *state;
    struct keeper_answer a;
    uint64_t deadline_us, died_at_us;
    pid_t old_agent;

    node_start(n);
    deadline_us = clock_now_us() + 3000 * MS;
    a = arm(n, deadline_us);
    assert_true(a.fence_at_us == deadline_us - LEASE_KILL_BUDGET_MIN_US);
    (void)node_start_postgres(n);
    old_agent = n->agent;
    (void)kill(old_agent, SIGSTOP);
    node_watch_closely(true);
    while (clock_now_us() < a.fence_at_us - 200 * MS)
        (void)usleep(5000);
    assert_int_equal(node_count_postgres(n), 4);
    node_wait_until(no_postgres, n, "PostgreSQL is dead");
    died_at_us = clock_now_us();
    assert_true(died_at_us >= a.fence_at_us);
    assert_true(died_at_us <= deadline_us);
    node_wait_until(agent_is_dead, n, "the agent is dead");
    assert_true(clock_now_us() <= deadline_us);
    node_watch_closely(false);
    node_wait_for_agent(n);
    a = status(n);
    assert_int_equal(a.state, KEEPER_DISARMED);
    assert_int_equal(a.rung, FENCE_RUNG_KILL);
    assert_int_equal(a.agent_starts, 2);
    assert_true(a.fenced_at_us != 0 && a.fenced_at_us <= deadline_us);
    n->passed = true;
}

static bool rung_is_recorded(struct node *n)
{
    char path[160], text[512] = "";
    FILE *f;

    (void)text_print(path, sizeof(path), "%s/state/%s-node1/last-rung", n->dir, n->dir + 5);
    f = fopen(path, "r");
    if (!f)
        return false;
    text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
    (void)fclose(f);
    return strstr(text, "\nrung=kill\nreason=the lease was not renewed in time\n") && strstr(text, "\nboot_id=") &&
           strstr(text, "\nat_s=");
}

static void test_keeper_has_a_fencing_recorded_where_a_reset_does_not_reach(void **state)
{
    struct node *n = *state;

    node_start(n);
    (void)arm(n, clock_now_us() + 1500 * MS);
    (void)node_start_postgres(n);
    assert_false(rung_is_recorded(n));
    node_wait_until(rung_is_recorded, n, "the rung is recorded");
    node_wait_for_agent(n);
    n->passed = true;
}

static void test_keeper_does_not_fence_as_long_as_the_lease_is_renewed(void **state)
{
    struct node *n = *state;
    uint64_t first_us;

    /* Long enough for this test and the stand-in to be late: they renew, and they have no priority. */
    node_start(n);
    first_us = clock_now_us() + 4000 * MS;
    (void)arm(n, first_us);
    (void)node_start_postgres(n);
    while (clock_now_us() < first_us + 500 * MS) {
        uint64_t deadline_us = clock_now_us() + 4000 * MS;

        assert_int_equal(node_ask(n, KEEPER_RENEW, LEASE, deadline_us, 0).result, KEEPER_OK);
        (void)usleep(200000);
    }
    assert_int_equal(node_count_postgres(n), 4);
    assert_int_equal(status(n).state, KEEPER_ARMED);
    n->passed = true;
}

static void test_keeper_starts_a_killed_agent_again_and_keeps_the_lease(void **state)
{
    struct node *n = *state;
    struct keeper_answer a;
    uint64_t deadline_us = clock_now_us() + 20000 * MS;
    pid_t postmaster;

    node_start(n);
    (void)arm(n, deadline_us);
    postmaster = node_start_postgres(n);
    (void)kill(n->agent, SIGKILL);
    node_wait_for_agent(n);
    a = status(n);
    assert_int_equal(a.state, KEEPER_ARMED);
    assert_true(a.lease_id == LEASE && a.deadline_us == deadline_us);
    assert_int_equal(a.postmaster_pid, postmaster);
    assert_int_equal(a.agent_starts, 2);
    assert_int_equal(node_count_postgres(n), 4);
    n->passed = true;
}

static void test_keeper_disarms_only_with_postgres_dead_and_spares_the_agent(void **state)
{
    struct node *n = *state;
    struct keeper_answer a;
    pid_t agent;

    node_start(n);
    agent = n->agent;
    (void)arm(n, clock_now_us() + 20000 * MS);
    (void)node_start_postgres(n);
    do
        a = node_ask(n, KEEPER_DISARM, 0, 0, 0);
    while (a.state == KEEPER_FENCING);
    assert_int_equal(node_count_postgres(n), 0);
    assert_int_equal(a.state, KEEPER_DISARMED);
    assert_int_equal(a.result, KEEPER_OK);
    assert_int_equal(a.rung, FENCE_RUNG_DISARM);
    assert_true(a.deadline_us == 0 && a.postmaster_pid == 0);
    assert_int_equal(status(n).agent_starts, 1);
    assert_true(node_process_lives(agent));
    a = node_ask(n, KEEPER_DISARM, 0, 0, 0); /* again, with nothing to kill: proven at once */
    assert_int_equal(a.state, KEEPER_DISARMED);
    n->passed = true;
}

static void test_keeper_refuses_leases_it_could_not_fence(void **state)
{
    struct node *n = *state;
    uint64_t now_us = clock_now_us();

    node_start(n);
    assert_int_equal(node_ask(n, KEEPER_RENEW, LEASE, now_us + 20000 * MS, 0).result, KEEPER_REFUSED_LEASE);
    assert_int_equal(node_ask(n, KEEPER_ARM, LEASE, now_us + 600 * MS, 0).result, KEEPER_REFUSED_LATE);
    assert_int_equal(node_ask(n, KEEPER_ARM, LEASE, now_us + 7200 * USEC_PER_SEC, 0).result, KEEPER_REFUSED_LEASE);
    (void)arm(n, now_us + 20000 * MS);
    assert_int_equal(node_ask(n, KEEPER_ARM, LEASE + 1, now_us + 20000 * MS, 0).result, KEEPER_REFUSED_LEASE);
    assert_int_equal(node_ask(n, KEEPER_RENEW, LEASE, now_us + 19999 * MS, 0).result, KEEPER_REFUSED_LEASE);
    n->passed = true;
}

/* --- an agent that cannot be trusted ---------------------------------------------------------------------------------
 */

static void expect_replaced_agent(struct node *n)
{
    pid_t old_agent = n->agent;

    node_wait_for_agent(n);
    assert_false(node_process_lives(old_agent));
    assert_int_equal(status(n).state, KEEPER_ARMED);
    assert_true(node_log_says(n, "the agent is broken"));
}

static void test_keeper_replaces_an_agent_that_talks_garbage_and_keeps_the_lease(void **state)
{
    struct node *n = *state;
    struct fake_order order = {.command = FAKE_SEND, .argument = 32, .bytes = "lorem ipsum dolor sit amet, cons"};

    node_start(n);
    (void)arm(n, clock_now_us() + 20000 * MS);
    (void)node_start_postgres(n);
    node_order(n, &order);
    expect_replaced_agent(n);
    assert_int_equal(node_count_postgres(n), 4);
    n->passed = true;
}

static void test_keeper_believes_no_postmaster_that_is_not_of_the_node(void **state)
{
    struct node *n = *state;
    struct fake_order order = {.command = FAKE_ASK, .argument = 1};

    /* This test itself: it would be killed with all its descendants. */
    order.argument = (uint32_t)getpid();
    order.request =
        (struct keeper_request){.version = KEEPER_PROTOCOL, .op = KEEPER_POSTMASTER, .pid = (uint32_t)getpid()};
    node_start(n);
    (void)arm(n, clock_now_us() + 20000 * MS);
    node_order(n, &order);
    expect_replaced_agent(n);

    /* A descriptor of another process than the one named. */
    order.argument = (uint32_t)n->agent;
    node_order(n, &order);
    expect_replaced_agent(n);
    n->passed = true;
}

static void test_keeper_kills_an_agent_that_hangs_up_without_ending(void **state)
{
    struct node *n = *state;
    struct fake_order order = {.command = FAKE_HANG_UP};

    node_start(n);
    node_order(n, &order);
    node_wait_for_agent(n);
    assert_int_equal(status(n).agent_starts, 2);
    assert_true(node_log_says(n, "the agent has hung up but does not end"));
    n->passed = true;
}

static void test_keeper_waits_longer_before_each_restart(void **state)
{
    struct node *n = *state;
    uint64_t began_us;

    node_start(n);
    began_us = clock_now_us();
    for (int i = 0; i < 4; i++) {
        (void)kill(n->agent, SIGKILL);
        node_wait_for_agent(n);
    }
    /* 100 + 200 + 400 + 800 ms */
    assert_in_range(clock_now_us() - began_us, 1500 * MS, 10000 * MS);
    n->passed = true;
}

/* --- a keeper that dies
 * ----------------------------------------------------------------------------------------------- */

static void kill_keeper(struct node *n)
{
    (void)kill(n->keeper, SIGKILL);
    (void)waitpid(n->keeper, NULL, 0);
}

static void test_successor_removes_the_old_agent_and_takes_over_the_lease(void **state)
{
    struct node *n = *state;
    struct keeper_answer a;
    uint64_t deadline_us;
    pid_t old_agent;

    node_start(n);
    deadline_us = clock_now_us() + 5000 * MS;
    (void)arm(n, deadline_us);
    (void)node_start_postgres(n);
    old_agent = n->agent;
    kill_keeper(n);
    assert_true(node_process_lives(old_agent));
    node_start(n);
    assert_false(node_process_lives(old_agent));
    a = status(n);
    assert_int_equal(a.state, KEEPER_ARMED);
    assert_true(a.lease_id == LEASE && a.deadline_us == deadline_us);
    assert_int_equal(node_count_postgres(n), 4);
    node_watch_closely(true);
    node_wait_until(no_postgres, n, "PostgreSQL is dead"); /* no longer its child, but in its directory and group */
    assert_true(clock_now_us() <= deadline_us);
    n->passed = true;
}

static void test_successor_that_comes_too_late_kills_at_once(void **state)
{
    struct node *n = *state;
    uint64_t deadline_us;

    node_start(n);
    deadline_us = clock_now_us() + 4000 * MS;
    (void)arm(n, deadline_us);
    (void)node_start_postgres(n);
    kill_keeper(n);
    while (clock_now_us() < deadline_us)
        (void)usleep(5000);
    node_start(n);
    assert_int_equal(node_count_postgres(n), 0);
    assert_int_equal(status(n).rung, FENCE_RUNG_STARVE);
    n->passed = true;
}

/* --- the watchdog
 * ----------------------------------------------------------------------------------------------------- */

/* By the time that has really passed: a loaded host makes this test's sleeps longer. */
static void assert_petted_thrice_a_second(const struct node *n, uint32_t pets, uint64_t since_us)
{
    uint64_t passed_ms = (clock_now_us() - since_us) / MS;

    assert_int_equal(n->watchdog->timeout_s, 1);
    assert_in_range(pets, passed_ms < 500 ? 0 : passed_ms / 500, passed_ms / 333 + 2);
}

static bool watchdog_is_stopped(struct node *n)
{
    return n->watchdog->ticks == 0;
}

static void test_keeper_pets_the_watchdog_while_armed_and_stops_it_with_the_proof(void **state)
{
    struct node *n = *state;
    struct keeper_answer a;
    uint64_t began_us;
    uint32_t pets;

    n->settings = "watchdog_mode=required\nwatchdog_timeout_us=1000000\n";
    node_start(n);
    assert_int_equal(status(n).watchdog, KEEPER_WATCHDOG_READY);
    assert_int_equal(n->watchdog->ticks, 0);
    a = arm(n, clock_now_us() + 20000 * MS);
    assert_int_equal(a.watchdog, KEEPER_WATCHDOG_TICKING);
    assert_true(a.watchdog_timeout_us == USEC_PER_SEC);
    node_wait_for_notify(n, "watchdog fake 1 s");
    began_us = clock_now_us();
    pets = n->watchdog->pets;
    while (clock_now_us() < began_us + 1200 * MS) {
        uint64_t now_us = clock_now_us(); /* before the look: being late between the two harms nobody */

        assert_true(now_us < n->watchdog->last_pet_us + 700 * MS);
        (void)usleep(1000);
    }
    assert_petted_thrice_a_second(n, n->watchdog->pets - pets, began_us);
    a = node_ask(n, KEEPER_DISARM, 0, 0, 0);
    assert_int_equal(a.state, KEEPER_DISARMED);
    node_wait_until(watchdog_is_stopped, n, "the watchdog is stopped");
    assert_int_equal(n->watchdog->closed_while_stored, 0);
    assert_int_equal(n->store_fd, -1);
    assert_int_equal(status(n).watchdog, KEEPER_WATCHDOG_READY);
    n->passed = true;
}

static void test_keeper_reckons_with_the_timeout_that_the_driver_grants(void **state)
{
    struct node *n = *state;
    uint64_t now_us;

    n->settings = "watchdog_mode=required\nwatchdog_timeout_us=1000000\n";
    n->watchdog->least_s = 4;
    node_start(n);
    now_us = clock_now_us();
    assert_int_equal(node_ask(n, KEEPER_ARM, LEASE, now_us + 4000 * MS, 0).result, KEEPER_REFUSED_LATE);
    (void)status(n);
    assert_int_equal(n->watchdog->ticks, 0);       /* it was started for nothing, and stopped */
    assert_false(node_log_says(n, "has no room")); /* a renewed lease may do */
    assert_int_equal(node_ask(n, KEEPER_ARM, LEASE, now_us + 4010 * MS, 0).result, KEEPER_REFUSED_LATE);
    node_wait_for_log(n, "resets this host only 4.0 s after the last pet, which has no room in the ");
    node_wait_for_log(n, "HINT: Set ttl to 7 s at least, or watchdog.timeout to 2 s at most");
    assert_true(arm(n, now_us + 9000 * MS).fence_at_us < now_us + 5000 * MS);
    n->passed = true;
}

static void test_keeper_arms_nothing_without_the_required_watchdog(void **state)
{
    struct node *n = *state;
    struct keeper_answer a;

    n->settings = "watchdog_mode=required\n";
    n->watchdog->absent = 1;
    node_start(n);
    a = node_ask(n, KEEPER_ARM, LEASE, clock_now_us() + 20000 * MS, 0);
    assert_int_equal(a.result, KEEPER_REFUSED_WATCHDOG);
    assert_int_equal(a.watchdog, KEEPER_WATCHDOG_FAILED);
    n->watchdog->absent = 0; /* it is tried again each time */
    assert_int_equal(arm(n, clock_now_us() + 20000 * MS).watchdog, KEEPER_WATCHDOG_TICKING);
    n->passed = true;
}

static void test_keeper_fences_when_the_required_watchdog_fails(void **state)
{
    struct node *n = *state;

    n->settings = "watchdog_mode=required\nwatchdog_timeout_us=1000000\n";
    node_start(n);
    (void)arm(n, clock_now_us() + 20000 * MS);
    (void)node_start_postgres(n);
    n->watchdog->pets_fail = 1;
    node_wait_until(no_postgres, n, "PostgreSQL is dead");
    node_wait_for_agent(n);
    assert_int_equal(status(n).rung, FENCE_RUNG_KILL);
    n->passed = true;
}

static bool pet_has_failed(struct node *n)
{
    return status(n).watchdog == KEEPER_WATCHDOG_FAILED;
}

static void test_keeper_lets_the_agent_hand_over_when_the_required_watchdog_fails(void **state)
{
    struct node *n = *state;
    uint64_t failed_us;

    n->settings = "watchdog_mode=required\nwatchdog_timeout_us=4000000\n";
    node_start(n);
    (void)arm(n, clock_now_us() + 20000 * MS);
    (void)node_start_postgres(n);
    n->watchdog->pets_fail = 1;
    node_wait_until(pet_has_failed, n, "a pet has failed");
    failed_us = clock_now_us();
    assert_int_equal(node_ask(n, KEEPER_RENEW, LEASE, failed_us + 30000 * MS, 0).result, KEEPER_REFUSED_WATCHDOG);
    assert_in_range(status(n).fence_at_us, failed_us, failed_us + 2000 * MS);
    assert_int_equal(node_count_postgres(n), 4); /* the agent has its time */
    while (node_ask(n, KEEPER_DISARM, 0, 0, 0).state == KEEPER_FENCING)
        ;
    assert_int_equal(status(n).rung, FENCE_RUNG_DISARM);
    assert_int_equal(status(n).agent_starts, 1);
    n->watchdog->pets_fail = 0;
    node_wait_until(watchdog_is_stopped, n, "the watchdog is stopped");
    n->passed = true;
}

static bool watchdog_is_ready(struct node *n)
{
    (void)poll(NULL, 0, 100);
    return status(n).watchdog == KEEPER_WATCHDOG_READY;
}

static void test_keeper_looks_again_for_a_watchdog_that_did_not_work(void **state)
{
    struct node *n = *state;

    n->settings = "watchdog_mode=required\n";
    n->watchdog->opens_fail = 1;
    node_start(n);
    assert_int_equal(status(n).watchdog, KEEPER_WATCHDOG_FAILED);
    n->watchdog->opens_fail = 0;
    node_wait_until(watchdog_is_ready, n, "the watchdog is ready");
    node_wait_for_log(n, "can be used now");
    assert_int_equal(n->watchdog->ticks, 0);
    n->passed = true;
}

static void test_keeper_is_loud_about_a_primary_without_a_watchdog(void **state)
{
    struct node *n = *state;

    n->settings = "watchdog_mode=automatic\n";
    n->watchdog->absent = 1;
    node_start(n);
    (void)arm(n, clock_now_us() + 20000 * MS);
    (void)status(n);
    node_wait_for_log(n, "this primary is not fenced by hardware");
    n->passed = true;
}

static void test_keeper_goes_on_when_the_automatic_watchdog_fails(void **state)
{
    struct node *n = *state;
    uint64_t until_us;

    n->settings = "watchdog_mode=automatic\nwatchdog_timeout_us=1000000\n";
    node_start(n);
    (void)arm(n, clock_now_us() + 20000 * MS);
    (void)node_start_postgres(n);
    n->watchdog->pets_fail = 1;
    for (until_us = clock_now_us() + 800 * MS; clock_now_us() < until_us; (void)usleep(10000))
        ;
    assert_int_equal(node_count_postgres(n), 4);
    assert_int_equal(status(n).watchdog, KEEPER_WATCHDOG_FAILED);
    n->passed = true;
}

static void test_keeper_arms_without_a_watchdog_that_has_no_room_where_it_is_not_required(void **state)
{
    struct node *n = *state;
    struct keeper_answer a;

    n->settings = "watchdog_mode=automatic\n";
    n->watchdog->least_s = 30;
    node_start(n);
    assert_int_equal(node_ask(n, KEEPER_ARM, LEASE, clock_now_us() + 10000 * MS, 0).result, KEEPER_REFUSED_LATE);
    a = arm(n, clock_now_us() + 10000 * MS);
    assert_int_equal(a.watchdog, KEEPER_WATCHDOG_READY);
    assert_true(a.watchdog_reset_us == 0);
    assert_int_equal(n->watchdog->ticks, 0);
    (void)status(n);
    node_wait_for_log(n, "it is not used");
    node_wait_for_log(n, "this primary is not fenced by hardware");
    n->passed = true;
}

static bool pet_was_late(struct node *n)
{
    return status(n).late_pets > 0;
}

static void test_keeper_counts_pets_that_came_late(void **state)
{
    struct node *n = *state;
    struct keeper_answer a;

    n->settings = "watchdog_mode=required\nwatchdog_timeout_us=2000000\n";
    node_start(n);
    a = arm(n, clock_now_us() + 30000 * MS);
    assert_true(a.late_pets == 0 && a.watchdog_reset_us == 2 * USEC_PER_SEC);
    assert_string_equal(a.watchdog_identity, "fake");
    (void)kill(n->keeper, SIGSTOP);
    (void)usleep(1500000); /* how late it is cannot be waited for: this is the lateness */
    (void)kill(n->keeper, SIGCONT);
    node_wait_until(pet_was_late, n, "a pet was late");
    a = status(n);
    assert_in_range(a.longest_pet_gap_us, 1500 * MS, 20000 * MS);
    node_wait_for_log(n, "the watchdog was petted");
    n->passed = true;
}

static bool timeout_is_short(struct node *n)
{
    return n->watchdog->timeout_s == 1;
}

static void test_keeper_takes_back_what_it_can_of_a_pet_that_came_too_late(void **state)
{
    struct node *n = *state;
    uint64_t deadline_us;

    n->settings = "watchdog_mode=required\nwatchdog_timeout_us=3000000\n";
    node_start(n);
    (void)status(n);
    deadline_us = clock_now_us() + 5000 * MS;
    (void)arm(n, deadline_us);
    (void)node_start_postgres(n);
    n->watchdog->next_pet_takes_ms = 1500; /* begun in time, done 2.5 s before the deadline instead of 3 */
    node_wait_until(timeout_is_short, n, "the timeout is short");
    assert_true(n->watchdog->last_pet_us + USEC_PER_SEC <= deadline_us);
    node_watch_closely(true);
    node_wait_until(no_postgres, n, "PostgreSQL is dead");
    assert_true(clock_now_us() <= deadline_us);
    n->passed = true;
}

static void test_keeper_pets_a_watchdog_on_that_nothing_can_stop(void **state)
{
    struct node *n = *state;
    uint64_t began_us;
    uint32_t pets;

    n->settings = "watchdog_mode=required\nwatchdog_timeout_us=1000000\n";
    n->watchdog->nowayout = 1;
    node_start(n);
    assert_int_equal(status(n).watchdog, KEEPER_WATCHDOG_READY);
    assert_int_equal(n->watchdog->opens, 0); /* looking at it must not start it */
    (void)arm(n, clock_now_us() + 20000 * MS);
    assert_int_equal(node_ask(n, KEEPER_DISARM, 0, 0, 0).state, KEEPER_DISARMED);
    began_us = clock_now_us();
    pets = n->watchdog->pets;
    (void)usleep(900000);
    assert_petted_thrice_a_second(n, n->watchdog->pets - pets, began_us);
    assert_int_equal(arm(n, clock_now_us() + 20000 * MS).watchdog, KEEPER_WATCHDOG_TICKING);
    n->passed = true;
}

static void test_successor_pets_the_watchdog_that_was_left_ticking(void **state)
{
    struct node *n = *state;
    uint64_t deadline_us = clock_now_us() + 20000 * MS;

    n->settings = "watchdog_mode=required\nwatchdog_timeout_us=2000000\n";
    node_start(n);
    (void)arm(n, deadline_us);
    (void)node_start_postgres(n);
    kill_keeper(n);
    assert_int_equal(n->watchdog->ticks, 1);
    node_start(n);
    assert_int_equal(n->watchdog->ticks, 1); /* never stopped in between: a primary runs */
    assert_int_equal(n->watchdog->stops, 1); /* the first keeper's look at start */
    assert_int_equal(status(n).state, KEEPER_ARMED);
    assert_int_equal(status(n).watchdog, KEEPER_WATCHDOG_TICKING);
    n->passed = true;
}

static void test_keeper_that_makes_way_leaves_its_successor_the_rest_of_the_lease(void **state)
{
    struct node *n = *state;

    n->settings = "watchdog_mode=required\nwatchdog_timeout_us=2000000\n";
    node_start(n);
    (void)arm(n, clock_now_us() + 9500 * MS);
    (void)node_start_postgres(n);
    assert_int_equal(n->watchdog->timeout_s, 2);
    (void)kill(n->keeper, SIGUSR1);
    assert_int_equal(node_wait_for_exit(n), 0);
    assert_in_range(n->watchdog->timeout_s, 7, 9); /* rounded down: the reset comes before the lease ends */
    assert_int_equal(n->watchdog->ticks, 1);
    assert_int_equal(node_count_postgres(n), 4);
    node_start(n);
    assert_int_equal(n->watchdog->timeout_s, 2);
    assert_int_equal(n->watchdog->stops, 1); /* the first keeper's look at start */
    assert_int_equal(status(n).state, KEEPER_ARMED);
    n->passed = true;
}

static void test_keeper_that_fences_makes_no_way(void **state)
{
    struct node *n = *state;

    n->settings = "watchdog_mode=required\nwatchdog_timeout_us=2000000\n";
    node_start(n);
    (void)arm(n, clock_now_us() + 4000 * MS);
    (void)node_start_postgres(n);
    (void)kill(n->keeper, SIGSTOP); /* until the time to fence has come */
    (void)usleep(2500000);
    (void)kill(n->keeper, SIGUSR1);
    (void)kill(n->keeper, SIGCONT);
    node_wait_until(no_postgres, n, "PostgreSQL is dead");
    assert_int_equal(kill(n->keeper, 0), 0);
    assert_int_equal(n->watchdog->timeout_s, 2);
    n->passed = true;
}

static void test_successor_sets_the_watchdog_to_what_its_reset_time_was_measured_for(void **state)
{
    struct node *n = *state;
    uint64_t deadline_us;

    /* 2 s for this lease, which really take 4: a quarter of the lease anew would be 4 s, which nobody has measured. */
    n->settings = "watchdog_mode=required\nwatchdog_reset_us=4000000\n";
    node_start(n);
    deadline_us = clock_now_us() + 8500 * MS;
    (void)arm(n, deadline_us);
    (void)node_start_postgres(n);
    assert_int_equal(n->watchdog->timeout_s, 2);
    kill_keeper(n);
    node_start(n);
    assert_int_equal(status(n).watchdog, KEEPER_WATCHDOG_TICKING);
    assert_int_equal(n->watchdog->timeout_s, 2);
    node_watch_closely(true);
    node_wait_until(no_postgres, n, "PostgreSQL is dead");
    assert_true(clock_now_us() <= deadline_us - 4000 * MS);
    n->passed = true;
}

static void test_successor_pets_a_watchdog_that_could_not_be_stopped(void **state)
{
    struct node *n = *state;
    uint64_t began_us;
    uint32_t pets;

    n->settings = "watchdog_mode=required\nwatchdog_timeout_us=1000000\n";
    n->watchdog->nowayout = 1;
    node_start(n);
    (void)arm(n, clock_now_us() + 20000 * MS);
    assert_int_equal(node_ask(n, KEEPER_DISARM, 0, 0, 0).state, KEEPER_DISARMED);
    (void)kill(n->keeper, SIGTERM);
    assert_int_equal(node_report(n).event, FAKE_SIGNAL);
    node_exit_agent(n, 0);
    assert_int_equal(node_wait_for_exit(n), 0);
    assert_int_equal(n->watchdog->ticks, 1);
    assert_true(node_log_says(n, "the watchdog cannot be stopped"));
    node_start(n);
    assert_int_equal(status(n).watchdog, KEEPER_WATCHDOG_TICKING);
    began_us = clock_now_us();
    pets = n->watchdog->pets;
    (void)usleep(900000);
    assert_petted_thrice_a_second(n, n->watchdog->pets - pets, began_us);
    n->passed = true;
}

/* --- the store of the service manager ------------------------------------------------------------------------------
 */

static bool watchdog_is_stored(struct node *n)
{
    return n->store_fd >= 0;
}

static void test_successor_takes_the_watchdog_over_from_the_store(void **state)
{
    struct node *n = *state;
    struct keeper_answer a;
    uint32_t opens, pets;

    n->settings = "watchdog_mode=required\nwatchdog_timeout_us=2000000\n";
    node_start(n);
    (void)arm(n, clock_now_us() + 20000 * MS);
    (void)node_start_postgres(n);
    node_wait_until(watchdog_is_stored, n, "the watchdog is in the store");
    opens = n->watchdog->opens;
    kill_keeper(n);
    pets = n->watchdog->pets;
    node_start(n); /* a second open would be refused: the store holds it */
    assert_int_equal(status(n).state, KEEPER_ARMED);
    assert_int_equal(status(n).watchdog, KEEPER_WATCHDOG_TICKING);
    assert_int_equal(n->watchdog->opens, opens);
    assert_int_equal(n->watchdog->stops, 1); /* the first keeper's look at start */
    assert_true(n->watchdog->pets > pets);
    do
        a = node_ask(n, KEEPER_DISARM, 0, 0, 0);
    while (a.state == KEEPER_FENCING);
    node_wait_until(watchdog_is_stopped, n, "the watchdog is stopped");
    assert_int_equal(n->watchdog->closed_while_stored, 0);
    assert_int_equal(n->store_fd, -1);
    (void)arm(n, clock_now_us() + 20000 * MS); /* and it can be opened again */
    n->passed = true;
}

static void test_successor_stops_a_stored_watchdog_that_ticks_for_nobody(void **state)
{
    struct node *n = *state;
    char path[256];

    n->settings = "watchdog_mode=required\nwatchdog_timeout_us=2000000\n";
    node_start(n);
    (void)arm(n, clock_now_us() + 20000 * MS);
    node_wait_until(watchdog_is_stored, n, "the watchdog is in the store");
    kill_keeper(n);
    (void)text_print(path, sizeof(path), "%s/%s-node1/keeper.state", n->run_dir, n->dir + 5);
    assert_int_equal(unlink(path), 0);
    node_start(n);
    assert_int_equal(status(n).state, KEEPER_DISARMED);
    node_wait_until(watchdog_is_stopped, n, "the watchdog is stopped");
    assert_int_equal(n->watchdog->closed_while_stored, 0);
    n->passed = true;
}

static void test_keeper_pets_on_until_the_service_manager_has_let_go(void **state)
{
    struct node *n = *state;
    uint64_t began_us;
    uint32_t pets;

    n->settings = "watchdog_mode=required\nwatchdog_timeout_us=1000000\n";
    node_start(n);
    (void)arm(n, clock_now_us() + 20000 * MS);
    node_wait_until(watchdog_is_stored, n, "the watchdog is in the store");
    assert_int_equal(node_ask(n, KEEPER_DISARM, 0, 0, 0).state, KEEPER_DISARMED);
    began_us = clock_now_us();
    pets = n->watchdog->pets;
    (void)usleep(900000); /* a manager that does not read */
    assert_petted_thrice_a_second(n, n->watchdog->pets - pets, began_us);
    assert_int_equal(n->watchdog->ticks, 1);
    /* Armed again meanwhile: it is put back, and stays open. */
    (void)arm(n, clock_now_us() + 20000 * MS);
    began_us = clock_now_us();
    while (clock_now_us() < began_us + 300 * MS)
        node_read_notify(n);
    assert_true(n->store_fd >= 0);
    assert_int_equal(n->watchdog->ticks, 1);
    n->passed = true;
}

static void test_keeper_that_ends_takes_the_watchdog_out_of_the_store(void **state)
{
    struct node *n = *state;

    n->settings = "watchdog_mode=required\nwatchdog_timeout_us=2000000\n";
    node_start(n);
    (void)arm(n, clock_now_us() + 20000 * MS);
    node_wait_until(watchdog_is_stored, n, "the watchdog is in the store");
    (void)kill(n->keeper, SIGTERM);
    assert_int_equal(node_report(n).event, FAKE_SIGNAL);
    node_exit_agent(n, 0);
    assert_int_equal(node_wait_for_exit(n), 0);
    assert_int_equal(n->store_fd, -1);
    assert_int_equal(n->watchdog->ticks, 0);
    assert_int_equal(n->watchdog->closed_while_stored, 0);
    n->passed = true;
}

/* --- a primary that cannot be killed
 * ----------------------------------------------------------------------------------- */

static bool put(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    bool done = f && fputs(text, f) >= 0;

    if (f && fclose(f) != 0)
        done = false;
    return done;
}

static bool watchdog_would_have_fired(struct node *n)
{
    return clock_now_us() > n->watchdog->last_pet_us + (uint64_t)n->watchdog->timeout_s * USEC_PER_SEC;
}

/* In the old freezer a process survives SIGKILL until it is thawed, as one that waits for a hung disk does. */
static void test_keeper_stops_petting_when_death_cannot_be_proven_in_time(void **state)
{
    struct node *n = *state;
    char group[128], path[160], text[16];
    struct keeper_answer a;
    uint64_t deadline_us;
    pid_t postmaster;
    uint32_t pets;

    (void)text_print(group, sizeof(group), "/sys/fs/cgroup/freezer/%s", n->dir + 5);
    if (mkdir(group, 0755) < 0) {
        n->passed = true;
        skip();
    }
    n->settings = "watchdog_mode=required\nwatchdog_timeout_us=1000000\n";
    node_start(n);
    deadline_us = clock_now_us() + 4000 * MS;
    a = arm(n, deadline_us);
    postmaster = node_start_postgres(n);
    (void)text_print(path, sizeof(path), "%s/cgroup.procs", group);
    (void)text_print(text, sizeof(text), "%d\n", (int)postmaster);
    assert_true(put(path, text));
    (void)text_print(path, sizeof(path), "%s/freezer.state", group);
    assert_true(put(path, "FROZEN\n"));
    node_wait_until(watchdog_would_have_fired, n, "the watchdog fires");
    /* When the device fires follows from the last pet; when this test looks does not matter. */
    assert_true(n->watchdog->last_pet_us + (uint64_t)n->watchdog->timeout_s * USEC_PER_SEC <= deadline_us);
    assert_true(n->watchdog->last_pet_us >= a.fence_at_us - 400 * MS);
    assert_int_equal(n->watchdog->ticks, 1);
    assert_true(node_process_lives(postmaster));
    pets = n->watchdog->pets;
    while (clock_now_us() < deadline_us + 300 * MS)
        (void)usleep(5000);
    assert_int_equal(n->watchdog->pets, pets);
    /* No reset came after all: with the proof the node comes back. */
    assert_true(put(path, "THAWED\n"));
    node_wait_for_agent(n);
    a = status(n);
    assert_int_equal(a.state, KEEPER_DISARMED);
    assert_int_equal(a.rung, FENCE_RUNG_STARVE);
    node_wait_until(watchdog_is_stopped, n, "the watchdog is stopped");
    (void)rmdir(group);
    n->passed = true;
}

#define NODE_TEST(t) cmocka_unit_test_setup_teardown(t, node_setup, node_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        NODE_TEST(test_keeper_is_ready_when_the_agent_asks_for_its_status),
        NODE_TEST(test_keeper_ends_with_the_status_of_an_agent_that_dislikes_the_configuration),
        NODE_TEST(test_keeper_refuses_to_be_the_second_of_its_instance),
        NODE_TEST(test_keeper_told_to_stop_tells_the_agent_and_kills_what_it_leaves),
        NODE_TEST(test_keeper_passes_a_reload_on),
        NODE_TEST(test_keeper_ends_when_the_agent_cannot_run_with_its_configuration),
        NODE_TEST(test_keeper_leaves_postgres_running_when_the_agent_wants_that_and_nothing_is_armed),
        NODE_TEST(test_keeper_leaves_no_armed_postgres_running),
        NODE_TEST(test_agent_has_no_privileges_and_the_keeper_few),
        NODE_TEST(test_keeper_without_privileges_restarts_kills_and_tidies_up),
        NODE_TEST(test_keeper_without_privileges_and_cgroups_finds_and_kills_by_process_tree),
        NODE_TEST(test_keeper_fences_a_stopped_agent_between_the_fence_point_and_the_deadline),
        NODE_TEST(test_keeper_has_a_fencing_recorded_where_a_reset_does_not_reach),
        NODE_TEST(test_keeper_does_not_fence_as_long_as_the_lease_is_renewed),
        NODE_TEST(test_keeper_starts_a_killed_agent_again_and_keeps_the_lease),
        NODE_TEST(test_keeper_disarms_only_with_postgres_dead_and_spares_the_agent),
        NODE_TEST(test_keeper_refuses_leases_it_could_not_fence),
        NODE_TEST(test_keeper_replaces_an_agent_that_talks_garbage_and_keeps_the_lease),
        NODE_TEST(test_keeper_believes_no_postmaster_that_is_not_of_the_node),
        NODE_TEST(test_keeper_kills_an_agent_that_hangs_up_without_ending),
        NODE_TEST(test_keeper_waits_longer_before_each_restart),
        NODE_TEST(test_successor_removes_the_old_agent_and_takes_over_the_lease),
        NODE_TEST(test_successor_that_comes_too_late_kills_at_once),
        NODE_TEST(test_keeper_pets_the_watchdog_while_armed_and_stops_it_with_the_proof),
        NODE_TEST(test_keeper_reckons_with_the_timeout_that_the_driver_grants),
        NODE_TEST(test_keeper_arms_nothing_without_the_required_watchdog),
        NODE_TEST(test_keeper_fences_when_the_required_watchdog_fails),
        NODE_TEST(test_keeper_lets_the_agent_hand_over_when_the_required_watchdog_fails),
        NODE_TEST(test_keeper_looks_again_for_a_watchdog_that_did_not_work),
        NODE_TEST(test_keeper_is_loud_about_a_primary_without_a_watchdog),
        NODE_TEST(test_keeper_goes_on_when_the_automatic_watchdog_fails),
        NODE_TEST(test_keeper_arms_without_a_watchdog_that_has_no_room_where_it_is_not_required),
        NODE_TEST(test_keeper_counts_pets_that_came_late),
        NODE_TEST(test_keeper_takes_back_what_it_can_of_a_pet_that_came_too_late),
        NODE_TEST(test_keeper_pets_a_watchdog_on_that_nothing_can_stop),
        NODE_TEST(test_successor_pets_the_watchdog_that_was_left_ticking),
        NODE_TEST(test_keeper_that_makes_way_leaves_its_successor_the_rest_of_the_lease),
        NODE_TEST(test_keeper_that_fences_makes_no_way),
        NODE_TEST(test_successor_sets_the_watchdog_to_what_its_reset_time_was_measured_for),
        NODE_TEST(test_successor_pets_a_watchdog_that_could_not_be_stopped),
        NODE_TEST(test_successor_takes_the_watchdog_over_from_the_store),
        NODE_TEST(test_successor_stops_a_stored_watchdog_that_ticks_for_nobody),
        NODE_TEST(test_keeper_pets_on_until_the_service_manager_has_let_go),
        NODE_TEST(test_keeper_that_ends_takes_the_watchdog_out_of_the_store),
        NODE_TEST(test_keeper_stops_petting_when_death_cannot_be_proven_in_time),
    };

    return cmocka_run_group_tests_name("keeper", tests, NULL, NULL);
}
