#include "fence/netlink.h"
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

int netlink_open(int protocol, struct err *err)
{
    const struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
    int one = 1, r, fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);

    if (fd < 0)
        return err_sys(err, -errno, "could not open a netlink socket");
    /* An error then comes back without the request: small and of one size. Both are refinements, older kernels go on.
     */
    (void)setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &one, sizeof(one));
    /* Connected to the kernel, which alone may answer: other processes' datagrams are not accepted (netlink(7)). */
    if (connect(fd, (const struct sockaddr *)&kernel, sizeof(kernel)) < 0) {
        r = err_sys(err, -errno, "could not connect to netlink");
        (void)close(fd);
        return r;
    }
    return fd;
}

/* --- building -------------------------------------------------------------------------------------------------------
 */

static void append(struct netlink_buffer *b, const void *data, size_t size)
{
    size_t aligned = NLMSG_ALIGN(size);

    if (b->overflow || b->size - b->len < aligned) {
        b->overflow = true;
        return;
    }
    memset(b->data + b->len, 0, aligned);
    if (size)
        memcpy(b->data + b->len, data, size);
    b->len += aligned;
}

size_t netlink_begin(struct netlink_buffer *b, uint16_t type, uint16_t flags, uint32_t seq, const void *body,
                     size_t body_size)
{
    const struct nlmsghdr header = {.nlmsg_type = type, .nlmsg_flags = flags | NLM_F_REQUEST, .nlmsg_seq = seq};
    size_t at = b->len;

    append(b, &header, sizeof(header));
    append(b, body, body_size);
    return at;
}

void netlink_end(struct netlink_buffer *b, size_t message_at)
{
    uint32_t len = (uint32_t)(b->len - message_at);

    if (!b->overflow)
        memcpy(b->data + message_at + offsetof(struct nlmsghdr, nlmsg_len), &len, sizeof(len));
}

size_t netlink_put(struct netlink_buffer *b, uint16_t type, const void *payload, size_t size)
{
    const struct nlattr header = {.nla_type = type, .nla_len = (uint16_t)(NLA_HDRLEN + size)};
    size_t at;

    append(b, &header, sizeof(header));
    at = b->len;
    append(b, payload, size);
    return at;
}

size_t netlink_nest(struct netlink_buffer *b, uint16_t type)
{
    return netlink_put(b, type | NLA_F_NESTED, NULL, 0) - NLA_HDRLEN;
}

void netlink_nest_end(struct netlink_buffer *b, size_t nest_at)
{
    uint16_t len = (uint16_t)(b->len - nest_at);

    if (!b->overflow)
        memcpy(b->data + nest_at + offsetof(struct nlattr, nla_len), &len, sizeof(len));
}

/* --- talking --------------------------------------------------------------------------------------------------------
 */

int netlink_send(int fd, const void *data, size_t len, struct err *err)
{
    ssize_t n = send(fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);

    if (n < 0)
        return err_sys(err, -errno, "could not send to the kernel");
    return (size_t)n == len ? 0 : err_set(err, -EMSGSIZE, "the kernel took only a part of a request");
}

int netlink_receive(int fd, void *dst, size_t size, struct err *err)
{
    ssize_t n = recv(fd, dst, size, MSG_DONTWAIT | MSG_TRUNC);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return -EAGAIN;
    if (n < 0)
        return err_sys(err, -errno, "could not receive from the kernel");
    return (size_t)n <= size ? (int)n : err_set(err, -EMSGSIZE, "the kernel's answer of %zd bytes is too long", n);
}

static int judge(const struct nlmsghdr *h, uint32_t seq, unsigned *acked)
{
    const struct nlmsgerr *e = NLMSG_DATA(h);

    if (h->nlmsg_type != NLMSG_ERROR || h->nlmsg_len < NLMSG_LENGTH(sizeof(*e)))
        return 0;
    if (e->error == 0 && h->nlmsg_seq == seq)
        (*acked)++;
    return e->error;
}

int netlink_results(int fd, uint32_t seq, unsigned *ret_acked, struct err *err)
{
    _Alignas(struct nlmsghdr) char buf[4096];
    unsigned acked = 0;
    int n, r = 0;

    while ((n = netlink_receive(fd, buf, sizeof(buf), r == 0 ? err : NULL)) >= 0) {
        const struct nlmsghdr *h = (const void *)buf;

        for (int left = n; netlink_ok(h, left); h = NLMSG_NEXT(h, left)) {
            int result = judge(h, seq, &acked);

            if (result < 0 && r == 0)
                r = err_sys(err, result, "the kernel refused a request");
        }
    }
    *ret_acked = acked;
    if (n != -EAGAIN && r == 0)
        r = n;
    return r;
}

const struct nlattr *netlink_find(const void *attributes, size_t len, uint16_t type, size_t least_size)
{
    const char *p = attributes;

    while (len >= NLA_HDRLEN) {
        const struct nlattr *a = (const void *)p;
        size_t step = NLA_ALIGN((size_t)a->nla_len);

        if (a->nla_len < NLA_HDRLEN || a->nla_len > len)
            return NULL;
        if ((a->nla_type & NLA_TYPE_MASK) == type)
            return a->nla_len >= NLA_HDRLEN + least_size ? a : NULL;
        if (step >= len)
            return NULL;
        p += step;
        len -= step;
    }
    return NULL;
}
