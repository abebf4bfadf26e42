/*
 * Destroys the TCP connections that a killed primary has left behind.
 *
 * The death of a process does not discard what it had handed to the kernel: an acknowledgement in a send buffer is
 * retransmitted for minutes, and would pass the port gate when it opens again for the node as a standby. A destroyed
 * socket loses its queue, and its peer gets a RST. Needs Linux 4.9 with CONFIG_INET_DIAG_DESTROY, which Debian has.
 *
 * sockets_open() belongs before the loop, since the first question may load a kernel module. Later nothing allocates
 * or waits (S6), except for the lock of a socket: call sockets_sweep() only once the primary is proven dead, then
 * nobody is left who could hold one, and before PostgreSQL is started again.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "base/core.h"

struct sockets {
    int dump_fd, destroy_fd; /* -1 = not available */
    uint16_t port;
    uint8_t only_family; /* AF_INET, AF_INET6: only connections to the address below; 0 = all */
    uint8_t only[16];
    bool dumping;
    bool ipv6;                 /* the family that is being listed */
    unsigned found, destroyed; /* in this round, which lists both families */
    unsigned rounds;           /* rounds of this sweep that ended with sockets found */
    unsigned total;            /* destroyed since sockets_open(), for the log */
};

/* Returns 0, or -errno, -EOPNOTSUPP on a kernel that cannot destroy: there is then nothing to sweep with. */
int sockets_open(struct sockets *s, uint16_t port, struct err *err);
void sockets_close(struct sockets *s);

/*
 * One step of bounded work: lists what one datagram holds, and destroys it; local clients (the peer is a loopback
 * address, or the address itself) are left alone. Returns 1 while there is more to do, 0 when nothing is left (a new
 * sweep then begins with the next call) or -errno; the next call then begins anew.
 */
int sockets_sweep(struct sockets *s, struct err *err);
