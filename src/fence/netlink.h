/*
 * Netlink without a library: messages are built into fixed buffers before the loop, then only patched and sent.
 *
 * Nothing here allocates, and nothing waits: all descriptors are non-blocking. The kernel carries out a request while
 * it is being sent, so its answer can be read at once; "no answer yet" is nevertheless possible and is no failure.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <linux/netlink.h>
#include "base/core.h"

/* A message under construction in memory of the caller's; `data` must be aligned for struct nlmsghdr. */
struct netlink_buffer {
    char *data;
    size_t size, len;
    bool overflow; /* something did not fit, which is a bug of the caller's: check once, at the end */
};

/* Opens a socket of the protocol (NETLINK_…). Returns its descriptor or -errno. */
int netlink_open(int protocol, struct err *err);

/*
 * netlink_begin() starts a message whose fixed part is `body` and returns where it starts; netlink_end() writes its
 * length. An attribute's payload is copied; netlink_nest() starts one that holds others, netlink_nest_end() ends it.
 */
size_t netlink_begin(struct netlink_buffer *b, uint16_t type, uint16_t flags, uint32_t seq, const void *body,
                     size_t body_size);
void netlink_end(struct netlink_buffer *b, size_t message_at);
/* Returns the offset of the payload in the buffer. */
size_t netlink_put(struct netlink_buffer *b, uint16_t type, const void *payload, size_t size);
size_t netlink_nest(struct netlink_buffer *b, uint16_t type);
void netlink_nest_end(struct netlink_buffer *b, size_t nest_at);

/* Sends the whole buffer to the kernel. Returns 0 or -errno. */
int netlink_send(int fd, const void *data, size_t len, struct err *err);

/* One datagram. Returns its length, -EAGAIN if nothing waits (err is not set then), else -errno. */
int netlink_receive(int fd, void *dst, size_t size, struct err *err);

/*
 * What the kernel said about requests: reads everything that waits. Returns 0 when it said nothing bad, else the first
 * -errno. *ret_acked counts the confirmations of messages numbered `seq`.
 */
int netlink_results(int fd, uint32_t seq, unsigned *ret_acked, struct err *err);

/* Is there a whole message in the rest of a datagram? NLMSG_OK() compares signed with unsigned. */
static inline bool netlink_ok(const struct nlmsghdr *h, int left)
{
    return left >= (int)sizeof(*h) && h->nlmsg_len >= sizeof(*h) && h->nlmsg_len <= (unsigned)left;
}

/* Walks the attributes of one message or nest: the first of that type, NULL if there is none. */
const struct nlattr *netlink_find(const void *attributes, size_t len, uint16_t type, size_t least_size);
static inline const void *netlink_payload(const struct nlattr *a)
{
    return (const char *)a + NLA_HDRLEN;
}
