#include "pg/files.h"
#include <errno.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/text.h"
#include "io/file.h"
#include "pg/conf.h"
#include "pg/params.h"

enum { CONF_FILE_MAX = 4 * 1024 * 1024, CONNINFO_MAX = 2048 };

static const char *config_dir(const struct config *c)
{
    return c->postgresql.config_dir ? c->postgresql.config_dir : c->postgresql.data_dir;
}

static const char *base_name(const struct config *c)
{
    return c->postgresql.config_base_name ? c->postgresql.config_base_name : "postgresql";
}

static int print_path(char *buf, size_t size, struct err *err, const char *dir, const char *name, const char *suffix)
{
    if (!text_print(buf, size, "%s/%s%s", dir, name, suffix))
        return err_set(err, -ENAMETOOLONG, "path \"%s/%s%s\" is too long", dir, name, suffix);
    return 0;
}

/* As PostgreSQL itself: readable by the group exactly if the data directory is. Elsewhere a file keeps its mode. */
static mode_t file_mode(const struct config *c, const char *path)
{
    const char *data_dir = c->postgresql.data_dir;
    size_t len = strlen(data_dir);
    struct stat st;

    if (strncmp(path, data_dir, len) == 0 && path[len] == '/')
        return stat(data_dir, &st) == 0 && (st.st_mode & S_IRGRP) ? 0640 : 0600;
    return stat(path, &st) == 0 ? st.st_mode & 0777 : 0640;
}

/* Writes only what differs, so that an unchanged configuration costs no fsync and no reload. */
static int write_if_different(const struct config *c, const char *path, const char *text, bool *changed,
                              struct err *err)
{
    CLEANUP(freep) char *old = NULL;
    int r;

    r = file_read(path, CONF_FILE_MAX, &old, NULL, NULL);
    if (r == 0 && strcmp(old, text) == 0)
        return 0;
    r = file_write_atomic(path, text, strlen(text), file_mode(c, path), err);
    if (r < 0)
        return r;
    *changed = true;
    return 0;
}

/*
 * The original postgresql.conf becomes the base file once. It is copied rather than renamed: at no instant is there a
 * directory without a postgresql.conf. A generated file is no original; including itself it would never load.
 */
static int keep_base(const struct config *c, const char *conf_path, struct err *err)
{
    CLEANUP(freep) char *text = NULL;
    char base_path[PATH_MAX];
    int r;

    if (c->postgresql.custom_conf)
        return 0;
    r = print_path(base_path, sizeof(base_path), err, config_dir(c), base_name(c), ".base.conf");
    if (r < 0)
        return r;
    if (access(base_path, F_OK) == 0)
        return 0;
    r = file_read(conf_path, CONF_FILE_MAX, &text, NULL, err);
    if (r < 0 && r != -ENOENT)
        return r;
    if (r == -ENOENT || conf_is_generated(text)) {
        free(text);
        text = strdup("");
        if (!text)
            return err_set(err, -ENOMEM, "out of memory");
    }
    return file_write_atomic(base_path, text, strlen(text), file_mode(c, base_path), err);
}

static int write_conf(const struct pg_files_spec *spec, const struct params *server, const struct params *recovery,
                      bool *changed, struct err *err)
{
    CLEANUP(freep) char *text = NULL;
    char path[PATH_MAX], conninfo[CONNINFO_MAX];
    int r;

    r = print_path(path, sizeof(path), err, config_dir(spec->config), base_name(spec->config), ".conf");
    if (r < 0)
        return r;
    if (spec->upstream) {
        r = pg_files_conninfo(spec->config, spec->upstream, conninfo, sizeof(conninfo), err);
        if (r == 0)
            r = pg_files_passfile(spec->config, spec->upstream, err);
        if (r < 0)
            return r;
    }
    r = keep_base(spec->config, path, err);
    if (r < 0)
        return r;
    r = conf_text(spec, server, recovery, spec->upstream ? conninfo : NULL, &text, err);
    if (r < 0)
        return r;
    return write_if_different(spec->config, path, text, changed, err);
}

/*
 * pg_hba.conf or pg_ident.conf, if there is a list for it and it is where we write it: a hba_file elsewhere is the
 * operator's own.
 */
static int write_list(const struct pg_files_spec *spec, const struct params *server, const char *name,
                      const char *param, const struct string_list *local, const struct string_list *dynamic,
                      bool *changed, struct err *err)
{
    const struct string_list *lines = local->n ? local : dynamic;
    CLEANUP(freep) char *text = NULL;
    char path[PATH_MAX];
    int r;

    r = print_path(path, sizeof(path), err, config_dir(spec->config), name, "");
    if (r < 0)
        return r;
    if (!lines->n || !text_equal(params_get(server, param), path))
        return 0;
    r = conf_lines_text(lines, &text, err);
    if (r < 0)
        return r;
    return write_if_different(spec->config, path, text, changed, err);
}

/* ALTER SYSTEM could have set recovery parameters, which would win over ours. */
static int clean_auto_conf(const struct config *c, bool *changed, struct err *err)
{
    CLEANUP(freep) char *old = NULL;
    CLEANUP(freep) char *text = NULL;
    char path[PATH_MAX];
    int r;

    r = print_path(path, sizeof(path), err, c->postgresql.data_dir, "postgresql.auto.conf", "");
    if (r < 0)
        return r;
    r = file_read(path, CONF_FILE_MAX, &old, NULL, err);
    if (r == -ENOENT)
        return 0;
    if (r < 0)
        return r;
    r = conf_auto_without_recovery(old, &text, err);
    if (r < 0)
        return r;
    return write_if_different(c, path, text, changed, err);
}

/* Says how the server starts next: following, or on its own. */
static int write_signal_files(const struct pg_files_spec *spec, struct err *err)
{
    const char *data_dir = spec->config->postgresql.data_dir;
    char standby[PATH_MAX], recovery[PATH_MAX];
    int r;

    r = print_path(standby, sizeof(standby), err, data_dir, "standby.signal", "");
    if (r == 0)
        r = print_path(recovery, sizeof(recovery), err, data_dir, "recovery.signal", "");
    if (r < 0)
        return r;
    if (!spec->standby)
        return file_remove(standby, err);
    if (access(standby, F_OK) != 0) {
        r = file_write_atomic(standby, "", 0, file_mode(spec->config, standby), err);
        if (r < 0)
            return r;
    }
    return file_remove(recovery, err);
}

int pg_files_write(const struct pg_files_spec *spec, bool *ret_changed, struct err *err)
{
    const struct config *c = spec->config;
    CLEANUP(params_done) struct params server = {0};
    CLEANUP(params_done) struct params recovery = {0};
    bool changed = false;
    int r;

    r = params_merge(spec, &server, &recovery, err);
    if (r < 0)
        return r;
    r = write_conf(spec, &server, &recovery, &changed, err);
    if (r == 0)
        r = write_list(spec, &server, "pg_hba.conf", "hba_file", &c->postgresql.pg_hba, &spec->dynamic->pg_hba,
                       &changed, err);
    if (r == 0)
        r = write_list(spec, &server, "pg_ident.conf", "ident_file", &c->postgresql.pg_ident, &spec->dynamic->pg_ident,
                       &changed, err);
    if (r == 0)
        r = clean_auto_conf(c, &changed, err);
    if (r == 0)
        r = write_signal_files(spec, err);
    if (r < 0)
        return r;
    if (ret_changed)
        *ret_changed = changed;
    return 0;
}

int pg_files_command_line(const struct pg_files_spec *spec, char ***ret, struct err *err)
{
    CLEANUP(params_done) struct params server = {0};
    CLEANUP(params_done) struct params recovery = {0};
    CLEANUP(pg_files_free_argsp) char **args = NULL;
    size_t n = 0;
    int r;

    r = params_merge(spec, &server, &recovery, err);
    if (r < 0)
        return r;
    while (params_protected_name(n))
        n++;
    args = calloc(n + 1, sizeof(*args));
    if (!args)
        return err_set(err, -ENOMEM, "out of memory");
    for (size_t i = 0; i < n; i++) {
        const char *name = params_protected_name(i);

        if (asprintf(&args[i], "--%s=%s", name, params_get(&server, name)) < 0) {
            args[i] = NULL;
            return err_set(err, -ENOMEM, "out of memory");
        }
    }
    *ret = STEAL(args);
    return 0;
}

char **pg_files_free_args(char **args)
{
    for (char **a = args; a && *a; a++)
        free(*a);
    free(args);
    return NULL;
}
