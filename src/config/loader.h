/* What the steps of reading one file share. Internal to src/config/. */
#pragma once
#include <libconfig.h>
#include <stdbool.h>
#include "config/config.h"
#include "config/problems.h"
#include "config/schema.h"
#include "config/source.h"

enum { SETTING_PATH_SIZE = 256 };

struct loader {
    const char *path; /* the file's name as given */
    struct source *source;
    config_t file;
    struct draft draft;
    struct config_problems *problems;
    bool out_of_memory;
};

/* A problem of one value in the file. */
void loader_problem(struct loader *l, enum problem_severity severity, const config_setting_t *at, const char *path,
                    const char *hint, const char *fmt, ...) __attribute__((format(printf, 6, 7)));
/* A problem found later: the place is looked up, the nearest group above it when the setting is not in the file. */
void loader_problem_of(struct loader *l, enum problem_severity severity, const char *path, const char *hint,
                       const char *fmt, ...) __attribute__((format(printf, 5, 6)));
/* True if the file has this setting. */
bool loader_has(struct loader *l, const char *path);
/* File and line of a value. */
struct problem_place loader_place(const struct loader *l, const config_setting_t *at);
/* Copies, noting when memory runs out; frees what *field held before. */
void loader_set(struct loader *l, char **field, const char *value);

/* file.c: every setting of the file by the table into the draft. */
void loader_read_settings(struct loader *l);

/* defaults.c: what the file leaves out, and what only makes sense together. */
void loader_check_names(struct loader *l);
void loader_finish_addresses(struct loader *l);
void loader_finish_restapi(struct loader *l);
void loader_finish_postgresql(struct loader *l);
void loader_finish_rest(struct loader *l);

/* store.c: the section of the store. */
void loader_finish_store(struct loader *l);

/* options.c: values that are lists of pairs; kinds of a value in words. */
void loader_read_options(struct loader *l, const config_setting_t *s, const char *path, struct settings *ret);
void loader_read_map(struct loader *l, const config_setting_t *s, const char *path, struct settings *ret);
void loader_read_assignments(struct loader *l, const config_setting_t *s, const char *path, struct settings *ret);
/* A scalar as text ("on" and "off" for booleans); NULL if it is none. buf is where numbers are printed. */
const char *scalar_text(const config_setting_t *s, char *buf, size_t size);
/* "the integer 5", "a group"; never more than that of a secret. */
void describe_value(const config_setting_t *s, bool is_secret, char *buf, size_t size);

/* bootstrap.c: bootstrap.dcs to JSON; json.c does the conversion. */
void loader_read_dynamic(struct loader *l, const config_setting_t *s);
/* places.c: which setting stands where. */
void loader_note_places(struct loader *l);
/* vip.c: the virtual addresses. */
void loader_read_vips(struct loader *l, const config_setting_t *s);
/* tags.c: the tags, as struct and as what is published. */
void loader_read_tags(struct loader *l, const config_setting_t *s);
