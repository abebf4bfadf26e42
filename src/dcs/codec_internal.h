/* What the files of the codec share; not for other folders. */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/core.h"

/*
 * Parses a JSON text that came from the store. Returns 0 and gives *ret to the caller, -EBADMSG when it is no JSON,
 * -ENOMEM.
 */
int codec_json(const char *text, size_t len, json_t **ret);

/* A number that may also be written as decimal text, as some writers do; false on all else, also on negative ones. */
bool codec_json_u64(const json_t *value, uint64_t *ret);
/* As a 32-bit timeline that can still be incremented. */
bool codec_json_timeline(const json_t *value, uint32_t *ret);

/* slots and retain_slots of the status key into the cluster; what is no name of a slot is left out. 0 or -ENOMEM. */
struct cluster;
int codec_load_status_slots(struct cluster *c, const json_t *status);

/*
 * Copies a string; leaves "" and returns false when it is missing, no string or does not fit: half a name or URL would
 * be another name or URL.
 */
bool codec_json_copy(const json_t *object, const char *key, char *buf, size_t size);

/* Text that may go into logs, JSON and other keys: UTF-8 without control characters. */
bool codec_is_text(const char *s, size_t len);

/* Fields of /status that are pgtether's own, see codec_print_shutdown_status(). */
#define CODEC_SHUTDOWN_LSN "pgtether_shutdown_lsn"
#define CODEC_SHUTDOWN_TIMELINE "pgtether_shutdown_timeline"
#define CODEC_SHUTDOWN_SESSION "pgtether_shutdown_session"
