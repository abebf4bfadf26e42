#include "fence/capabilities.h"
#include <errno.h>
#include <linux/capability.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BIT(cap) (UINT64_C(1) << (cap))

enum { CAP_BITS = 64 };

/* One line each, with its reason, in ARCHITECTURE.md and in the unit's CapabilityBoundingSet. */
static const uint64_t of_keeper = BIT(CAP_KILL) | BIT(CAP_SETUID) | BIT(CAP_SETGID) | BIT(CAP_SETPCAP) |
                                  BIT(CAP_SYS_PTRACE) | BIT(CAP_NET_ADMIN) | BIT(CAP_NET_RAW) | BIT(CAP_IPC_LOCK);

/* Without these a keeper that is root cannot end, or not even see, what an agent of another user has left. */
static const uint64_t of_killing = BIT(CAP_KILL) | BIT(CAP_SYS_PTRACE);

struct sets {
    uint64_t effective, permitted, inheritable;
};

static int get(struct sets *ret)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{0}};

    if (syscall(SYS_capget, &header, data) < 0)
        return -errno;
    ret->effective = (uint64_t)data[1].effective << 32 | data[0].effective;
    ret->permitted = (uint64_t)data[1].permitted << 32 | data[0].permitted;
    ret->inheritable = (uint64_t)data[1].inheritable << 32 | data[0].inheritable;
    return 0;
}

static int set_all(uint64_t caps)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {
        {.effective = (uint32_t)caps, .permitted = (uint32_t)caps},
        {.effective = (uint32_t)(caps >> 32), .permitted = (uint32_t)(caps >> 32)},
    };

    return syscall(SYS_capset, &header, data) < 0 ? -errno : 0;
}

/* What may still be gained by executing a program; fails, to no harm, without CAP_SETPCAP. */
static void bound_to(uint64_t keep)
{
    for (int cap = 0; cap < CAP_BITS && prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
        if (!(keep & BIT(cap)))
            (void)prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
}

static int keep_only(uint64_t keep, struct err *err)
{
    struct sets now;
    int r = get(&now);

    (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    if (r == 0)
        r = set_all(now.permitted & keep);
    return r < 0 ? err_sys(err, r, "could not give up capabilities") : 0;
}

int capabilities_of_keeper(bool other_owner, struct err *err)
{
    uint64_t keep = of_keeper | (other_owner ? BIT(CAP_DAC_OVERRIDE) : 0);
    struct sets now;
    int r;

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return err_sys(err, -errno, "could not forbid new privileges");
    bound_to(keep);
    r = keep_only(keep, err);
    if (r == 0 && geteuid() == 0 && get(&now) == 0 && (of_killing & ~now.permitted))
        return err_set(err, -EPERM,
                       "pgtetherd was started without CAP_KILL or CAP_SYS_PTRACE: what an earlier one has left running "
                       "may be overlooked");
    return r;
}

int capabilities_of_net(struct err *err)
{
    const uint64_t keep = BIT(CAP_NET_ADMIN) | BIT(CAP_NET_RAW);

    bound_to(keep);
    return keep_only(keep, err);
}

void capabilities_unbound(void)
{
    bound_to(0);
}

int capabilities_drop(struct err *err)
{
    struct sets left;
    int r = keep_only(0, err);

    if (r < 0)
        return r;
    r = get(&left);
    if (r < 0)
        return err_sys(err, r, "could not read capabilities");
    if (left.permitted | left.effective | left.inheritable)
        return err_set(err, -EPERM, "capabilities are left after they were given up");
    return 0;
}
