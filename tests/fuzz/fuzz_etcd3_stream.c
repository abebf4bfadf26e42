/*
 * What etcd, or whoever answers in its place, may send: as a stream of watch events, in pieces whose size the first
 * byte tells, and as one answer of the gateway.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include "dcs/etcd3_answer.h"
#include "dcs/etcd3_stream.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void on_key(void *userdata, const char *key)
{
    (void)userdata;
    if (!*key)
        abort();
}

static int on_object(void *userdata, const char *text, size_t len)
{
    struct err err = {0};

    (void)userdata;
    if (len < 2 || text[0] != '{' || text[len - 1] != '}')
        abort();
    (void)etcd3_watch_read(text, len, "/service/demo/", on_key, NULL, &err);
    return 0;
}

static void read_answer(int status, const char *text, size_t len)
{
    json_t *json = NULL;
    struct err err = {0};
    enum etcd3_kind kind = etcd3_decode(status, text, len, &json, &err);
    struct etcd3_header header;
    struct etcd3_kv kv;
    const char *prefix;

    if ((kind == ETCD3_OK) != (json != NULL) || (kind != ETCD3_OK && !*err.msg))
        abort();
    if (!json)
        return;
    etcd3_read_header(json, &header);
    (void)etcd3_read_version(json, &prefix, NULL);
    if (etcd3_read_single(json, &kv) > 0)
        etcd3_kv_done(&kv);
    json_decref(json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct etcd3_stream s = {0};
    const char *text = (const char *)data + 1;
    size_t step, len = size - 1;
    int r = 0;

    if (size == 0)
        return 0;
    step = data[0] % 64 + 1u;
    for (size_t i = 0; i < len && r == 0; i += step)
        r = etcd3_stream_feed(&s, text + i, len - i < step ? len - i : step, on_object, NULL);
    etcd3_stream_done(&s);
    read_answer(data[0] & 64 ? 404 : 200, text, len);
    return 0;
}
