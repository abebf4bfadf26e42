/*
 * The watch's stream of JSON objects: cutting it into objects as bytes arrive, and reading the keys of its events.
 * Pure functions over foreign bytes; everything has a limit.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include "base/core.h"
#include "base/text.h"

/* Zero-initialise; free with etcd3_stream_done(). */
struct etcd3_stream {
    struct textbuf object; /* the part of the current object that has arrived */
    size_t depth;
    bool in_string, after_backslash;
};

enum { ETCD3_OBJECT_MAX = 8 * 1024 * 1024 };

/*
 * Takes bytes and calls on_object for every object they complete. Returns 0, -EBADMSG when what comes is no sequence of
 * objects, -EMSGSIZE when one is too long, -ENOMEM, or the first negative value on_object returned. After a failure the
 * stream is of no use any more.
 */
int etcd3_stream_feed(struct etcd3_stream *s, const char *data, size_t len,
                      int (*on_object)(void *userdata, const char *text, size_t text_len), void *userdata);
void etcd3_stream_done(struct etcd3_stream *s);

/*
 * Reads one object: calls on_key with every key that changed, relative to base_path ("leader"), for keys that are worth
 * a look (dcs.h, watch). Returns 1 if it says that the watch was created, 0 if not, -ECANCELED when the store ended the
 * watch (err says why), -EBADMSG or -ENOMEM.
 */
int etcd3_watch_read(const char *text, size_t len, const char *base_path,
                     void (*on_key)(void *userdata, const char *key), void *userdata, struct err *err);
