#include "vip/socket.h"
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENT_BUFFER = 256 * 1024 };

static int open_netlink(uint32_t groups, struct err *err)
{
    struct sockaddr_nl self = {.nl_family = AF_NETLINK, .nl_groups = groups};
    CLEANUP(closep) int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
    int size = EVENT_BUFFER, yes = 1, taken;

    if (fd < 0)
        return err_sys(err, -errno, "could not open an rtnetlink socket");
    /* Best effort: more room for events, acknowledgements without a copy of the request. */
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
    (void)setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &yes, sizeof(yes));
    if (bind(fd, (struct sockaddr *)&self, sizeof(self)) < 0)
        return err_sys(err, -errno, "could not bind an rtnetlink socket");
    taken = fd;
    fd = -1;
    return taken;
}

int socket_open_requests(struct err *err)
{
    return open_netlink(0, err);
}

int socket_open_events(struct err *err)
{
    return open_netlink(RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR, err);
}

/*
 * Not bound to an interface, which may come and go: binding anew waits for the kernel's RCU grace period. The filter is
 * there before the protocol is, so that nothing gets in unfiltered.
 */
int socket_open_frames(uint8_t family, const struct vip_settings *s, size_t n, struct err *err)
{
    struct sock_filter filter[PACKET_FILTER_MAX];
    struct sock_fprog program = {.len = (unsigned short)packet_filter(filter, family, s, n), .filter = filter};
    struct sockaddr_ll all = {.sll_family = AF_PACKET,
                              .sll_protocol = htons(family == AF_INET ? ETH_P_ARP : ETH_P_IPV6)};
    CLEANUP(closep) int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int taken;

    if (fd < 0)
        return err_sys(err, -errno, "could not open a packet socket");
    if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) < 0)
        return err_sys(err, -errno, "could not filter a packet socket");
    if (bind(fd, (struct sockaddr *)&all, sizeof(all)) < 0)
        return err_sys(err, -errno, "could not bind a packet socket");
    taken = fd;
    fd = -1;
    return taken;
}

int socket_request(int fd, const struct address_request *request)
{
    struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};

    return sendto(fd, request->bytes, request->len, MSG_DONTWAIT | MSG_NOSIGNAL, (struct sockaddr *)&kernel,
                  sizeof(kernel)) < 0
               ? -errno
               : 0;
}

int socket_frame(int fd, uint32_t link, const struct packet *packet)
{
    struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_ifindex = (int)link, .sll_halen = ETH_ALEN};

    return sendto(fd, packet->bytes, packet->len, MSG_DONTWAIT | MSG_NOSIGNAL, (struct sockaddr *)&to, sizeof(to)) < 0
               ? -errno
               : 0;
}

int socket_next_message(int fd, void *buf, size_t size)
{
    for (;;) {
        struct sockaddr_nl from = {0};
        socklen_t from_size = sizeof(from);
        ssize_t n = recvfrom(fd, buf, size, MSG_DONTWAIT | MSG_TRUNC, (struct sockaddr *)&from, &from_size);

        if (n < 0)
            return errno == ENOBUFS ? -ENOBUFS : 0;
        if (n > 0 && from.nl_pid != 0)
            continue; /* any process may write to a netlink socket */
        return (size_t)n > size ? -ENOBUFS : (int)n;
    }
}

int socket_next_frame(int fd, void *buf, size_t size, uint32_t *ret_link)
{
    struct sockaddr_ll from = {0};
    socklen_t from_size = sizeof(from);
    ssize_t n = recvfrom(fd, buf, size, MSG_DONTWAIT, (struct sockaddr *)&from, &from_size);

    if (n <= 0)
        return 0; /* also after ENETDOWN, which says that some interface went away */
    *ret_link = from.sll_pkttype == PACKET_OUTGOING ? 0 : (uint32_t)from.sll_ifindex;
    return (int)n;
}
