#include "vip/worker.h"
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/text.h"
#include "vip/vip_private.h"

enum { KINDS = 2 };

struct vip_worker_memory {
    _Atomic uint64_t deadline_us[KINDS]; /* by enum vip_for; 0 = drop. Written by the keeper only */
    _Atomic uint64_t word[KINDS];        /* counts what the keeper said */
    _Atomic uint64_t heard[KINDS];       /* the word that was obeyed last */
    struct vips vips;                    /* the worker's, once it runs */
};

/* --- the child ------------------------------------------------------------------------------------------------------
 */

static void obey(struct vip_worker_memory *m)
{
    for (int who = 0; who < KINDS; who++) {
        /* The word is read first: a newer deadline with an older word is obeyed once more, never missed. */
        uint64_t word = atomic_load(&m->word[who]), deadline_us = atomic_load(&m->deadline_us[who]);

        if (word == atomic_load(&m->heard[who]))
            continue;
        if (deadline_us)
            vip_hold(&m->vips, (enum vip_for)who, deadline_us);
        else
            vip_drop(&m->vips, (enum vip_for)who);
        atomic_store(&m->heard[who], word);
    }
}

static int rest_ms(uint64_t until_us)
{
    uint64_t rest_us = clock_rest_us(clock_now_us(), until_us);

    /* Rounded up, so that it does not come too early, and bounded for poll(). */
    return rest_us > 60 * USEC_PER_SEC ? 60 * 1000 : (int)((rest_us + USEC_PER_MSEC - 1) / USEC_PER_MSEC);
}

__attribute__((noreturn)) static void work(struct vip_worker_memory *m, int fd)
{
    struct pollfd p[VIP_FDS + 1];
    int fds[VIP_FDS];
    char bytes[64];

    for (;;) {
        vip_fds(&m->vips, fds);
        for (int i = 0; i < VIP_FDS; i++)
            p[i] = (struct pollfd){.fd = fds[i], .events = POLLIN};
        p[VIP_FDS] = (struct pollfd){.fd = fd, .events = POLLIN};
        (void)poll(p, VIP_FDS + 1, rest_ms(vip_next_us(&m->vips)));
        if (p[VIP_FDS].revents && recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT) == 0)
            _exit(0); /* the keeper is gone: its successor goes on with the lease, or the kernel ends it */
        obey(m);
        vip_work(&m->vips);
    }
}

static bool is_kept(const struct vips *v, int fd, int ours, int log_fd)
{
    return fd == ours || fd == log_fd || fd == v->request_fd || fd == v->event_fd || fd == v->arp_fd || fd == v->ndp_fd;
}

/* Not the watchdog, not the agent's socket: what the keeper has open is not held open by its child. */
static void close_others(const struct vips *v, int ours, int log_fd)
{
    const int kept[] = {ours, log_fd, v->request_fd, v->event_fd, v->arp_fd, v->ndp_fd};
    int last = STDERR_FILENO;

    for (size_t i = 0; i < ARRAY_LEN(kept); i++)
        last = kept[i] > last ? kept[i] : last;
    (void)syscall(SYS_close_range, last + 1, ~0U, 0);
    for (int fd = STDERR_FILENO + 1; fd < last; fd++)
        if (!is_kept(v, fd, ours, log_fd))
            (void)close(fd);
}

__attribute__((noreturn)) static void be_worker(struct vip_worker_memory *m, int fd, int log_fd)
{
    struct sched_param param = {.sched_priority = sched_get_priority_min(SCHED_RR)};

    (void)prctl(PR_SET_NAME, "pgtetherd-vip");
    for (int sig = 1; sig < NSIG; sig++)
        (void)signal(sig, SIG_IGN);
    close_others(&m->vips, fd, log_fd);
    /* Best effort, as in the keeper. Its memory is not locked: a late worker is what the kernel's lifetimes are for. */
    (void)sched_setscheduler(0, SCHED_RR | SCHED_RESET_ON_FORK, &param);
    work(m, fd);
}

/* --- the keeper -----------------------------------------------------------------------------------------------------
 */

static int start_child(struct vip_worker *w, int log_fd, struct err *err)
{
    int pair[2];
    pid_t pid;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
        return err_sys(err, -errno, "could not create a socket pair");
    pid = fork();
    if (pid == 0) {
        (void)close(pair[0]);
        be_worker(w->memory, pair[1], log_fd);
    }
    (void)close(pair[1]);
    w->fd = pair[0];
    if (pid < 0)
        return err_sys(err, -errno, "could not start the child that holds the virtual addresses");
    w->pid = pid;
    return 0;
}

int vip_worker_start(struct vip_worker *w, const struct vip_settings *settings, size_t n, uint64_t primary_deadline_us,
                     int log_fd, struct err *err)
{
    struct vips *v;
    void *memory;
    int r;

    *w = (struct vip_worker){.fd = -1};
    if (n == 0)
        return 0;
    memory = mmap(NULL, sizeof(*w->memory), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return err_sys(err, -errno, "could not map shared memory");
    w->memory = memory;
    v = &w->memory->vips;
    r = vip_open(v, settings, n, primary_deadline_us, err);
    if (r == 0) {
        r = start_child(w, log_fd, err);
        /* The numbers in shared memory are the child's. */
        (void)close(v->request_fd);
        (void)close(v->event_fd);
        if (v->arp_fd >= 0)
            (void)close(v->arp_fd);
        if (v->ndp_fd >= 0)
            (void)close(v->ndp_fd);
    }
    if (r < 0)
        vip_worker_stop(w);
    return r;
}

static void say(struct vip_worker *w, enum vip_for who, uint64_t deadline_us)
{
    if (!w->memory)
        return;
    atomic_store(&w->memory->deadline_us[who], deadline_us);
    atomic_fetch_add(&w->memory->word[who], 1);
    /* A full socket has woken it already. */
    (void)send(w->fd, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

void vip_worker_hold(struct vip_worker *w, enum vip_for who, uint64_t deadline_us)
{
    say(w, who, deadline_us);
}

void vip_worker_drop(struct vip_worker *w, enum vip_for who)
{
    say(w, who, 0);
}

bool vip_worker_has_dropped(const struct vip_worker *w, enum vip_for who)
{
    const struct vip_worker_memory *m = w->memory;

    if (!m)
        return true;
    if (atomic_load(&m->deadline_us[who]) != 0 || atomic_load(&m->heard[who]) != atomic_load(&m->word[who]))
        return false;
    for (size_t i = 0; i < m->vips.n; i++)
        if (m->vips.vips[i].settings.who == who && (m->vips.vips[i].state != VIP_ABSENT || m->vips.vips[i].in_kernel))
            return false;
    return true;
}

const struct vip *vip_worker_addresses(const struct vip_worker *w, size_t *ret_n)
{
    *ret_n = w->memory ? w->memory->vips.n : 0;
    return w->memory ? w->memory->vips.vips : NULL;
}

void vip_worker_died(struct vip_worker *w)
{
    size_t n = w->memory && w->pid ? w->memory->vips.n : 0;

    for (size_t i = 0; i < n; i++) { /* nobody else writes there any more */
        w->memory->vips.vips[i].state = VIP_FAILED;
        (void)text_copy(w->memory->vips.vips[i].error, VIP_ERROR_SIZE, "the process that holds it has ended");
    }
    w->pid = 0;
    closep(&w->fd);
}

void vip_worker_stop(struct vip_worker *w)
{
    w->pid = 0;
    closep(&w->fd);
    if (w->memory)
        (void)munmap(w->memory, sizeof(*w->memory));
    w->memory = NULL;
}
