/*
 * The port gate: packets from the PostgreSQL port leave this host only while an element of an nftables set is alive.
 *
 * The kernel ends the element by itself, so that a primary whose keeper is frozen, killed or gone cannot acknowledge a
 * write to a network client after its lease. What passes always: the loopback interface, every other port, what comes
 * in, and packets with RST, which say nothing but "there is no such connection" (clients of a dead primary shall learn
 * that at once). The table is ours alone, no rule of others is touched. A sender behind a closed gate is reset where
 * the kernel can do that; else its packets are dropped, and its retransmissions would pass a gate that opens again:
 * fence/sockets.h is for those.
 *
 * The ruleset is text, applied by the program pgtether-gate, since libnftables is no library for a resident process.
 * Afterwards only messages built at the start are patched and sent, without allocating; but the kernel's commit lock of
 * nf_tables may be waited for, so pgtether-net does this, not the keeper (S6). One message replaces the element, or
 * nothing changes.
 *
 * Clocks: deadlines are CLOCK_BOOTTIME, but the kernel counts an element's timeout in jiffies, which stand still while
 * the host is suspended. After a suspend the gate stays open too long until the keeper, whose timer counts that time,
 * shuts it. A timeout is rounded down and GATE_MARGIN_MS shorter than the rest, so that the gate is shut at the
 * deadline at the latest.
 */
#pragma once
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "base/core.h"

enum gate_mode {
    GATE_MODE_OFF,
    GATE_MODE_AUTOMATIC, /* used if it can be set up; without it only the other means end a primary, which is shown */
    GATE_MODE_NFTABLES,  /* no node becomes primary without it */
};

enum gate_state {
    GATE_OFF,    /* not wanted, or not set up yet */
    GATE_CLOSED, /* as far as the kernel has confirmed */
    GATE_OPEN,
    GATE_FAILED, /* the last attempt failed, see gate_failure(): what was confirmed before still ends in time */
};

enum {
    GATE_TABLE_SIZE = 128, /* "pgtether_", scope, name */
    GATE_BATCH_SIZE = 768,
    GATE_MARGIN_MS = 10, /* what may pass between reading the clock and the kernel's beginning to count */
    GATE_LEAST_MS = 20,  /* a timeout of less than a jiffy (10 ms at 100 HZ) would mean: for ever */
};

struct gate_settings {
    enum gate_mode mode;
    uint16_t port;
};

struct gate_batch {
    _Alignas(8) char data[GATE_BATCH_SIZE];
    size_t len;
    size_t acked_at; /* the message that the kernel confirms */
    size_t timeout_at;
};

struct gate {
    struct gate_settings settings;
    char program[PATH_MAX];
    char table[GATE_TABLE_SIZE];
    int fd;
    pid_t repair; /* pgtether-gate, while it runs beside the loop */
    uint32_t seq;
    struct gate_batch open, shut;
    uint64_t open_until_us;  /* confirmed; a past instant = closed */
    uint64_t asked_until_us; /* sent; becomes open_until_us with the confirmation of seq */
    struct err failure;
};

void gate_init(struct gate *g, const struct gate_settings *settings);

/*
 * Before the loop: runs `program` (pgtether-gate), waits for it, and prepares the messages. A new gate is closed. A
 * table that a predecessor left keeps its element, and g learns until when it is open: neither does a restart of the
 * keeper close the gate of a running primary, nor does it open one. With mode off a table that was left is removed.
 * Returns 0 or -errno: the state is then FAILED, and whether that is the end is for the caller to decide by the mode.
 */
int gate_setup(struct gate *g, const char *program, const char *scope, const char *name, struct err *err);

/*
 * Open until deadline_us, whatever it was before; a deadline that is past or nearly so shuts it. gate_shut() shuts it
 * now. Both return 0 or -errno, and may be repeated at any time; with a gate that is off they do nothing. -ENOENT:
 * somebody removed the table (flush ruleset), gate_repair() brings it back.
 */
int gate_until(struct gate *g, uint64_t deadline_us, struct err *err);
int gate_shut(struct gate *g, struct err *err);

/* Readable when the kernel answers later than at once; -1 while off. gate_on_event() returns 0 or what failed. */
int gate_fd(const struct gate *g);
int gate_on_event(struct gate *g, struct err *err);

/*
 * Starts pgtether-gate again, without waiting; one that runs already is enough. When gate_reaped() says true, `pid`
 * was it, and the gate is closed or failed: the caller opens it again if it may be open.
 */
int gate_repair(struct gate *g, struct err *err);
bool gate_reaped(struct gate *g, pid_t pid, int wait_status);

enum gate_state gate_state(const struct gate *g, uint64_t now_us);
const char *gate_failure(const struct gate *g); /* text for STATUS, "" if nothing failed */

/* After the loop: runs pgtether-gate to remove the table, and closes. Whoever crashes leaves the table, closing. */
int gate_remove(struct gate *g, struct err *err);
/* Closes, and leaves table and element as they are. */
void gate_abandon(struct gate *g);

/*
 * "pgtether_<scope>_<name>". What nft cannot have in a name becomes "_", and a hash of both is added when this, or
 * the length, could make two instances one.
 */
void gate_table_name(char *dst, size_t size, const char *scope, const char *name);

const char *gate_mode_text(enum gate_mode mode);
bool gate_mode_from_text(const char *text, enum gate_mode *ret);
const char *gate_state_text(enum gate_state state);
