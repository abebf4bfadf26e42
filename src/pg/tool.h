/*
 * The programs of PostgreSQL as child processes: where they are, what surroundings they get, which connection string
 * they are given, what their failure says. Passwords travel in the passfile, never on a command line.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/core.h"
#include "config/config.h"
#include "io/child.h"

/* Arguments of a child: owned strings, NULL-terminated. A failed allocation is remembered and found by tool_args_ok().
 */
struct tool_args {
    char **items;
    size_t n, cap;
    bool failed;
};
/* The program first: from bin_dir, or by name where that is not set. */
void tool_args_program(struct tool_args *a, const struct config *config, const char *name);
void tool_args_add(struct tool_args *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The list for struct child_spec, borrowed; NULL when memory ran out. */
const char *const *tool_args_list(const struct tool_args *a);
void tool_args_done(struct tool_args *a);

/* What would silently redirect a tool to another server or directory is not inherited (struct child_spec, env_unset).
 */
extern const char *const tool_env_unset[];

/*
 * Describes the end of a tool that did not succeed: "pg_basebackup failed (exit code 1): <its last error>", with a HINT
 * line for the mistakes everybody makes once. Returns err->code: -ETIMEDOUT or -EIO.
 */
int tool_failure(const char *name, const struct child_result *result, struct err *err);

/*
 * Pure: progress as pg_basebackup ("  123/4567 kB (2%), 0/1 tablespace …") and pg_rewind ("  123/4567 kB (2%) copied")
 * write it; false and nothing filled for any other line.
 */
bool tool_parse_progress(const char *line, uint64_t *ret_done_bytes, uint64_t *ret_total_bytes);

/*
 * Connection string in the reference's order of keywords (facts of the format: primary_conninfo). who: user and TLS
 * settings. host NULL: libpq's default socket directory. application_name and passfile may be NULL: left out.
 */
int tool_dsn(const struct config *config, const struct credentials *who, const char *host, uint16_t port,
             const char *application_name, const char *passfile, char *buf, size_t size, struct err *err);

/* Whose privileges pg_rewind uses: the rewind role where one is configured, else the superuser. */
const struct credentials *tool_rewind_credentials(const struct config *config);

/* Host the agent reaches its own server by over TCP: "localhost" where it listens there, else its first address. */
void tool_local_host(const struct config *config, char *buf, size_t size);
/* The first absolute unix_socket_directories of the configuration; NULL: not configured, libpq's default holds. */
bool tool_socket_dir(const struct config *config, char *buf, size_t size);
/* Where this node's own connections go: the socket directory if use_unix_socket and one is configured, else an address
 * the server listens on, never a name that would have to be looked up. */
void tool_own_host(const struct config *config, char *buf, size_t size);
/* The same for replication connections, with use_unix_socket_repl. */
void tool_own_replication_host(const struct config *config, char *buf, size_t size);
