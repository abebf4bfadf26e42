/*
 * Between the model and the keys and JSON texts in the store. Byte-compatible with Patroni 4.1 (compact separators,
 * ASCII escapes, field order); reading accepts all older forms. Shared by all kinds of store. What comes from the store
 * is foreign input: anything broken reads as absent or unknown, never as a crash.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/core.h"
#include "model/cluster.h"

/* More members than this in one cluster are ignored. */
enum { CODEC_MEMBERS_MAX = 256 };

/* "/service/demo/" from namespace and scope: joined with "/", runs of "/" collapsed, with a trailing slash. */
int codec_base_path(const char *namespace_, const char *scope, char *buf, size_t size, struct err *err);

/*
 * Puts one key of the subtree into the cluster. `key` is relative to the base path. Unknown keys are ignored.
 * Returns 0, or -ENOMEM.
 */
int codec_load_key(struct cluster *c, const char *key, const char *value, size_t value_len, uint64_t revision,
                   uint64_t session, struct err *err);
/* To be called after the last codec_load_key(): sorts members and resolves status fallbacks. */
void codec_load_finish(struct cluster *c);

/*
 * Parses the JSON of one member key into *ret. Legacy "postgres://…?application_name=" is read too; what is broken
 * gives a member of unknown state. Returns 0, -ENAMETOOLONG (of the name) or -ENOMEM.
 */
int codec_parse_member(const char *name, const char *value, struct member *ret);

/*
 * {"node0":"http://10.0.0.1:8008/patroni",…}: gives a list of its members to the caller, replacing *ret. What is no
 * text, or no URL, stays in the list with an empty URL: it counts, but cannot be asked. 0, -EBADMSG or -ENOMEM.
 */
int codec_parse_failsafe(const char *text, struct failsafe_list **ret);

/* What a node publishes about itself; a field that is "not known" (0, NULL) is left out, as the reference does. */
struct member_report {
    const char *conn_url, *api_url;
    enum pg_state state;
    enum pg_role role;
    const char *version;
    bool checkpoint_pending;
    const char *tags_json; /* compact JSON object, NULL or "{}" = none */
    bool pending_restart;
    const char *pending_restart_reason_json;
    bool positions_known; /* condition A of the facts sheet */
    bool is_primary;      /* then only xlog_lsn and timeline are published */
    uint64_t xlog_lsn, replay_lsn, receive_lsn;
    const char *replication_state; /* "streaming", "in archive recovery" or NULL */
    uint32_t timeline;
    bool pause;
    const char *scheduled_restart_json;
    int64_t fence_at_s; /* a key of pgtether's own, which the reference ignores; 0 = none */
    const char *fence_note;
    const char *note; /* another one: what an operator should see to; NULL, "" = nothing */
    const char *node; /* another one: which node and which life of it this is; NULL, "" = not said */
};
/* Each returns a string the caller frees, or NULL when memory ran out. */
char *codec_print_member(const struct member_report *r);
char *codec_print_status(uint64_t optime_lsn, const char *const *slot_names, const uint64_t *slot_lsns, size_t n_slots,
                         const char *const *retain, size_t n_retain);
/*
 * The last word of a leader that was shut down: /status as it was, `previous` (may be NULL), with the position of
 * its last record, the shutdown checkpoint, as optime, and once more in a field of our own, by which a successor knows
 * that there is nothing after it; with the lease under which it had led and its timeline, so that it is not taken for
 * the word of a later leader.
 */
char *codec_print_shutdown_status(const char *previous, uint64_t lsn, uint32_t timeline, uint64_t session);
char *codec_print_history(const struct history_line *lines, size_t n);
char *codec_print_sync(const char *leader, unsigned quorum, const char *standbys);
char *codec_print_failsafe(const struct failsafe_list *l);
char *codec_print_failover(const char *leader, const char *candidate, const char *scheduled_at);

/*
 * ISO 8601 with a zone ("2026-08-01T12:00:00+00:00", fractions ignored) to Unix time. Without a zone the instant is
 * unknown, and false is the answer as on any other malformed text.
 */
bool codec_parse_time(const char *text, int64_t *ret_s);
