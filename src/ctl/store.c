/* pgtetherctl and the store: reading a cluster, and the few things it writes there itself. */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <strings.h>
#include "base/clock.h"
#include "ctl/ctl.h"
#include "dcs/dcs.h"

enum { STORE_PATIENCE_MAX_S = 10 };

void ctl_view_done(struct ctl_view *v)
{
    v->cluster = cluster_free(v->cluster);
}

/* How long to wait for the store: what the file says for a new cluster, within reason. */
static uint64_t patience_us(const struct ctl *ctl)
{
    const uint64_t most_us = STORE_PATIENCE_MAX_S * USEC_PER_SEC;
    struct config_problems problems = {0};
    struct dynamic *dynamic = NULL;
    uint64_t us = most_us;

    if (dynamic_parse(ctl->config->bootstrap.dcs_json, ctl->config, &dynamic, &problems, NULL) >= 0)
        us = dynamic->policy.retry_timeout_us;
    dynamic_free(dynamic);
    config_problems_done(&problems);
    return us < most_us ? us : most_us;
}

/* JSON true, 1 and the words that the reference takes for true. */
static bool is_on(const json_t *value)
{
    static const char *const words[] = {"true", "on", "yes", "1"};
    const char *s = json_string_value(value);

    for (size_t i = 0; s && i < ARRAY_LEN(words); i++)
        if (strcasecmp(s, words[i]) == 0)
            return true;
    return json_is_true(value) || json_integer_value(value) == 1;
}

static json_int_t count_of(const json_t *settings, const char *name, json_int_t preset, json_int_t most)
{
    const json_t *value = json_object_get(settings, name);
    json_int_t n = json_integer_value(value);

    return json_is_integer(value) && n > 0 && n <= most ? n : preset;
}

static void read_settings(struct ctl_view *v)
{
    json_t *settings = v->cluster->config.exists ? json_loads(v->cluster->config.text, 0, NULL) : NULL;
    const json_t *mode = json_object_get(settings, "synchronous_mode");

    if (json_is_string(mode) && strcasecmp(json_string_value(mode), "quorum") == 0)
        v->sync_mode = SYNC_MODE_QUORUM;
    else
        v->sync_mode = is_on(mode) ? SYNC_MODE_PRIORITY : SYNC_MODE_OFF;
    v->paused = is_on(json_object_get(settings, "pause"));
    v->standby_cluster = json_object_size(json_object_get(settings, "standby_cluster")) > 0;
    v->loop_wait_s = (unsigned)count_of(settings, "loop_wait", 10, 3600);
    v->maximum_lag_bytes = (uint64_t)count_of(settings, "maximum_lag_on_failover", 1 << 20, INT64_MAX);
    json_decref(settings);
}

/* "http://10.0.0.1:2379, http://10.0.0.2:2379" */
static void name_endpoints(const struct dcs_config *dcs, char *buf, size_t size)
{
    struct textbuf all = {0};

    for (size_t i = 0; i < dcs->hosts.n; i++)
        textbuf_printf(&all, "%s%s", i ? ", " : "", dcs->hosts.items[i]);
    if (dcs->srv)
        textbuf_printf(&all, "%sthe SRV records of %s", all.len ? ", " : "", dcs->srv);
    (void)text_copy(buf, size, all.data ? all.data : "no endpoint");
    textbuf_done(&all);
}

/* The store of another cluster than that of the configuration, maybe. */
static int open_store(struct ctl *ctl, const char *scope, struct dcs **ret, struct err *err)
{
    struct dcs_config config = ctl->config->dcs;
    CLEANUP(freep) char *scope_copy = strdup(scope);

    if (!scope_copy)
        return err_set(err, -ENOMEM, "out of memory");
    config.scope = scope_copy;
    return dcs_open(ctl->loop, &config, ret, err);
}

int ctl_read_cluster(struct ctl *ctl, const char *scope, struct ctl_view *ret, struct err *err)
{
    CLEANUP(dcs_freep) struct dcs *dcs = NULL;
    CLEANUP(cluster_freep) struct cluster *cluster = NULL;
    char endpoints[160];
    struct err why = {0};
    int r;

    r = open_store(ctl, scope, &dcs, err);
    if (r < 0)
        return r;
    r = dcs_get_cluster_sync(dcs, ctl->loop, patience_us(ctl), &cluster, &why);
    if (r < 0) {
        name_endpoints(&ctl->config->dcs, endpoints, sizeof(endpoints));
        return err_set(err, r, "could not read cluster \"%s\" from the store (%s): %s", scope, endpoints, why.msg);
    }
    ret->cluster = STEAL(cluster);
    read_settings(ret);
    return 0;
}

static enum ctl_written written(enum dcs_outcome outcome)
{
    switch (outcome) {
    case DCS_DONE:
        return CTL_WRITTEN;
    case DCS_REFUSED:
        return CTL_REFUSED;
    case DCS_UNKNOWN:
        return CTL_UNKNOWN;
    }
    return CTL_UNKNOWN;
}

enum ctl_written ctl_write_key(struct ctl *ctl, const char *scope, const char *key, const char *value,
                               uint64_t revision, struct err *err)
{
    struct dcs_put put = {key, value, revision ? DCS_REVISION : DCS_ABSENT, revision};
    CLEANUP(dcs_freep) struct dcs *dcs = NULL;

    if (open_store(ctl, scope, &dcs, err) < 0)
        return CTL_REFUSED;
    return written(dcs_put_sync(dcs, ctl->loop, &put, patience_us(ctl), err));
}

enum ctl_written ctl_remove_cluster(struct ctl *ctl, const char *scope, struct err *err)
{
    CLEANUP(dcs_freep) struct dcs *dcs = NULL;

    if (open_store(ctl, scope, &dcs, err) < 0)
        return CTL_REFUSED;
    return written(dcs_delete_cluster_sync(dcs, ctl->loop, patience_us(ctl), err));
}

static int read_it(struct ctl *ctl, const char *name, struct ctl_view *view, const char **scope)
{
    struct err err = {0};

    if (ctl_open_config(ctl) < 0)
        return EXIT_FAILED;
    *scope = name ? name : ctl->config->scope;
    return ctl_read_cluster(ctl, *scope, view, &err) < 0 ? ctl_fail("%s", err.msg) : -1;
}

int ctl_read_named(struct ctl *ctl, int argc, char **argv, struct ctl_view *view, const char **scope)
{
    if (argc - optind > 1)
        return ctl_usage(argv[0], "unexpected argument \"%s\"", argv[optind + 1]);
    return read_it(ctl, argv[optind], view, scope);
}

int ctl_read_with_members(struct ctl *ctl, int argc, char **argv, struct ctl_view *view, const char **scope,
                          char ***names)
{
    if (argc == optind)
        return ctl_usage(argv[0], "the name of the cluster is missing");
    *names = argv + optind + 1;
    return read_it(ctl, argv[optind], view, scope);
}
