/*
 * Every setting of the local file in one table: what it is called, what it accepts, where its value goes. The names
 * of bootstrap.dcs are in dynamic.h. A unit test holds doc/pgtether.conf.5 against both tables.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "config/config.h"

/* What the file said, as far as it becomes a struct config only after being checked as a whole. */
struct draft {
    struct config c;
    char *restapi_listen, *restapi_connect;
    char *postgresql_listen, *postgresql_connect;
    char *watchdog_mode;
    char *gate_mode;
    char *storage_probe_mode;
    char *log_type;
    char *bootstrap_method;
    struct {
        char *host, *url, *protocol, *proxy;
        struct string_list hosts;
        int64_t port;
        bool use_proxies;
    } etcd3;
};

enum setting_type {
    SETTING_GROUP,
    SETTING_STRING,      /* char * */
    SETTING_SECRET,      /* char *, never printed */
    SETTING_PATH,        /* char *, absolute */
    SETTING_ADDRESS,     /* char *, "host:port"; parsed when the whole file is known */
    SETTING_CHOICE,      /* char *, the first word of one of the groups in choices */
    SETTING_BOOL,        /* bool */
    SETTING_INT,         /* int64_t */
    SETTING_SECONDS,     /* uint64_t, microseconds; min and max are seconds */
    SETTING_STRINGS,     /* struct string_list: a list, an array or a single string */
    SETTING_OPTIONS,     /* struct settings: a list of names and one-key groups, or a group */
    SETTING_MAP,         /* struct settings: a group */
    SETTING_ASSIGNMENTS, /* struct settings: a list of "name = value", added to what is there */
    SETTING_TAGS,        /* a group of any scalars */
    SETTING_VIPS,        /* a list of groups: vip.c */
    SETTING_DYNAMIC,     /* bootstrap.dcs */
    SETTING_IGNORED,     /* the reference knows it, here it has no effect: a warning */
    SETTING_UNSUPPORTED, /* the reference or a later version knows it, and ignoring it would do harm: an error */
};

struct schema_entry {
    const char *path;
    enum setting_type type;
    bool required;
    size_t offset; /* into struct draft */
    int64_t min, max;
    const char *choices; /* "off,disabled|automatic,auto" */
    const char *text;    /* one line for people */
};

const struct schema_entry *schema_entries(size_t *ret_n);
const struct schema_entry *schema_find(const char *path); /* NULL if unknown */

/*
 * The known path that a mistyped one was meant to be: a near name in the same group, or the same name in another
 * group. NULL if there is none.
 */
const char *schema_suggest(const char *path);
