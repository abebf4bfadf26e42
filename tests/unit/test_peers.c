/* What the leader race reads from the REST answers of other members, ours and the reference's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "agent/parts.h"
#include "base/text.h"

enum { ASKED_AT_US = 100000000 };

static const struct {
    const char *name, *body;
    struct peer want;
} rows[] = {
    {"a standby",
     "{\"state\":\"running\",\"role\":\"replica\",\"timeline\":3,"
     "\"xlog\":{\"received_location\":900,\"replayed_location\":800}}",
     {.answered = true, .lsn = 900, .timeline = 3, .failover_priority = 1}},
    {"one that replays from the archive, beyond what it received",
     "{\"role\":\"replica\",\"xlog\":{\"received_location\":5,\"replayed_location\":800}}",
     {.answered = true, .lsn = 800, .failover_priority = 1}},
    {"the newer name of the positions",
     "{\"role\":\"replica\",\"wal\":{\"received_location\":7}}",
     {.answered = true, .lsn = 7, .failover_priority = 1}},
    {"a primary",
     "{\"role\":\"primary\",\"xlog\":{\"location\":900}}",
     {.answered = true, .is_primary = true, .failover_priority = 1}},
    {"a primary of an old version",
     "{\"role\":\"master\",\"xlog\":{}}",
     {.answered = true, .is_primary = true, .failover_priority = 1}},
    {"a primary that calls itself a replica",
     "{\"role\":\"replica\",\"xlog\":{\"location\":900}}",
     {.answered = true, .is_primary = true, .failover_priority = 1}},
    {"nofailover",
     "{\"role\":\"replica\",\"tags\":{\"nofailover\":true}}",
     {.answered = true, .nofailover = true, .failover_priority = 1}},
    {"priority 0 is nofailover",
     "{\"role\":\"replica\",\"tags\":{\"failover_priority\":0}}",
     {.answered = true, .nofailover = true, .failover_priority = 0}},
    {"a priority",
     "{\"role\":\"replica\",\"tags\":{\"failover_priority\":7}}",
     {.answered = true, .failover_priority = 7}},
    {"a failed watchdog",
     "{\"role\":\"replica\",\"watchdog_failed\":true}",
     {.answered = true, .failover_priority = 1, .watchdog_failed = true}},
    {"one that has promised not to lead",
     "{\"role\":\"replica\",\"failsafe_mode_is_active\":true}",
     {.answered = true, .failover_priority = 1, .failsafe_active = true}},
    {"one that is being started",
     "{\"state\":\"starting\",\"role\":\"replica\"}",
     {.answered = true, .is_starting = true, .failover_priority = 1}},
    {"one that is being started, and knows its position already",
     "{\"state\":\"starting\",\"role\":\"replica\",\"xlog\":{\"replayed_location\":7}}",
     {.answered = true, .lsn = 7, .failover_priority = 1}},
    {"one with an empty data directory",
     "{\"state\":\"stopped\",\"role\":\"uninitialized\"}",
     {.answered = true, .has_nothing = true, .failover_priority = 1}},
    {"one with an unfinished copy",
     "{\"state\":\"stopped\",\"role\":\"replica\",\"has_nothing\":true}",
     {.answered = true, .has_nothing = true, .failover_priority = 1}},
    {"one that says so and has a position",
     "{\"role\":\"replica\",\"has_nothing\":true,\"xlog\":{\"replayed_location\":7}}",
     {.answered = true, .lsn = 7, .failover_priority = 1}},
    {"one that has seen a leader",
     "{\"role\":\"replica\",\"leader_seen\":true}",
     {.answered = true, .leader_seen = true, .failover_priority = 1}},
    {"nothing running", "{\"state\":\"stopped\",\"role\":\"replica\"}", {.answered = true, .failover_priority = 1}},
    {"a position below zero, or no number",
     "{\"role\":\"replica\",\"xlog\":{\"received_location\":-1,\"replayed_location\":\"8\"}}",
     {.answered = true, .failover_priority = 1}},
    {"no role", "{\"state\":\"running\"}", {.failover_priority = 1}},
    {"no object", "[1]", {.failover_priority = 1}},
    {"no JSON", "<html>", {.failover_priority = 1}},
    {"cut off", "{\"role\":\"replica\"", {.failover_priority = 1}},
    {"nothing", "", {.failover_priority = 1}},
};

static void test_peer_is_read_as_the_table_says(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct peer got = {.failover_priority = 1};
        const struct peer *want = &rows[i].want;

        peer_read(&got, rows[i].body, strlen(rows[i].body), ASKED_AT_US);
        if (got.answered != want->answered || got.is_primary != want->is_primary || got.lsn != want->lsn ||
            got.is_starting != want->is_starting || got.timeline != want->timeline ||
            got.nofailover != want->nofailover || got.failover_priority != want->failover_priority ||
            got.has_nothing != want->has_nothing || got.leader_seen != want->leader_seen ||
            got.watchdog_failed != want->watchdog_failed)
            fail_msg("%s: read wrongly", rows[i].name);
    }
}

/* An election counts what a peer surely had at some time. */
static void test_peer_has_its_position_as_of_the_question_less_its_age(void **state)
{
    static const struct {
        const char *body;
        uint64_t want_us;
    } ages[] = {
        {"{\"role\":\"replica\"}", ASKED_AT_US},
        {"{\"role\":\"replica\",\"position_age_ms\":1}", ASKED_AT_US - 1000},
        {"{\"role\":\"replica\",\"position_age_ms\":null}", 0},
        {"{\"role\":\"replica\",\"position_age_ms\":\"1\"}", 0},
        {"{\"role\":\"replica\",\"position_age_ms\":99999999}", 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(ages); i++) {
        struct peer got = {0};

        peer_read(&got, ages[i].body, strlen(ages[i].body), ASKED_AT_US);
        if (got.as_of_us != ages[i].want_us)
            fail_msg("%s: as of %llu", ages[i].body, (unsigned long long)got.as_of_us);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_peer_is_read_as_the_table_says),
        cmocka_unit_test(test_peer_has_its_position_as_of_the_question_less_its_age),
    };

    return cmocka_run_group_tests_name("peers", tests, NULL, NULL);
}
