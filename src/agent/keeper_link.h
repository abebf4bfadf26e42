/* The agent's end of the socket to the keeper: asks, matches answers by number, tells when the keeper is gone. */
#pragma once
#include <stdbool.h>
#include <systemd/sd-event.h>
#include "base/core.h"
#include "fence/protocol.h"

struct keeper_link;

/* answer is NULL when the keeper is gone before it answered. */
typedef void (*keeper_answer_fn)(void *userdata, const struct keeper_answer *answer);
/* Called once when the keeper is gone. */
typedef void (*keeper_gone_fn)(void *userdata);
/* Called when the keeper has said something unasked; it is in keeper_link_last(). */
typedef void (*keeper_news_fn)(void *userdata);

int keeper_link_new(sd_event *loop, int fd, keeper_gone_fn gone, void *userdata, struct keeper_link **ret,
                    struct err *err);
struct keeper_link *keeper_link_free(struct keeper_link *k);

/*
 * Sends a request; done (may be NULL) is called from the loop with its answer. Each answer also becomes the snapshot of
 * keeper_link_last(). Returns 0, or -errno: the link is then gone and done is not called.
 */
int keeper_link_ask(struct keeper_link *k, enum keeper_op op, uint64_t lease_id, uint64_t deadline_us, int pid,
                    int pidfd, keeper_answer_fn done, void *userdata, struct err *err);
/* KEEPER_SERVE, in the same way; deadline_us is that of a standby, else 0. */
int keeper_link_serve(struct keeper_link *k, enum keeper_serve whom, uint64_t lease_id, uint64_t deadline_us,
                      keeper_answer_fn done, void *userdata, struct err *err);
void keeper_link_on_news(struct keeper_link *k, keeper_news_fn news); /* with the userdata of keeper_link_new() */
bool keeper_link_connected(const struct keeper_link *k);
/* The newest answer; all zero before the first. Kept when the keeper is gone. */
const struct keeper_answer *keeper_link_last(const struct keeper_link *k);
