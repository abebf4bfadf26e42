/*
 * The configuration files of the data directory, in the reference's layout (facts sheet, section 7): postgresql.conf is
 * generated and includes postgresql.base.conf, pg_hba.conf from lists, standby.signal, primary_conninfo, the passfile.
 */
#pragma once
#include <stdbool.h>
#include "base/core.h"
#include "config/config.h"
#include "io/child.h"
#include "model/cluster.h"

struct pg_upstream {    /* whom to follow; NULL where a pointer to it is passed = nobody */
    const char *member; /* name, for messages */
    const char *host;
    uint16_t port;
};

struct guc_catalog;
struct textbuf;

struct pg_files_spec {
    const struct config *config;
    const struct dynamic *dynamic;
    int server_major;                      /* e.g. 15 */
    bool standby;                          /* write standby.signal (and remove it otherwise) */
    bool after_crash;                      /* a primary that is only started again: raises nothing (pending.h) */
    const struct pg_upstream *upstream;    /* primary_conninfo; NULL = none */
    bool follows_remote;                   /* as the leader of a standby cluster: `upstream` is the other cluster */
    const struct local_pg *control;        /* NULL or what its WAL was written with */
    const char *synchronous_standby_names; /* NULL = not set */
    const struct guc_catalog *catalog;     /* guc.h; NULL = the parameters are not judged */
    const struct settings *refused;        /* values that the server did not take when it was told to; NULL = none */
    struct textbuf *notes;                 /* one line for each parameter that is left out or changed; may be NULL */
    bool hot_standby_feedback;             /* must be on, whatever the configuration says */
};

/*
 * Writes all files durably, only those whose content changes. *ret_changed (may be NULL): something that a reload would
 * apply has changed. Returns 0 or -errno.
 */
int pg_files_write(const struct pg_files_spec *spec, bool *ret_changed, struct err *err);

/*
 * The protected parameters as "--name=value" arguments in the reference's order, then NULL. *ret is a NULL-terminated
 * array the caller frees with pg_files_free_args().
 */
int pg_files_command_line(const struct pg_files_spec *spec, char ***ret, struct err *err);
char **pg_files_free_args(char **args);
DEFINE_CLEANUP(char *, pg_files_free_args)

/* primary_conninfo for an upstream; keyword order and escaping as the reference. */
int pg_files_conninfo(const struct config *config, const struct pg_upstream *upstream, char *buf, size_t size,
                      struct err *err);
/* The passfile with the replication (and rewind/superuser) credentials for an upstream, mode 0600; path from the
 * config. */
int pg_files_passfile(const struct config *config, const struct pg_upstream *upstream, struct err *err);

/*
 * Reads pg_wal/%08X.history of the data directory into history lines (timeline, switch LSN, reason; the newest also
 * with the file's time). Timeline 1 has none: 0 lines. -ENOENT if there is no such file. Caller frees *ret.
 */
int pg_files_read_history(const struct config *config, uint32_t timeline, struct history_line **ret, size_t *ret_n,
                          struct err *err);

/* The same from the text of such a file, which is written to; path for messages. Lines ascend by timeline, or -EBADMSG.
 */
int pg_history_parse(char *text, const char *path, struct history_line **ret, size_t *ret_n, struct err *err);

/*
 * Sets the data directory aside: rename to "<data_dir>.<reason>.<timestamp>" (S8), never deletes. Tablespaces and a WAL
 * directory elsewhere are renamed as well, with their links. Returns 0 and the new name, or -errno (-ENOSPC when the
 * file system has too little room left for another copy; in doubt every file is looked at). After an error in the
 * middle the links are right: calling again goes on.
 */
int pg_files_set_aside(const struct config *config, const char *reason, char *new_path, size_t size, struct err *err);
/* The same for what is to be removed next: room for another copy is not asked for. */
int pg_files_put_away(const struct config *config, const char *reason, char *new_path, size_t size, struct err *err);

/*
 * Removes what was set aside as `aside`, with the WAL directory and the tablespaces that were renamed with it, in a
 * child ("rm -rf"). Only because an operator said so (S8).
 */
int pg_files_remove(sd_event *loop, const char *aside, child_done_fn done, void *userdata, struct child **ret,
                    struct err *err);
