/* The listening socket of the REST server. */
#pragma once
#include <stdint.h>
#include "base/core.h"

/*
 * One non-blocking TCP socket on host:port; NULL, "" and "*" mean all addresses, IPv4 and IPv6. Names are resolved, so
 * this is for start-up only. Returns the descriptor, or -errno.
 */
int listen_tcp(const char *host, uint16_t port, struct err *err);

/* The port a socket is bound to, 0 if it cannot be told. */
uint16_t listen_port(int fd);
