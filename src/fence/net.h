/*
 * The kernel leases: what keeper and pgtether-net say to each other.
 *
 * The kernel itself takes an address away and shuts PostgreSQL's port when a lease runs out, however frozen user space
 * may be (lease_reach() says until when). Telling it goes through netlink, and netlink takes locks of the kernel (rtnl,
 * the commit of nf_tables) that others may hold for long. So the keeper does not do it (S6): a process of its own does,
 * told by datagrams that are sent without waiting. If it hangs or dies, what it told the kernel last ends by itself.
 *
 * An order is a whole state, not a change: a lost one is made good by the next. Each is answered by a report; reports
 * also come when something has changed. Instants are microseconds of CLOCK_BOOTTIME; 0 = shut or taken away now.
 */
#pragma once
#include <stdint.h>
#include "base/core.h"
#include "fence/protocol.h"

enum { NET_PROTOCOL = 1, NET_KEEPER_FD = 3 /* its end of the socket, inherited at this number */ };
enum { NET_PROBLEM_SIZE = 160 };

enum net_flag {
    /* The instance ends in order: take the addresses away, remove the gate, exit. A process whose keeper is just gone
     * exits and leaves all as it is, for a successor or for the kernel to end. */
    NET_END = 1,
};

struct net_order {
    uint16_t version; /* NET_PROTOCOL */
    uint16_t flags;   /* enum net_flag */
    uint32_t seq;
    uint64_t gate_until_us, primary_until_us, replica_until_us; /* struct lease_reach */
};
_Static_assert(sizeof(struct net_order) == 32, "the layout is the protocol: no padding, no pointers");

struct net_report {
    uint16_t version;
    uint16_t gate; /* enum keeper_gate */
    uint32_t seq;  /* of the last order that was read */
    uint16_t addresses, addresses_held;
    uint32_t address_conflicts;
    uint32_t shut; /* 1: of that order, nothing that was to be shut or taken away is still there; else 0 */
    char problem[NET_PROBLEM_SIZE]; /* why something is not as ordered, terminated; "" = all is well */
};
_Static_assert(sizeof(struct net_report) == 20 + NET_PROBLEM_SIZE, "the layout is the protocol");

/*
 * None of them waits. Return 0, -EAGAIN when the socket is full or empty, -ECONNRESET when the other end is gone,
 * -EBADMSG for what cannot be a message of this version.
 */
int net_send_order(int fd, const struct net_order *order, struct err *err);
int net_recv_order(int fd, struct net_order *ret, struct err *err);
int net_send_report(int fd, const struct net_report *report, struct err *err);
int net_recv_report(int fd, struct net_report *ret, struct err *err);
