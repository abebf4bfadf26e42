/* The sockets of src/vip: opened once, and then never waited for. Descriptors and 0, or -errno. */
#pragma once
#include "base/core.h"
#include "vip/packet.h"

/* rtnetlink: one for requests and their acknowledgements, one for events, so that a flood of these costs no answer. */
int socket_open_requests(struct err *err);
int socket_open_events(struct err *err);
/* Frames about addresses of one family, on all interfaces. */
int socket_open_frames(uint8_t family, const struct vip_settings *s, size_t n, struct err *err);

int socket_request(int fd, const struct address_request *request);
int socket_frame(int fd, uint32_t link, const struct packet *packet);

/*
 * Bytes of the next datagram; 0 = nothing there; -ENOBUFS = something was lost. What did not come from the kernel, or
 * what we sent ourselves, is passed over.
 */
int socket_next_message(int fd, void *buf, size_t size);
int socket_next_frame(int fd, void *buf, size_t size, uint32_t *ret_link);
