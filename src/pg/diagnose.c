#include "pg/diagnose.h"
#include <string.h>
#include "base/text.h"

/* Looked for in this order; the first that occurs anywhere in the log is the cause, what follows it is consequence. */
static const struct pattern {
    const char *needle, *also; /* both in the same line; also may be NULL */
    const char *sentence;      /* before the server's own words; NULL: those alone */
    const char *hint;
} patterns[] = {
    {"\"root\" execution of the PostgreSQL server is not permitted", NULL, "PostgreSQL refuses to run as root",
     "Run the agent as the user who owns the data directory (User= in the systemd unit)"},
    {"data directory", "has invalid permissions", "the data directory is open to others",
     "chmod 0700 (or 0750) on the data directory"},
    {"data directory", "has wrong ownership", "the data directory belongs to another user",
     "Run the agent as its owner, or chown the data directory recursively"},
    {"database files are incompatible with server", NULL,
     "the data directory was made by another version of PostgreSQL than that in bin_dir",
     "Set postgresql.bin_dir to the version in the data directory's PG_VERSION, or upgrade the cluster with "
     "pg_upgrade"},
    {"lock file \"postmaster.pid\" already exists", NULL, "another server seems to run in the data directory",
     "Stop whoever else starts it, e.g. systemctl disable --now postgresql@15-main"},
    {".lock\" already exists", NULL, "another server uses the socket of this port",
     "Stop the other server or give this one another port (postgresql.listen)"},
    {"pre-existing shared memory block", NULL, "processes of a former server still run in the data directory",
     "They end by themselves after their current statement; find them with ps, end them with kill"},
    {"could not bind", "Address already in use", "the port is in use by another process",
     "Find it with ss -ltnp; stop the other server or change postgresql.listen"},
    {"could not bind", "Cannot assign requested address", "postgresql.listen names an address this host does not have",
     "Listen on an address of this host or on \"*\""},
    {"could not translate host name", NULL, "postgresql.listen names a host that cannot be resolved",
     "Listen on an address of this host or on \"*\""},
    {"could not create lock file", NULL, "the directory of the server's socket cannot be used",
     "Create it with the server's user as owner, or set the parameter unix_socket_directories"},
    {"could not create any Unix-domain sockets", NULL, NULL, "Check the parameter unix_socket_directories"},
    {"private key file", "has group or world access", "the TLS key is open to others",
     "chmod 0600 on the file named in ssl_key_file"},
    {"private key file", NULL, "the TLS key cannot be used", "Check the file named in ssl_key_file and its owner"},
    {"could not load server certificate file", NULL, "the TLS certificate cannot be used",
     "Check the file named in ssl_cert_file"},
    {"could not load root certificate file", NULL, "the TLS root certificate cannot be used",
     "Check the file named in ssl_ca_file"},
    {"could not access file \"", NULL, "a library to be preloaded is missing",
     "Install the extension's package, or remove it from shared_preload_libraries"},
    {"could not load library \"", NULL, "a library to be preloaded cannot be loaded",
     "Install the extension's package for this version of PostgreSQL, or remove it from shared_preload_libraries"},
    {"could not create shared memory segment", NULL, "the kernel refuses the server's shared memory",
     "Check /dev/shm, kernel.shmmni and the memory limit of the service"},
    {"could not resize shared memory segment", NULL, "there is not enough shared memory",
     "Enlarge /dev/shm (containers: shm-size) or lower dynamic memory use"},
    {"No space left on device", NULL, "the disk is full",
     "Make room; never delete files in pg_wal by hand. Old replication slots and a failing archive_command keep WAL"},
    {"Disk quota exceeded", NULL, "the disk quota is used up", "Make room or raise the quota"},
    {"Input/output error", NULL, "the disk does not work", "Look into the kernel's log (dmesg) for disk errors"},
    {"Read-only file system", NULL, "the file system is read-only",
     "The kernel remounts a file system read-only after disk errors; look into its log (dmesg)"},
    {"could not map anonymous shared memory", NULL, "there is not enough memory for the server",
     "Lower shared_buffers, or check huge_pages and the memory limit of the service"},
    {"could not create semaphores", NULL, "the kernel's limit of semaphores is reached",
     "Raise kernel.sem, or lower max_connections"},
    {"could not load", "pg_hba.conf", "pg_hba.conf has errors", "Correct the list postgresql.pg_hba"},
    {"insufficient parameter settings", NULL, "a parameter is lower than on the primary",
     "Raise it to the primary's value in the cluster's configuration (edit-config), then restart"},
    {"is a lower setting than on the ", NULL, "a parameter is lower than on the primary",
     "Raise it to the primary's value in the cluster's configuration (edit-config), then restart"},
    {"hot standby is not possible", NULL, "this standby cannot be read",
     "Give it the primary's values of max_connections and the like, and wal_level replica or logical"},
    {"WAL was generated with", "wal_level=minimal", "the primary wrote WAL that a standby cannot use",
     "Set wal_level to replica on the primary and make a new copy (reinit)"},
    {"is not a child of this server's history", NULL,
     "the data directory has diverged: it went on after the point where the new timeline begins",
     "It needs pg_rewind (use_pg_rewind), or a new copy (reinit)"},
    {"has already been removed", "requested WAL segment", "WAL this standby needs is gone from the primary",
     "Use replication slots, raise wal_keep_size or set restore_command; this member needs a new copy (reinit)"},
    {"could not find redo location", NULL, "WAL needed for recovery is missing",
     "If this is an unfinished backup, make a new copy (reinit)"},
    {"could not locate required checkpoint record", NULL, "WAL needed for recovery is missing",
     "If this is an unfinished backup, make a new copy (reinit)"},
    {"could not locate a valid checkpoint record", NULL, "WAL needed for recovery is missing",
     "If this is an unfinished backup, make a new copy (reinit)"},
    {"WAL ends before", NULL, "WAL needed to make the backup consistent is missing",
     "Check restore_command and the archive, or make a new copy (reinit)"},
    {"recovery ended before configured recovery target was reached", NULL, "the recovery target lies beyond the WAL",
     "Choose an earlier target, or complete the archive"},
    {"must specify restore_command", NULL, NULL, "Set restore_command under postgresql.recovery_conf"},
    {"database system identifier differs", NULL, "the data directory belongs to another cluster",
     "Check scope and data_dir; this member needs a new copy (reinit)"},
    {"could not open configuration file", NULL, NULL, "Restore the file, or correct config_dir and custom_conf"},
    {"could not access the server configuration file", NULL, NULL, "Restore the file, or correct config_dir"},
    {"is not a database cluster directory", NULL, "the data directory holds no cluster", "Check postgresql.data_dir"},
    {"invalid data in file", "postmaster.pid", NULL, "Remove postmaster.pid if no server runs in the data directory"},
};

/* A line of the log; text is what follows "FATAL:  " or whatever the severity is called in the server's language. */
struct line {
    const char *start, *text;
    size_t len, text_len;
};

static bool next_line(const char **rest, struct line *ret)
{
    const char *colon;
    struct line l = {.start = *rest};

    if (!**rest)
        return false;
    l.len = strcspn(l.start, "\n");
    *rest = l.start + l.len + (l.start[l.len] == '\n');
    colon = memmem(l.start, l.len, ":  ", 3);
    l.text = colon ? colon + 3 : l.start;
    l.text_len = l.len - (size_t)(l.text - l.start);
    *ret = l;
    return true;
}

static bool line_has(const struct line *l, const char *needle)
{
    return memmem(l->start, l->len, needle, strlen(needle)) != NULL;
}

static bool find_line(const char *log, const char *needle, const char *also, struct line *ret)
{
    struct line l;

    while (next_line(&log, &l)) {
        if (line_has(&l, needle) && (!also || line_has(&l, also))) {
            *ret = l;
            return true;
        }
    }
    return false;
}

/* The server's next line if it is the DETAIL of this one, or names the other server's process. */
static bool find_detail(const struct line *l, struct line *ret)
{
    const char *rest = l->start + l->len;

    if (*rest == '\n')
        rest++;
    return next_line(&rest, ret) && (line_has(ret, "DETAIL:  ") || line_has(ret, "HINT:  Is another "));
}

static void say(char *buf, size_t size, const char *sentence, const struct line *l, const char *hint)
{
    struct line detail = {0};
    bool has_detail = find_detail(l, &detail);

    (void)text_print(buf, size, "%s%s%.*s%s%.*s\nHINT:  %s", sentence ? sentence : "", sentence ? ": " : "",
                     (int)l->text_len, l->text, has_detail ? ": " : "", (int)detail.text_len,
                     has_detail ? detail.text : "", hint);
}

/* What stands in double quotes behind `before`, or the rest of nothing: "" if it is not there. */
static void quoted_after(const struct line *l, const char *before, char *buf, size_t size)
{
    const char *found = memmem(l->text, l->text_len, before, strlen(before));
    const char *end = l->text + l->text_len, *start, *close;

    (void)text_copy(buf, size, "");
    if (!found)
        return;
    start = found + strlen(before);
    close = memchr(start, '"', (size_t)(end - start));
    if (close)
        (void)text_print(buf, size, "%.*s", (int)(close - start), start);
}

/* A setting PostgreSQL does not take: names it, its value and the file, which stand in different lines. */
static bool diagnose_parameter(const char *log, char *buf, size_t size)
{
    static const char *const needles[] = {
        "invalid value for parameter \"", "is outside the valid range for parameter \"",
        "requires a numeric value",       "requires a Boolean value",
        "requires an integer value",      "unrecognized configuration parameter \"",
        "syntax error in file \"",        "cannot be set in a configuration file",
        "cannot be changed now",          "must be less than",
    };
    char file[512] = "", name[128];
    struct line l, final;

    for (size_t i = 0; i < ARRAY_LEN(needles); i++) {
        if (!find_line(log, needles[i], NULL, &l))
            continue;
        /* The walreceiver's and clients' complaints about parameters stop nobody. */
        if (find_line(log, "configuration file \"", "contains errors", &final))
            quoted_after(&final, "configuration file \"", file, sizeof(file));
        else if (!line_has(&l, "FATAL"))
            continue;
        quoted_after(&l, "parameter \"", name, sizeof(name));
        (void)text_print(buf, size,
                         "%s%s%s: %.*s%s%s%s\nHINT:  Correct it in the cluster's configuration "
                         "(edit-config) or in postgresql.parameters of this member's file",
                         *name ? "parameter \"" : "the server's configuration", name,
                         *name ? "\" is invalid" : " has an error", (int)l.text_len, l.text, *file ? " (in \"" : "",
                         file, *file ? "\")" : "");
        return true;
    }
    return false;
}

/* Nothing we know: the last fatal line, else the last one. */
static void quote_last(const char *log, const char *log_path, char *buf, size_t size)
{
    struct line l, last = {.text = ""}, fatal = {0};

    while (next_line(&log, &l)) {
        if (line_has(&l, "FATAL:  ") || line_has(&l, "PANIC:  "))
            fatal = l;
        if (l.len > 0 && *l.start != '\t')
            last = l;
    }
    if (fatal.text)
        last = fatal;
    if (!last.text_len)
        (void)text_print(buf, size, "the server ended without a word\nHINT:  Look into the kernel's log and \"%s\"",
                         log_path);
    else
        (void)text_print(buf, size, "the server did not start: %.*s\nHINT:  See the log file \"%s\"",
                         (int)last.text_len, last.text, log_path);
}

/* One of several addresses may be missing: the server then goes on with the others. */
static bool is_fatal(const struct pattern *p, const char *log)
{
    struct line l;

    return !text_equal(p->needle, "could not bind") || find_line(log, "could not create any TCP/IP sockets", NULL, &l);
}

void diagnose_log(const char *log, const char *log_path, char *buf, size_t size)
{
    struct line l;

    if (diagnose_parameter(log, buf, size))
        return;
    for (size_t i = 0; i < ARRAY_LEN(patterns); i++) {
        if (find_line(log, patterns[i].needle, patterns[i].also, &l) && is_fatal(&patterns[i], log)) {
            say(buf, size, patterns[i].sentence, &l, patterns[i].hint);
            return;
        }
    }
    quote_last(log, log_path, buf, size);
}
