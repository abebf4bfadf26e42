/*
 * Keys of a cluster as anybody with access to the store may have written them. The first byte chooses the key, a zero
 * byte ends a value and begins the next key.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "dcs/codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const keys[] = {"initialize", "config",   "leader",   "status",     "optime/leader",
                                   "history",    "sync",     "failover", "failsafe",   "members/a",
                                   "members/b",  "members/", "unknown",  "members/a/b"};

static void require(int condition)
{
    if (!condition)
        abort();
}

/* What is read and printed again reads as the same. */
static void check_history(const struct cluster *c)
{
    char *text = codec_print_history(c->history, c->n_history);
    struct cluster again = {0};

    require(text && codec_load_key(&again, "history", text, strlen(text), 1, 0, NULL) == 0);
    require(again.n_history == c->n_history);
    require(c->n_history == 0 || cluster_timeline(&again) == cluster_timeline(c));
    cluster_done(&again);
    free(text);
}

static void check_failover(const struct failover_key *f)
{
    char *text = codec_print_failover(f->leader, f->candidate, f->scheduled_at);
    struct cluster again = {0};

    require(text && codec_load_key(&again, "failover", text, strlen(text), 1, 0, NULL) == 0);
    require(again.failover.exists == f->exists && again.failover.scheduled_at_s == f->scheduled_at_s);
    require(strcmp(again.failover.leader, f->leader) == 0 && strcmp(again.failover.candidate, f->candidate) == 0);
    cluster_done(&again);
    free(text);
}

static void check_sync(const struct sync_key *s)
{
    char *text = codec_print_sync(s->exists ? s->leader : NULL, s->quorum, s->standbys);
    struct cluster again = {0};

    require(text && codec_load_key(&again, "sync", text, strlen(text), 1, 0, NULL) == 0);
    require(again.sync.exists == s->exists && again.sync.quorum == s->quorum);
    require((again.sync.standbys != NULL) == (s->standbys && *s->standbys));
    cluster_done(&again);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cluster c = {0};

    for (size_t i = 0; i < size;) {
        const char *key = keys[data[i] % ARRAY_LEN(keys)];
        const uint8_t *end = memchr(data + i + 1, 0, size - i - 1);
        size_t len = end ? (size_t)(end - data) - i - 1 : size - i - 1;

        require(codec_load_key(&c, key, (const char *)data + i + 1, len, 1, 2, NULL) == 0);
        i += len + 2;
    }
    codec_load_finish(&c);
    check_history(&c);
    check_sync(&c.sync);
    if (c.failover.exists)
        check_failover(&c.failover);
    require(!c.failover.exists || !*c.failover.scheduled_at || c.failover.scheduled_at_s != 0);
    cluster_done(&c);
    return 0;
}
