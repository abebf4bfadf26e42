/*
 * Messages to the service manager, sd_notify(3) without libsystemd: its calls may wait when the manager does not read.
 * The socket is opened at start and never waits; a message that does not fit is lost, and the next one says it again.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>
#include "base/core.h"

struct notify {
    int fd; /* -1: no manager asked for messages */
    struct sockaddr_un address;
    socklen_t address_len;
    uint64_t watchdog_us; /* the manager wants WATCHDOG=1 at least this often; 0 = not at all */
};

/* Reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID. Without a manager that is fine, too: 0. */
int notify_open(struct notify *n, struct err *err);
void notify_close(struct notify *n);

/* With a descriptor, -1 for none. Returns whether it went out; without a manager it does not. */
bool notify_send_fd(const struct notify *n, int fd, const char *text);

/* Assignments separated by new-lines: "READY=1\nSTATUS=...". */
void notify_send(const struct notify *n, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
