#include "fence/sockets.h"
#include <arpa/inet.h>
#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include "fence/netlink.h"

enum {
    DATAGRAM_SIZE = 16384, /* the kernel fills 4 to 8 kB */
    /* Who may still have something to say. A listener is not a connection, TIME_WAIT has nothing in its hands. */
    STATES = 1 << TCP_ESTABLISHED | 1 << TCP_FIN_WAIT1 | 1 << TCP_FIN_WAIT2 | 1 << TCP_CLOSE_WAIT | 1 << TCP_LAST_ACK |
             1 << TCP_CLOSING,
    ROUNDS_MAX = 2,
};

static int family_of(const struct sockets *s)
{
    return s->ipv6 ? AF_INET6 : AF_INET;
}

static void start_round(struct sockets *s)
{
    s->dumping = s->ipv6 = false;
    s->found = s->destroyed = 0;
}

/* The kernel compares the port itself (least and most are the same), so that a busy host costs no more than an idle. */
static int ask_for_list(struct sockets *s, struct err *err)
{
    const struct inet_diag_req_v2 body = {
        .sdiag_family = (uint8_t)family_of(s), .sdiag_protocol = IPPROTO_TCP, .idiag_states = STATES};
    /* Offsets in bytes: true goes on, and to the very end means yes; false jumps beyond the end, which means no. */
    const struct inet_diag_bc_op program[] = {{.code = INET_DIAG_BC_S_GE, .yes = 8, .no = 20},
                                              {.no = s->port},
                                              {.code = INET_DIAG_BC_S_LE, .yes = 8, .no = 12},
                                              {.no = s->port}};
    _Alignas(struct nlmsghdr) char data[256];
    struct netlink_buffer b = {.data = data, .size = sizeof(data)};
    size_t at = netlink_begin(&b, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, 0, &body, sizeof(body));

    (void)netlink_put(&b, INET_DIAG_REQ_BYTECODE, program, sizeof(program));
    netlink_end(&b, at);
    return netlink_send(s->dump_fd, data, b.len, err);
}

/* Returns 0 also for one that is gone meanwhile: the cookie sees to it that no other is taken for it. */
static int destroy(struct sockets *s, uint8_t family, const struct inet_diag_sockid *id, struct err *err)
{
    const struct inet_diag_req_v2 body = {
        .sdiag_family = family, .sdiag_protocol = IPPROTO_TCP, .idiag_states = STATES, .id = *id};
    _Alignas(struct nlmsghdr) char data[128];
    struct netlink_buffer b = {.data = data, .size = sizeof(data)};
    struct err why = {0};
    unsigned acked;
    int r;

    netlink_end(&b, netlink_begin(&b, SOCK_DESTROY, NLM_F_ACK, 0, &body, sizeof(body)));
    r = netlink_send(s->destroy_fd, data, b.len, &why);
    if (r == 0)
        r = netlink_results(s->destroy_fd, 0, &acked, &why);
    if (r == -ENOENT || r == -ESTALE)
        return 0;
    if (r < 0) {
        (void)err_prefix(&why, "could not destroy a connection of PostgreSQL");
        if (err)
            *err = why;
    }
    return r;
}

static bool is_local(const struct inet_diag_msg *m)
{
    const struct inet_diag_sockid *id = &m->id;
    struct in6_addr peer;

    if (m->idiag_family == AF_INET)
        return ntohl(id->idiag_dst[0]) >> 24 == IN_LOOPBACKNET || id->idiag_src[0] == id->idiag_dst[0];
    memcpy(&peer, id->idiag_dst, sizeof(peer));
    if (IN6_IS_ADDR_V4MAPPED(&peer) && peer.s6_addr[12] == IN_LOOPBACKNET)
        return true;
    return IN6_IS_ADDR_LOOPBACK(&peer) || memcmp(id->idiag_src, id->idiag_dst, sizeof(peer)) == 0;
}

static bool is_meant(const struct sockets *s, const struct inet_diag_msg *m)
{
    if (!s->only_family)
        return true;
    return m->idiag_family == s->only_family &&
           memcmp(m->id.idiag_src, s->only, s->only_family == AF_INET ? sizeof(struct in_addr) : sizeof(s->only)) == 0;
}

static int take(struct sockets *s, const struct nlmsghdr *h, struct err *err)
{
    const struct inet_diag_msg *m = NLMSG_DATA(h);
    int r;

    if (h->nlmsg_len < NLMSG_LENGTH(sizeof(*m)) || ntohs(m->id.idiag_sport) != s->port || is_local(m) ||
        !is_meant(s, m))
        return 0;
    s->found++;
    r = destroy(s, m->idiag_family, &m->id, err);
    if (r == 0) {
        s->destroyed++;
        s->total++;
    }
    return r;
}

/* Returns 1 at the end of the list, 0 if more follows, or -errno; the first failure does not spare the others. */
static int take_all(struct sockets *s, const char *data, int len, struct err *err)
{
    const struct nlmsghdr *h = (const void *)data;
    int r = 0, one;

    for (; netlink_ok(h, len); h = NLMSG_NEXT(h, len)) {
        if (h->nlmsg_type == NLMSG_DONE)
            return r < 0 ? r : 1;
        if (h->nlmsg_type == NLMSG_ERROR)
            return err_sys(err, ((const struct nlmsgerr *)NLMSG_DATA(h))->error, "could not list connections");
        if (h->nlmsg_type != SOCK_DIAG_BY_FAMILY)
            continue;
        one = take(s, h, r == 0 ? err : NULL);
        if (r == 0)
            r = one;
    }
    return r;
}

/*
 * A round that finds nothing ends the sweep. Kernels before 6.11 empty the queue of a socket without a process, but
 * keep it listed: what was destroyed twice has nothing left to say.
 */
static int end_round(struct sockets *s)
{
    bool all_gone = s->found == 0, all_destroyed = s->found == s->destroyed;

    start_round(s);
    if (all_gone || (all_destroyed && ++s->rounds >= ROUNDS_MAX)) {
        s->rounds = 0;
        return 0;
    }
    return 1;
}

int sockets_sweep(struct sockets *s, struct err *err)
{
    _Alignas(struct nlmsghdr) char data[DATAGRAM_SIZE];
    int r = 0;

    if (s->dump_fd < 0)
        return err_set(err, -EOPNOTSUPP, "this kernel cannot destroy connections");
    if (!s->dumping)
        r = ask_for_list(s, err);
    if (r == 0) {
        s->dumping = true;
        r = netlink_receive(s->dump_fd, data, sizeof(data), err);
    }
    if (r == -EAGAIN)
        return 1;
    if (r >= 0)
        r = take_all(s, data, r, err);
    if (r < 0) {
        /* What is left of the list waits in the socket; a new one would mix with it. */
        while (netlink_receive(s->dump_fd, data, sizeof(data), NULL) > 0)
            ;
        start_round(s);
        return r;
    }
    if (r == 0)
        return 1;
    s->dumping = false;
    if (s->ipv6)
        return end_round(s);
    s->ipv6 = true;
    return 1;
}

/* Returns 1 at the end of the list, 0 if more follows, or -errno. */
static int skip_list(const char *data, int len, struct err *err)
{
    const struct nlmsghdr *h = (const void *)data;

    for (; netlink_ok(h, len); h = NLMSG_NEXT(h, len)) {
        if (h->nlmsg_type == NLMSG_DONE)
            return 1;
        if (h->nlmsg_type == NLMSG_ERROR)
            return err_sys(err, ((const struct nlmsgerr *)NLMSG_DATA(h))->error, "could not list connections");
    }
    return 0;
}

/* Lists without destroying, which loads the modules it takes. */
static int probe_list(struct sockets *s, struct err *err)
{
    _Alignas(struct nlmsghdr) char data[DATAGRAM_SIZE];
    int r = ask_for_list(s, err);

    while (r == 0) {
        r = netlink_receive(s->dump_fd, data, sizeof(data), err);
        if (r == -EAGAIN)
            return err_set(err, r, "the kernel does not list connections");
        if (r >= 0)
            r = skip_list(data, r, err);
    }
    return r < 0 ? r : 0;
}

/* The question for a socket that cannot exist: an answer of "no such socket" says that the kernel has the call. */
static int probe(struct sockets *s, struct err *err)
{
    const struct inet_diag_sockid nobody = {.idiag_cookie = {INET_DIAG_NOCOOKIE, INET_DIAG_NOCOOKIE}};
    int r = probe_list(s, err);

    s->ipv6 = true;
    if (r == 0)
        r = probe_list(s, err);
    return r < 0 ? r : destroy(s, AF_INET, &nobody, err);
}

int sockets_open(struct sockets *s, uint16_t port, struct err *err)
{
    int r;

    *s = (struct sockets){.dump_fd = -1, .destroy_fd = -1, .port = port};
    s->dump_fd = netlink_open(NETLINK_SOCK_DIAG, err);
    if (s->dump_fd < 0)
        return s->dump_fd;
    s->destroy_fd = netlink_open(NETLINK_SOCK_DIAG, err);
    r = s->destroy_fd < 0 ? s->destroy_fd : probe(s, err);
    if (r < 0)
        sockets_close(s);
    start_round(s);
    return r;
}

void sockets_close(struct sockets *s)
{
    closep(&s->dump_fd);
    closep(&s->destroy_fd);
}
