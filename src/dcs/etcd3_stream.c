#include "dcs/etcd3_stream.h"
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include "dcs/codec_internal.h"
#include "dcs/etcd3_answer.h"

/* Moves the state over one byte inside of an object; true at its closing brace. */
static bool scan_byte(struct etcd3_stream *s, char c)
{
    if (s->after_backslash) {
        s->after_backslash = false;
    } else if (s->in_string) {
        s->after_backslash = c == '\\';
        s->in_string = c != '"';
    } else if (c == '"') {
        s->in_string = true;
    } else if (c == '{') {
        s->depth++;
    } else if (c == '}') {
        s->depth--;
        return s->depth == 0;
    }
    return false;
}

/* Length of the part of data that belongs to the current object; *ret_complete if it ends there. */
static size_t scan_object(struct etcd3_stream *s, const char *data, size_t len, bool *ret_complete)
{
    *ret_complete = false;
    for (size_t i = 0; i < len; i++)
        if (scan_byte(s, data[i])) {
            *ret_complete = true;
            return i + 1;
        }
    return len;
}

int etcd3_stream_feed(struct etcd3_stream *s, const char *data, size_t len,
                      int (*on_object)(void *userdata, const char *text, size_t text_len), void *userdata)
{
    while (len > 0) {
        bool complete;
        size_t n;
        int r;

        if (s->depth == 0 && *data != '{') {
            if (!strchr(" \t\r\n", *data) || *data == '\0')
                return -EBADMSG;
            data++;
            len--;
            continue;
        }
        n = scan_object(s, data, len, &complete);
        if (n > ETCD3_OBJECT_MAX - s->object.len)
            return -EMSGSIZE;
        textbuf_append(&s->object, data, n);
        if (s->object.failed)
            return -ENOMEM;
        data += n;
        len -= n;
        if (!complete)
            continue;
        r = on_object(userdata, s->object.data, s->object.len);
        s->object.len = 0;
        if (r < 0)
            return r;
    }
    return 0;
}

void etcd3_stream_done(struct etcd3_stream *s)
{
    textbuf_done(&s->object);
    *s = (struct etcd3_stream){0};
}

static bool is_worth_a_look(const char *key)
{
    static const char *const keys[] = {"leader", "config", "failover", "sync", "initialize", "replica_address"};

    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        if (strcmp(key, keys[i]) == 0)
            return true;
    return text_starts_with(key, "members/");
}

static int read_event(const json_t *event, const char *base_path, void (*on_key)(void *userdata, const char *key),
                      void *userdata)
{
    struct etcd3_kv kv;
    int r = etcd3_read_kv(json_object_get(event, "kv"), &kv);

    if (r < 0)
        return r;
    if (strlen(kv.key) == kv.key_len && text_starts_with(kv.key, base_path) &&
        is_worth_a_look(kv.key + strlen(base_path)))
        on_key(userdata, kv.key + strlen(base_path));
    etcd3_kv_done(&kv);
    return 0;
}

static int read_result(const json_t *result, const char *base_path, void (*on_key)(void *userdata, const char *key),
                       void *userdata, struct err *err)
{
    const json_t *events = json_object_get(result, "events");
    const char *reason = json_string_value(json_object_get(result, "cancel_reason"));

    if (json_is_true(json_object_get(result, "canceled")))
        return err_set(err, -ECANCELED, "the store ended the watch: %.120s", reason ? reason : "no reason given");
    for (size_t i = 0; i < json_array_size(events); i++) {
        int r = read_event(json_array_get(events, i), base_path, on_key, userdata);

        if (r < 0)
            return err_set(err, r, "unreadable event from the watch");
    }
    return json_is_true(json_object_get(result, "created"));
}

int etcd3_watch_read(const char *text, size_t len, const char *base_path,
                     void (*on_key)(void *userdata, const char *key), void *userdata, struct err *err)
{
    json_t *result = NULL;
    enum etcd3_kind kind = etcd3_decode(200, text, len, &result, err);
    int r;

    if (kind != ETCD3_OK)
        return err && err->code == -EBADMSG ? -EBADMSG : -ECANCELED;
    r = read_result(result, base_path, on_key, userdata, err);
    json_decref(result);
    return r;
}
