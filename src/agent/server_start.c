/* Writing PostgreSQL's files and starting it, as every operation needs it. */
#include <errno.h>
#include <string.h>
#include "agent/parts.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"

static bool is_remote(const char *member)
{
    return strcmp(member, REMOTE_CLUSTER) == 0;
}

static bool fill_remote(const struct agent *a, struct pg_upstream *ret)
{
    const struct standby_cluster *s = &a->dynamic->standby_cluster;

    if (!a->dynamic->policy.standby_cluster_streams)
        return false;
    *ret = (struct pg_upstream){.member = "the cluster that is followed", .host = s->host, .port = s->port};
    return true;
}

bool fill_upstream(const struct agent *a, const char *member, struct pg_upstream *ret)
{
    const struct member *m = a->cluster && member[0] ? cluster_member(a->cluster, member) : NULL;

    if (is_remote(member))
        return fill_remote(a, ret);
    if (!m || !m->host[0])
        return false;
    *ret = (struct pg_upstream){.member = m->name, .host = m->host, .port = m->port};
    return true;
}

/* What was known of it while it ran is better than nothing: a standby with less does not start. */
static const struct local_pg *control_of(const struct agent *a)
{
    if (a->control.control_known)
        return &a->control;
    return a->parameters.control.control_known && !pg_server_pid(a->server) ? &a->parameters.control : NULL;
}

/* A crash is no decision to raise what others must have first; a restart that was asked for is. */
static bool is_crash_restart(const struct agent *a, bool standby)
{
    return !standby && a->op.kind == OP_START_PRIMARY && !a->memory.stopped_here;
}

struct pg_files_spec files_spec(const struct agent *a, bool standby, const struct pg_upstream *upstream)
{
    return (struct pg_files_spec){
        .config = a->config,
        .dynamic = a->dynamic,
        .server_major = a->server_major,
        .standby = standby,
        .upstream = upstream,
        .control = control_of(a),
        .catalog = a->parameters.catalog,
        .after_crash = is_crash_restart(a, standby),
        .refused = &a->parameters.refused,
        .synchronous_standby_names = sync_names_for_files(a),
        .hot_standby_feedback = slots_need_feedback(a),
    };
}

int write_files(struct agent *a, bool standby, const char *upstream_member, bool *ret_changed, struct err *err)
{
    struct pg_upstream upstream;
    bool has_upstream = standby && fill_upstream(a, upstream_member, &upstream);
    struct pg_files_spec spec = files_spec(a, standby, has_upstream ? &upstream : NULL);
    struct textbuf notes = {0};
    int r;

    /* Also where it has nothing but an archive to follow. */
    spec.follows_remote = standby && a->dynamic->policy.standby_cluster && is_remote(upstream_member);
    spec.notes = &notes;
    if (has_upstream) {
        r = pg_files_passfile(a->config, &upstream, err);
        if (r < 0)
            return r;
    }
    r = pg_files_write(&spec, ret_changed, err);
    parameters_note(a, textbuf_take(&notes));
    if (r < 0)
        return r;
    (void)text_copy(a->follows, sizeof(a->follows), has_upstream || spec.follows_remote ? upstream_member : "");
    return 0;
}

int start_server(struct agent *a, bool standby, const char *upstream_member, struct err *err)
{
    struct pg_files_spec spec;
    char **args = NULL;
    int r;

    parameters_load_catalog(a);
    if (standby)
        timeline_before_standby(a);
    spec = files_spec(a, standby, NULL);
    r = write_files(a, standby, upstream_member, NULL, err);
    if (r < 0)
        return r;
    r = pg_files_command_line(&spec, &args, err);
    if (r < 0)
        return r;
    r = pg_server_start(a->server, (const char *const *)args, err);
    args = pg_files_free_args(args);
    if (r < 0)
        return r;
    a->was_standby_started = standby;
    a->pg_started_at_us = clock_now_us();
    gather_forget_pg(a);
    tether_tell_postmaster(a);
    impostor_watch(a);
    return 0;
}
