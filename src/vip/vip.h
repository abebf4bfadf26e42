/*
 * Virtual addresses as kernel leases: an address is added with a lifetime that ends before the lease does, and renewed
 * with it. With the keeper frozen or dead the kernel removes it by itself (S3).
 *
 * One struct vips belongs to one process. Only vip_open() may wait and look around; afterwards nothing allocates, waits
 * for an answer or touches the disk: messages are built on the stack, sent and received with MSG_DONTWAIT, and whatever
 * fails becomes a state that is tried again. One thing no flag takes away: adding and removing an address needs the
 * kernel's rtnl lock, and send() waits for its present holder; so pgtether-net does this, not the keeper (S6).
 *
 * It needs CAP_NET_RAW to open and CAP_NET_ADMIN as long as it works: the kernel looks at the sender of every request.
 *
 * The caller polls vip_fds() for POLLIN until vip_next_us(), then calls vip_work(). Instants are CLOCK_BOOTTIME.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/core.h"
#include "vip/address.h"

enum {
    VIP_FDS = 4,
    VIP_ERROR_SIZE = 160,
    VIP_BUFFER_SIZE = 32768, /* the most the kernel puts into one answer of a dump */
};

enum vip_state {
    VIP_ABSENT,   /* not ours to hold */
    VIP_CLAIMING, /* asking the network whether somebody has it */
    VIP_HELD,
    VIP_CONFLICT, /* ours to hold, but somebody else answers for it; asked again every second */
    VIP_FAILED,   /* ours to hold, but it could not be added: see error; tried again */
};

struct vip_counters {
    uint32_t claims;        /* times it was taken */
    uint32_t foreign;       /* claims of others heard while we held or wanted it */
    uint32_t put_back;      /* removed or changed by somebody else while we held it */
    uint32_t announcements; /* each a gratuitous ARP request and reply, or a neighbour advertisement */
};

struct vip {
    /* for display */
    struct vip_settings settings;
    char text[ADDRESS_TEXT_SIZE]; /* "10.0.0.100/24" */
    enum vip_state state;
    struct vip_counters counters;
    char error[VIP_ERROR_SIZE]; /* why it is in conflict or failed; the last one, also after it is held again */

    /* internal: the right to hold it, 0 = none */
    uint64_t deadline_us;
    /* the interface as the kernel last described it; index 0 = there is none of that name */
    struct vip_link link;
    /* what the kernel has, and what may be left on another interface or with another prefix */
    bool in_kernel, seen, was_gone, is_troubled;
    uint32_t lifetime_s; /* as last asked for; set again at renew_at_us */
    uint32_t stray_index;
    uint8_t stray_prefix;
    /* when to do what; 0 = not at all */
    uint64_t retry_at_us, probe_at_us, put_at_us, remove_at_us, announce_at_us, stray_at_us, promote_at_us, renew_at_us;
    unsigned probes, announcements;
    /* when it was last done, for the limits of how often */
    uint64_t removed_us, put_back_us, defended_us, complained_us;
    uint32_t put_seq, remove_seq;
};

struct vips {
    struct vip vips[VIP_MAX];
    size_t n;
    int request_fd, event_fd; /* rtnetlink */
    int arp_fd, ndp_fd;       /* AF_PACKET, all interfaces */
    uint32_t seq, dump_seq;
    int dump_type; /* the dump whose answer is awaited, RTM_GETLINK or RTM_GETADDR; 0 = none */
    bool lost;     /* events were lost: ask for all of it */
    _Alignas(8) uint8_t buffer[VIP_BUFFER_SIZE];
};

/*
 * Opens the sockets and first of all removes what is left of our addresses on their interfaces. A predecessor's lease
 * that is still valid is resumed with primary_deadline_us (otherwise 0): addresses for the primary that are there then
 * stay, as held. n may be 0: then nothing is opened and all else does nothing. Returns 0, or -errno, with nothing left
 * open, when there can be no virtual addresses on this host, for lack of a privilege for instance. A missing interface
 * is no such reason: it is waited for. *v need not be initialised.
 */
int vip_open(struct vips *v, const struct vip_settings *settings, size_t n, uint64_t primary_deadline_us,
             struct err *err);
/* Closes the sockets. Addresses stay until their time is over: vip_drop() first, unless a successor resumes the lease.
 */
void vip_close(struct vips *v);

/*
 * The addresses for `who` may be held until deadline_us: those that are not held are claimed, the others renewed. Call
 * it with each new deadline. They are given up when vip_lifetime_s() says that no lifetime fits in: 1.43 s before it.
 */
void vip_hold(struct vips *v, enum vip_for who, uint64_t deadline_us);
/* Removed now, in this call, as far as the kernel lets us; otherwise tried again by vip_work(). */
void vip_drop(struct vips *v, enum vip_for who);

/* Nothing is held or wanted for `who`, and the kernel has none of these addresses any more. */
bool vip_has_dropped(const struct vips *v, enum vip_for who);

/* The descriptors to poll; VIP_FDS numbers, -1 where there is none, as poll() likes it. */
void vip_fds(const struct vips *v, int ret[VIP_FDS]);
/* Reads what has come in, at most a fixed number of messages, and does what is due. Never waits. */
void vip_work(struct vips *v);
/* The instant when vip_work() is due even if nothing comes in; UINT64_MAX = none. */
uint64_t vip_next_us(const struct vips *v);

/*
 * The lifetime in seconds to ask for, so that an address is gone when rest_us is over; 0 = it must be removed now. Less
 * than the rest, because the kernel removes it late: its check is rounded up by as much as HZ/4 to a full second
 * (ADDRCONF_TIMER_FUZZ), and the timer wheel fires late by up to 8/63 of the time that was set (kernel/time/timer.c).
 * While somebody calls vip_work(), it is renewed at half of it.
 */
uint32_t vip_lifetime_s(uint64_t rest_us);

const char *vip_state_text(enum vip_state state);
