#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdlib.h>
#include <strings.h>
#include "base/clock.h"
#include "ctl/ctl.h"
#include "dcs/dcs.h"

enum { STORE_PATIENCE_MAX_S = 10 };

void ctl_done(struct ctl *ctl)
{
    ctl->config = config_free(ctl->config);
    ctl->loop = sd_event_unref(ctl->loop);
}

__attribute__((format(printf, 1, 0))) static void say(const char *fmt, va_list ap)
{
    (void)fflush(stdout);
    (void)fputs("pgtetherctl: error: ", stderr);
    (void)vfprintf(stderr, fmt, ap);
    (void)fputs("\n", stderr);
}

int ctl_fail(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    say(fmt, ap);
    va_end(ap);
    return EXIT_FAILED;
}

int ctl_usage(const char *command, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    say(fmt, ap);
    va_end(ap);
    (void)fprintf(stderr, "HINT:  \"pgtetherctl %s%s--help\" tells how it is used.\n", command ? command : "",
                  command ? " " : "");
    return EXIT_USAGE;
}

int ctl_print(struct textbuf *out)
{
    bool failed = out->failed;

    if (!failed)
        (void)fwrite(out->data, 1, out->len, stdout);
    textbuf_done(out);
    if (failed)
        return ctl_fail("out of memory");
    return fflush(stdout) == 0 ? EXIT_DONE : ctl_fail("could not write the output");
}

/* --- configuration ------------------------------------------------------------------------------------------------ */

static int is_conf(const struct dirent *entry)
{
    size_t len = strlen(entry->d_name), suffix = strlen(".conf");

    return entry->d_name[0] != '.' && len > suffix && strcmp(entry->d_name + len - suffix, ".conf") == 0;
}

int ctl_find_config(const char *directory, char **ret, struct err *err)
{
    struct dirent **entries = NULL;
    int n = scandir(directory, &entries, is_conf, alphasort);
    int r = 0;

    if (n < 0 && errno != ENOENT)
        return err_sys(err, -errno, "could not look for a configuration in \"%s\"", directory);
    if (n <= 0)
        r = err_set(err, -ENOENT, "no configuration in \"%s\"; name one with -c FILE", directory);
    else if (n > 1)
        r = err_set(err, -ENOTUNIQ, "several configurations in \"%s\" (\"%s\", \"%s\"%s); choose one with -c FILE",
                    directory, entries[0]->d_name, entries[1]->d_name, n > 2 ? ", …" : "");
    else if (asprintf(ret, "%s/%s", directory, entries[0]->d_name) < 0)
        r = err_set(err, -ENOMEM, "out of memory");
    for (int i = 0; i < n; i++)
        free(entries[i]);
    free(entries);
    return r;
}

static int load(struct ctl *ctl, const char *path)
{
    struct config_problems problems = {0};
    struct err err = {0};
    int r = config_load(path, &ctl->config, &problems, &err);

    if (r < 0 && problems.has_errors) {
        char *text = config_problems_text(&problems);

        /* The text has a line feed after each problem. */
        (void)ctl_fail("cannot use the configuration \"%s\"", path);
        (void)fputs(text ? text : "out of memory\n", stderr);
        free(text);
    } else if (r < 0) {
        (void)ctl_fail("%s", err.msg);
    }
    config_problems_done(&problems);
    return r;
}

int ctl_open_config(struct ctl *ctl)
{
    const char *path = ctl->config_path ? ctl->config_path : getenv("PGTETHERCTL_CONFIG_FILE");
    CLEANUP(freep) char *found = NULL;
    struct err err = {0};
    int r;

    if (ctl->config)
        return 0;
    if (!path || !*path) {
        r = ctl_find_config(PKGSYSCONFDIR, &found, &err);
        if (r < 0) {
            (void)ctl_fail("%s", err.msg);
            return r;
        }
        path = found;
    }
    r = load(ctl, path);
    if (r < 0)
        return r;
    r = sd_event_new(&ctl->loop);
    if (r < 0)
        (void)ctl_fail("could not create an event loop: %s", strerror(-r));
    return r;
}

/* --- the store ---------------------------------------------------------------------------------------------------- */

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

static void read_settings(struct ctl_view *v)
{
    json_t *settings = v->cluster->config.exists ? json_loads(v->cluster->config.text, 0, NULL) : NULL;
    const json_t *mode = json_object_get(settings, "synchronous_mode");

    if (json_is_string(mode) && strcasecmp(json_string_value(mode), "quorum") == 0)
        v->sync_mode = SYNC_MODE_QUORUM;
    else
        v->sync_mode = is_on(mode) ? SYNC_MODE_PRIORITY : SYNC_MODE_OFF;
    v->paused = is_on(json_object_get(settings, "pause"));
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

int ctl_read_cluster(struct ctl *ctl, const char *scope, struct ctl_view *ret, struct err *err)
{
    struct dcs_config config = ctl->config->dcs;
    CLEANUP(freep) char *scope_copy = strdup(scope);
    CLEANUP(dcs_freep) struct dcs *dcs = NULL;
    CLEANUP(cluster_freep) struct cluster *cluster = NULL;
    char endpoints[160];
    struct err why = {0};
    int r;

    if (!scope_copy)
        return err_set(err, -ENOMEM, "out of memory");
    config.scope = scope_copy;
    r = dcs_open(ctl->loop, &config, &dcs, err);
    if (r < 0)
        return r;
    r = dcs_get_cluster_sync(dcs, ctl->loop, patience_us(ctl), &cluster, &why);
    if (r < 0) {
        name_endpoints(&config, endpoints, sizeof(endpoints));
        return err_set(err, r, "could not read cluster \"%s\" from the store (%s): %s", scope, endpoints, why.msg);
    }
    ret->cluster = STEAL(cluster);
    read_settings(ret);
    return 0;
}
