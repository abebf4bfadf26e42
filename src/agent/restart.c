/*
 * POST and DELETE /restart: the filters, the restart on schedule, and who is told how it ended. The order of the checks
 * and the sentences are the reference's (facts sheet 9.6). What is scheduled stands in the member key, from where an
 * agent that was started anew takes it up again; the reference forgets it.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "agent/parts.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/text.h"
#include "config/value.h"
#include "dcs/codec.h"

/* --- filters --------------------------------------------------------------------------------------------------------
 */

/* "15.4" as server_version_num; 0 and a sentence if it is none. */
static int read_version(const char *text, char *why, size_t size)
{
    unsigned parts[3];
    char rest;
    int n = sscanf(text, "%2u.%2u.%2u%c", &parts[0], &parts[1], &parts[2], &rest);

    if (n < 1 || strspn(text, "0123456789.") != strlen(text)) {
        (void)text_print(why, size, "Invalid PostgreSQL version: %s", text);
        return 0;
    }
    if (n < 2 || (n == 2 && parts[0] < 10) || n > 3) {
        (void)text_print(why, size, "Invalid PostgreSQL version format: X.Y or X.Y.Z is accepted: %s", text);
        return 0;
    }
    if (n == 2) {
        parts[2] = parts[1];
        parts[1] = 0;
    }
    return (int)(parts[0] * 10000 + parts[1] * 100 + parts[2]);
}

static int64_t read_timeout_s(const json_t *value)
{
    int64_t s = 0;

    if (json_is_number(value))
        return (int64_t)json_number_value(value);
    return json_is_string(value) && value_to_int(json_string_value(value), VALUE_SECONDS, &s) ? s : 0;
}

static unsigned check_filter(const char *key, const json_t *value, char *why, size_t size)
{
    const char *text = json_string_value(value);
    enum pg_role role = pg_role_from_text(text ? text : "");
    int64_t at_s;

    if (strcmp(key, "schedule") == 0)
        return schedule_read(text, "restart", &at_s, why, size);
    if (strcmp(key, "restart_pending") == 0)
        return 0;
    (void)text_copy(why, size, "");
    if (strcmp(key, "role") == 0) {
        if (role != PG_ROLE_PRIMARY && role != PG_ROLE_STANDBY_LEADER && role != PG_ROLE_REPLICA)
            (void)text_copy(why, size, "PostgreSQL role should be either primary, standby_leader, or replica");
    } else if (strcmp(key, "postgres_version") == 0) {
        (void)read_version(text ? text : "", why, size);
    } else if (strcmp(key, "timeout") == 0) {
        if (read_timeout_s(value) <= 0)
            (void)text_copy(why, size, "Timeout should be a positive number of seconds");
    } else {
        (void)text_print(why, size, "Unknown filter for the scheduled restart: %s", key);
    }
    return why[0] ? 400 : 0;
}

static bool conditions_are_met(struct agent *a, const json_t *filters)
{
    const char *role = json_string_value(json_object_get(filters, "role"));
    const char *version = json_string_value(json_object_get(filters, "postgres_version"));
    enum pg_state state;
    enum pg_role our_role;
    char why[128];

    publish_state(a, &state, &our_role);
    if (role && pg_role_from_text(role) != our_role)
        return false;
    if (json_object_get(filters, "restart_pending") && !pending_restart_reason(a))
        return false;
    /* Is it older than what is asked for? A minor version is installed, and takes effect with the restart. */
    return !version || (a->pg.valid && read_version(version, why, sizeof(why)) > a->pg.facts.server_version_num);
}

/* --- a restart that is wanted now -----------------------------------------------------------------------------------
 */

static void tell(struct agent *a, unsigned status, const char *text)
{
    struct command *c = a->requests.restart_command;

    a->requests.restart_command = NULL;
    if (c)
        command_answer_text(c, status, "%s", text);
}

static int on_patience_ends(sd_event_source *source, uint64_t planned_us, void *userdata)
{
    struct agent *a = userdata;

    (void)source;
    (void)planned_us;
    if (a->requests.of_node.restart)
        request_restarted(a, false); /* it never began: PostgreSQL does not answer, or something else comes first */
    else
        tell(a, 503, "postgres is still starting");
    return 0;
}

static void be_patient(struct agent *a, uint64_t more_us)
{
    uint64_t timeout_us = a->requests.restart_timeout_us;

    if (!timeout_us)
        timeout_us = a->dynamic->policy.primary_start_timeout_us;
    (void)loop_timer_at(a->loop, &a->requests.restart_timer, clock_now_us() + timeout_us + more_us, on_patience_ends,
                        a);
}

void request_begun(struct agent *a)
{
    if (!a->requests.of_node.restart)
        return;
    a->requests.of_node.restart = false;
    a->requests.restart_runs = true;
    loop_timer_off(a->requests.restart_timer); /* the stop has a budget of its own */
}

void request_starting(struct agent *a)
{
    request_begun(a);
    if (a->requests.restart_runs)
        be_patient(a, 0);
}

uint64_t request_restart_timeout_us(const struct agent *a)
{
    return a->requests.restart_runs ? a->requests.restart_timeout_us : 0;
}

void request_restarted(struct agent *a, bool is_up)
{
    if (!a->requests.restart_runs && !a->requests.of_node.restart)
        return;
    a->requests.of_node.restart = a->requests.restart_runs = false;
    a->requests.restart_timer = loop_source_free(a->requests.restart_timer);
    if (is_up)
        log_info("restarted PostgreSQL");
    tell(a, is_up ? 200 : 503, is_up ? "restarted successfully" : "restart failed");
}

/* What is over in a moment does not count; the request waits for it. */
static const char *what_is_in_the_way(const struct agent *a)
{
    if (a->requests.of_node.restart || a->requests.restart_runs)
        return "restart";
    if (a->op.kind == OP_NONE || a->op.kind == OP_ASK_PEERS || a->op.kind == OP_ACQUIRE || a->op.kind == OP_FOLLOW ||
        a->op.kind == OP_CHECK_REWIND)
        return NULL;
    return ha_op_text(a->op.kind);
}

static void restart_now(struct agent *a, const json_t *filters, struct command *command)
{
    int64_t timeout_s = read_timeout_s(json_object_get(filters, "timeout"));
    const char *busy = what_is_in_the_way(a);

    if (busy) {
        if (command)
            command_answer_text(command, 503, "%s already in progress", busy);
        return;
    }
    if (!conditions_are_met(a, filters)) {
        log_info("not restarting PostgreSQL: the conditions of the restart are not satisfied");
        if (command)
            command_answer_text(command, 503, "restart conditions are not satisfied");
        return;
    }
    a->requests.of_node.restart = true;
    a->requests.of_node.restart_since_us = clock_now_us();
    a->requests.restart_timeout_us = timeout_s > 0 ? (uint64_t)timeout_s * USEC_PER_SEC : 0;
    a->requests.restart_command = command;
    /* A synchronous standby may have to wait before it stops (ha_sync_must_leave()). */
    be_patient(a, sync_is_on(a) ? 2 * a->dynamic->policy.loop_wait_us : 0);
    agent_wake(a);
}

/* --- one on schedule ------------------------------------------------------------------------------------------------
 */

static bool is_scheduled(const struct agent *a)
{
    return a->requests.schedule_json != NULL;
}

static void forget_schedule(struct agent *a)
{
    freep(&a->requests.schedule_json);
    freep(&a->requests.schedule_status_json);
    a->requests.schedule_json = a->requests.schedule_status_json = NULL;
    agent_wake(a);
}

static bool keep_schedule(struct agent *a, json_t *filters)
{
    const char *text = json_string_value(json_object_get(filters, "schedule"));
    const char *started = json_string_value(json_object_get(filters, "postmaster_start_time"));

    if (!text || !codec_parse_time(text, &a->requests.schedule_at_s))
        return false;
    (void)text_copy(a->requests.schedule_postmaster, sizeof(a->requests.schedule_postmaster),
                    started ? started : a->pg.facts.postmaster_start_time);
    (void)json_object_del(filters, "postmaster_start_time");
    a->requests.schedule_status_json = json_dumps(filters, JSON_ENSURE_ASCII);
    (void)json_object_set_new(filters, "postmaster_start_time", json_string(a->requests.schedule_postmaster));
    a->requests.schedule_json = json_dumps(filters, JSON_COMPACT | JSON_ENSURE_ASCII);
    if (!a->requests.schedule_json || !a->requests.schedule_status_json) {
        forget_schedule(a);
        return false;
    }
    log_info("a restart of PostgreSQL is scheduled at %s", text);
    agent_wake(a);
    return true;
}

/* An agent that was started anew: what its predecessor had promised stands in the member key. */
void restart_take_up(struct agent *a)
{
    const struct member *m = cluster_member(a->cluster, a->config->name);
    json_auto_t *root = m && m->data ? json_loads(m->data, 0, NULL) : NULL;
    json_t *schedule = json_object_get(root, "scheduled_restart");

    if (json_is_object(schedule) && !is_scheduled(a))
        (void)keep_schedule(a, schedule);
}

static const char *why_not_now(const struct agent *a, int64_t late_us)
{
    if (strcmp(a->requests.schedule_postmaster, a->pg.facts.postmaster_start_time) != 0)
        return "PostgreSQL has been restarted since";
    return late_us > (int64_t)(a->dynamic->policy.loop_wait_us * 3 / 2) ? "its time has passed" : NULL;
}

void restart_look(struct agent *a)
{
    json_auto_t *filters = NULL;
    int64_t late_us;
    const char *why;

    if (!is_scheduled(a) || !a->pg.valid || a->op.kind != OP_NONE || a->dynamic->policy.pause)
        return;
    late_us = (int64_t)(agent_realtime_us() - a->requests.schedule_at_s * (int64_t)USEC_PER_SEC);
    why = why_not_now(a, late_us);
    if (!why && late_us < 0) {
        agent_wake_at(a, clock_now_us() + (uint64_t)-late_us);
        return;
    }
    filters = json_loads(a->requests.schedule_json, 0, NULL);
    forget_schedule(a);
    if (why)
        log_info("forgetting the scheduled restart: %s", why);
    else
        restart_now(a, filters, NULL);
}

/* --- requests -------------------------------------------------------------------------------------------------------
 */

static void schedule(struct agent *a, json_t *filters, struct command *command)
{
    if (is_scheduled(a))
        command_answer_text(command, 409, "Another restart is already scheduled");
    else if (keep_schedule(a, filters))
        command_answer_text(command, 202, "Restart scheduled");
    else
        command_answer_text(command, 500, "restart failed");
}

void restart_command(struct agent *a, struct command *command)
{
    json_auto_t *body = command->body ? json_loads(command->body, 0, NULL) : json_object();
    bool is_for_later = json_object_get(body, "schedule") != NULL;
    const char *key;
    json_t *value;
    char why[160] = "";

    if (is_for_later && a->dynamic->policy.pause) {
        command_answer_text(command, 500, "Can't schedule restart in the paused state");
        return;
    }
    json_object_foreach(body, key, value)
    {
        unsigned status = check_filter(key, value, why, sizeof(why));

        if (status) {
            command_answer_text(command, status, "%s", why);
            return;
        }
    }
    if (is_for_later)
        schedule(a, body, command);
    else
        restart_now(a, body, command);
}

void restart_cancel_command(struct agent *a, struct command *command)
{
    if (!is_scheduled(a)) {
        command_answer_text(command, 404, "no restarts are scheduled");
        return;
    }
    forget_schedule(a);
    command_answer_text(command, 200, "scheduled restart deleted");
}

void restart_done(struct agent *a)
{
    freep(&a->requests.schedule_json);
    freep(&a->requests.schedule_status_json);
    a->requests.restart_timer = loop_source_free(a->requests.restart_timer);
}
