#include "fence/harden.h"
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>
#include "config.h"

enum { STACK_BYTES = 192 * 1024 };

__attribute__((noinline)) static void touch_stack(void)
{
    volatile char bytes[STACK_BYTES];

    for (size_t i = 0; i < sizeof(bytes); i += 1024)
        bytes[i] = 0;
}

int harden_memory(struct err *err)
{
#ifdef PGT_SANITIZED
    (void)touch_stack;
    return err_set(err, -ENOTSUP, "memory is not locked in a build with sanitizers");
#else
    if (mlockall(MCL_CURRENT | MCL_FUTURE) < 0)
        return err_sys(err, -errno, "could not lock memory");
    touch_stack();
    return 0;
#endif
}

int harden_scheduling(struct err *err)
{
    struct sched_param param = {.sched_priority = sched_get_priority_min(SCHED_RR)};

    if (sched_setscheduler(0, SCHED_RR | SCHED_RESET_ON_FORK, &param) == 0)
        return 0;
    if (errno == EPERM && geteuid() == 0)
        return err_set(err, -EPERM,
                       "could not get real-time priority: the control group has no real-time budget\n"
                       "HINT: Set cpu.rt_runtime_us, or switch CPU accounting off for this service.");
    return err_sys(err, -errno, "could not get real-time priority");
}

int harden_oom(struct err *err)
{
    CLEANUP(closep) int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

    if (fd < 0 || write(fd, "-1000", 5) < 0)
        return err_sys(err, -errno, "could not exempt the keeper from the out-of-memory killer");
    return 0;
}
