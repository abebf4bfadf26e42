/*
 * Two network namespaces with a cable between them, for tests that need real packets: "near" is where this process
 * lives from then on, "far" is the network beyond. Nothing of it is left when the process ends.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#define NETLAB_NEAR4 "10.77.0.1"
#define NETLAB_NEAR6 "fd77::1"
enum { NETLAB_PATIENCE_MS = 10000 }; /* for what must happen: only a failing test waits that long */

/* False if this user may not: the tests are then skipped. */
bool netlab_open(void);

/* Runs a shell command; fails the test if the command does. */
void netlab_run(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* What a shell command prints, in a static buffer. */
const char *netlab_output(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

int netlab_listen(const char *address, uint16_t port);

/* A connection in the making from far or near; non-blocking. */
int netlab_dial(bool from_far, const char *address, uint16_t port);
/* Both ends of one; fails the test if it is not established in time. */
void netlab_connect(bool from_far, int listener, const char *address, uint16_t port, int *ret_client, int *ret_server);

bool netlab_wait(int fd, short events, int timeout_ms);
/* Sends one byte: does it arrive? Waits for it up to the patience above. */
bool netlab_passes(int from, int to);
/* What `fd` says: bytes read, 0 at the end, or -errno; -EAGAIN if nothing came in time. */
int netlab_read(int fd, char *dst, int size, int timeout_ms);
