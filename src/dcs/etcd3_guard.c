/*
 * Is what answers still the etcd cluster we have been talking to? An endpoint of another cluster would hand out another
 * leader key. One that lags behind an election which others have told us about must not be believed either; it may be
 * cut off without knowing.
 *
 * But a store may be replaced for good: built anew, or restored from a snapshot. Waiting for each agent to be restarted
 * by hand would end every primary. So the new cluster is taken over when more than half of the configured endpoints
 * belong to it and, for a while, none was heard that belongs to the old one. Then the old one has lost its majority: it
 * can confirm no lease any more, and what it has confirmed ends within a ttl. That is what the caller has to wait for
 * before anything is acquired (dcs.h, struct cluster: store_life). An operation that has begun before is not confirmed
 * by what the new cluster says.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include "base/clock.h"
#include "dcs/etcd3_internal.h"

/* After an election members learn of the new term within a heartbeat, under load within a second or two. */
#define REPLACED_AFTER_US (UINT64_C(1) * USEC_PER_SEC)
#define TURNED_BACK_AFTER_US (UINT64_C(3) * USEC_PER_SEC)

static void forget_strangers(struct etcd3 *e)
{
    for (size_t i = 0; i < e->endpoints.n; i++)
        e->endpoints.items[i].is_strange = false;
    e->strange_since_us = 0;
}

void etcd3_replaced(struct etcd3 *e)
{
    e->life++;
    e->cluster_id = e->raft_term = e->revision = 0;
    e->prefix = NULL;
    e->discovered_at_us = 0;
    etcd3_forget_token(e);
    /* What hangs on leases of the old cluster is not there any more. */
    e->member.session = 0;
    free(e->member.json);
    e->member.json = NULL;
    forget_strangers(e);
}

static bool most_are_strange(const struct etcd3 *e)
{
    size_t n = 0, strange = 0;

    for (size_t i = 0; i < e->endpoints.n; i++) {
        if (!e->endpoints.items[i].configured)
            continue;
        n++;
        strange += e->endpoints.items[i].is_strange;
    }
    return 2 * strange > n;
}

/* An endpoint that does not fit in has answered; true if the store is taken for replaced. */
static bool note_stranger(struct etcd3 *e, const struct etcd3_header *header, const char *url)
{
    uint64_t now_us = clock_now_us();
    uint64_t patience_us = header->cluster_id == e->cluster_id ? TURNED_BACK_AFTER_US : REPLACED_AFTER_US;

    if (!e->strange_since_us || e->strange_id != header->cluster_id) {
        forget_strangers(e);
        e->strange_id = header->cluster_id;
        e->strange_since_us = now_us;
    }
    for (size_t i = 0; i < e->endpoints.n; i++)
        if (text_equal(e->endpoints.items[i].url, url))
            e->endpoints.items[i].is_strange = true;
    if (!most_are_strange(e) || now_us - e->strange_since_us < patience_us)
        return false;
    etcd3_replaced(e);
    return true;
}

int etcd3_guard(struct etcd3 *e, const json_t *json, const char *url, struct err *err)
{
    uint64_t expected_id = e->cluster_id, expected_term = e->raft_term;
    struct etcd3_header header;

    etcd3_read_header(json, &header);
    if (!header.cluster_id)
        return 0;
    if (!expected_id || (header.cluster_id == expected_id && header.raft_term >= expected_term)) {
        forget_strangers(e);
        e->cluster_id = header.cluster_id;
        e->raft_term = header.raft_term;
        if (header.revision > e->revision)
            e->revision = header.revision;
        return 0;
    }
    if (note_stranger(e, &header, url))
        return err_set(err, -ESTALE, "the store was built anew or restored: asking it again");
    if (header.cluster_id != expected_id)
        return err_set(err, -EREMCHG, "\"%s\" belongs to the etcd cluster %" PRIx64 ", not to %" PRIx64, url,
                       header.cluster_id, expected_id);
    return err_set(err, -ESTALE, "\"%s\" lags behind: raft term %" PRIu64 ", others are at %" PRIu64, url,
                   header.raft_term, expected_term);
}
