#include "fence/net.h"
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

static int send_all(int fd, const void *message, size_t size, const char *to, struct err *err)
{
    if (send(fd, message, size, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
        return 0;
    return err_sys(err, errno == EPIPE ? -ECONNRESET : -errno, "could not send to %s", to);
}

static int recv_all(int fd, void *message, size_t size, const char *from, struct err *err)
{
    ssize_t n = recv(fd, message, size, MSG_DONTWAIT | MSG_TRUNC); /* MSG_TRUNC: the true size, if larger */

    if (n < 0)
        return err_sys(err, errno == EPIPE ? -ECONNRESET : -errno, "could not receive from %s", from);
    if (n == 0)
        return err_set(err, -ECONNRESET, "%s closed its end", from);
    if ((size_t)n != size)
        return err_set(err, -EBADMSG, "unrecognized message of %zd bytes from %s", n, from);
    return 0;
}

int net_send_order(int fd, const struct net_order *order, struct err *err)
{
    return send_all(fd, order, sizeof(*order), "pgtether-net", err);
}

int net_recv_order(int fd, struct net_order *ret, struct err *err)
{
    struct net_order order;
    int r = recv_all(fd, &order, sizeof(order), "pgtetherd", err);

    if (r < 0)
        return r;
    if (order.version != NET_PROTOCOL)
        return err_set(err, -EBADMSG, "pgtetherd speaks version %u, not %d", (unsigned)order.version, NET_PROTOCOL);
    *ret = order;
    return 0;
}

int net_send_report(int fd, const struct net_report *report, struct err *err)
{
    return send_all(fd, report, sizeof(*report), "pgtetherd", err);
}

int net_recv_report(int fd, struct net_report *ret, struct err *err)
{
    struct net_report report;
    int r = recv_all(fd, &report, sizeof(report), "pgtether-net", err);

    if (r < 0)
        return r;
    if (report.version != NET_PROTOCOL || report.gate > KEEPER_GATE_FAILED || report.shut > 1 ||
        report.addresses_held > report.addresses || !memchr(report.problem, '\0', sizeof(report.problem)))
        return err_set(err, -EBADMSG, "unrecognized report from pgtether-net");
    *ret = report;
    return 0;
}
