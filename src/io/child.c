#include "io/child.h"
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/loop.h"
#include "base/text.h"
#include "io/capture.h"
#include "io/spawn.h"

#ifndef P_PIDFD /* glibc before 2.36 */
#define P_PIDFD 3
#endif

enum {
    LINGER_MS = 200,      /* how long we wait for the end of the output after the child has ended */
    READ_SIZE = 4096,     /* per wake-up, so that a talkative child does not keep us from other work */
    LAST_READS_MAX = 256, /* a full pipe (64 kB, at most 1 MB), when there is no time left */
};

struct child {
    sd_event *loop; /* borrowed: the sources hold it */
    struct spawned process;
    sd_event_source *exit_source, *output_source, *timer;
    struct capture *capture; /* NULL: its output goes to a file */
    void (*on_line)(void *userdata, const char *line);
    child_done_fn done;
    void *userdata;
    uint64_t timeout_us;
    bool exited;    /* a zombie: its pid and its group are still ours to signal */
    bool timed_out; /* we killed it */
    bool detached;  /* nobody holds us any more: we free ourselves */
    bool finished;  /* reaped, the pid may belong to somebody else */
};

/* Also takes back a source that child_detach() has left to the loop. */
static sd_event_source *drop_source(sd_event_source *source)
{
    if (source && sd_event_source_get_floating(source) > 0) {
        (void)sd_event_source_ref(source);
        (void)sd_event_source_set_floating(source, false);
        (void)sd_event_source_set_destroy_callback(source, NULL);
    }
    return loop_source_free(source);
}

static void drop_sources(struct child *c)
{
    c->exit_source = drop_source(c->exit_source);
    c->output_source = drop_source(c->output_source);
    c->timer = drop_source(c->timer);
}

static void release(struct child *c)
{
    drop_sources(c);
    spawned_done(&c->process);
    free(c->capture);
    free(c);
}

static void pass_line(void *userdata, const char *line)
{
    struct child *c = userdata;

    /* Asked anew for every line, because the callback may have freed or detached the child. */
    if (c->on_line)
        c->on_line(c->userdata, line);
}

/* Takes the child out of the process table; it has ended already, so this does not wait. */
static void reap(struct child *c, struct child_result *ret)
{
    siginfo_t info = {0};

    *ret = (struct child_result){.exit_code = -1, .timeout_us = c->timeout_us};
    if (waitid(P_PIDFD, (id_t)c->process.pidfd, &info, WEXITED | WNOHANG) < 0 || info.si_pid == 0)
        return; /* somebody ignores SIGCHLD or reaped our child: how it ended is lost */
    if (info.si_code == CLD_EXITED)
        ret->exit_code = info.si_status;
    else
        ret->signal = info.si_status;
    ret->timed_out = c->timed_out && ret->signal == SIGKILL;
}

/* The end: reaps, reports, and touches the child no more, for the callback may free it. */
static void finish(struct child *c)
{
    CLEANUP(freep) struct capture *capture = NULL;
    struct child_result result;
    struct err err = {0};

    if (c->capture)
        capture_end(c->capture, pass_line, c);
    reap(c, &result);
    c->finished = true;
    if (spawn_failed(&c->process, &err))
        result.start_error = err.code;
    /* Outlives the child, if that is freed by the callback. */
    capture = STEAL(c->capture);
    result.output = result.start_error ? err.msg : capture ? capture->tail : "";

    if (c->detached) {
        release(c);
        return;
    }
    drop_sources(c);
    spawned_done(&c->process);
    if (c->done)
        c->done(c->userdata, &result);
}

/* Returns false at the end of the output. */
static bool read_output(struct child *c, unsigned reads)
{
    char data[READ_SIZE];

    for (; reads > 0; reads--) {
        ssize_t n = read(c->process.output_fd, data, sizeof(data));

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return true;
        if (n <= 0)
            return false;
        capture_add(c->capture, data, (size_t)n, pass_line, c);
    }
    return true;
}

static int on_output(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
    struct child *c = userdata;

    (void)source;
    (void)fd;
    (void)events;
    if (read_output(c, 1))
        return 0;
    c->output_source = drop_source(c->output_source);
    if (c->exited)
        finish(c);
    return 0;
}

/* First the timeout of the child, later the end of our patience with whoever holds its output open. */
static int on_timer(sd_event_source *source, uint64_t at_us, void *userdata)
{
    struct child *c = userdata;

    (void)source;
    (void)at_us;
    if (c->exited) {
        /* When this process was stopped for a while, the output may still be waiting. */
        (void)read_output(c, LAST_READS_MAX);
        finish(c);
    } else {
        /* If it is a zombie already and we are late, this does nothing, and how it ended tells. */
        c->timed_out = true;
        child_signal(c, SIGKILL);
    }
    return 0;
}

/*
 * The child has ended. It stays a zombie until its output has ended, too: as long as it is one, its pid and process
 * group cannot be given to others, so signalling the group hits what the child left behind and nothing else.
 */
static int on_exit_of_child(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
    struct child *c = userdata;

    (void)fd;
    (void)events;
    c->exited = true;
    (void)sd_event_source_set_enabled(source, SD_EVENT_OFF);
    if (!c->output_source || c->detached) {
        finish(c);
        return 0;
    }
    /* If there is no memory for the timer, the rest of the output is not waited for. */
    if (loop_timer_at(c->loop, &c->timer, clock_now_us() + LINGER_MS * USEC_PER_MSEC, on_timer, c) < 0) {
        (void)read_output(c, LAST_READS_MAX);
        finish(c);
    }
    return 0;
}

static int watch(struct child *c, struct err *err)
{
    int r = sd_event_add_io(c->loop, &c->exit_source, c->process.pidfd, EPOLLIN, on_exit_of_child, c);

    if (r >= 0 && c->process.output_fd >= 0)
        r = sd_event_add_io(c->loop, &c->output_source, c->process.output_fd, EPOLLIN, on_output, c);
    if (r >= 0 && c->timeout_us > 0)
        r = loop_timer_at(c->loop, &c->timer, clock_now_us() + c->timeout_us, on_timer, c);
    return r < 0 ? err_sys(err, r, "could not watch a child process") : 0;
}

int child_start(sd_event *loop, const struct child_spec *spec, child_done_fn done, void *userdata, struct child **ret,
                struct err *err)
{
    CLEANUP(child_freep) struct child *c = NULL;
    int r;

    c = calloc(1, sizeof(*c));
    if (!c)
        return err_set(err, -ENOMEM, "out of memory");
    *c = (struct child){
        .loop = loop,
        .process = {.pidfd = -1, .error_fd = -1, .output_fd = -1},
        .on_line = spec->on_line,
        .done = done,
        .userdata = userdata,
        .timeout_us = spec->timeout_us,
        .finished = true, /* until there is a process */
    };
    if (!spec->output_path) {
        c->capture = calloc(1, sizeof(*c->capture));
        if (!c->capture)
            return err_set(err, -ENOMEM, "out of memory");
    }
    r = spawn(spec, &c->process, err);
    if (r < 0)
        return r;
    c->finished = false;
    r = watch(c, err);
    if (r < 0)
        return r;
    *ret = STEAL(c);
    return 0;
}

pid_t child_pid(const struct child *c)
{
    return c->process.pid;
}

void child_signal(struct child *c, int sig)
{
    if (c->finished)
        return;
    /* No such group: a child with a session of its own that has not come as far as setsid(). */
    if (kill(-c->process.pid, sig) < 0 && errno == ESRCH)
        (void)kill(c->process.pid, sig);
}

/* The loop is freed before the child ended. */
static void on_loop_gone(void *userdata)
{
    struct child *c = userdata;

    spawned_done(&c->process);
    free(c->capture);
    free(c);
}

/* Leaves a source to the loop, which frees it when it is freed itself; we keep a borrowed pointer. */
static void leave_source(sd_event_source *source)
{
    if (!source)
        return;
    (void)sd_event_source_set_floating(source, true);
    (void)sd_event_source_unref(source);
}

struct child *child_detach(struct child *c)
{
    sd_event *loop;

    if (!c)
        return NULL;
    if (c->finished || !c->exit_source) {
        release(c);
        return NULL;
    }
    c->done = NULL;
    c->on_line = NULL;
    if (!c->exited)
        c->timer = loop_source_free(c->timer);

    /* A source that floats gives up its reference to the loop, possibly the last one. */
    loop = sd_event_ref(c->loop);
    c->detached = true;
    (void)sd_event_source_set_destroy_callback(c->exit_source, on_loop_gone);
    leave_source(c->exit_source);
    leave_source(c->output_source);
    leave_source(c->timer);
    (void)sd_event_unref(loop);
    return NULL;
}

struct child *child_free(struct child *c)
{
    if (!c)
        return NULL;
    child_signal(c, SIGKILL);
    return child_detach(c);
}

const char *child_result_text(const struct child_result *r, char *buf, size_t size)
{
    const char *name = r->signal ? sigdescr_np(r->signal) : NULL;

    if (r->start_error)
        (void)text_print(buf, size, "could not be started");
    else if (r->timed_out && r->timeout_us % USEC_PER_SEC == 0)
        (void)text_print(buf, size, "timed out after %" PRIu64 " s", r->timeout_us / USEC_PER_SEC);
    else if (r->timed_out)
        (void)text_print(buf, size, "timed out after %" PRIu64 " ms", r->timeout_us / USEC_PER_MSEC);
    else if (r->signal)
        (void)text_print(buf, size, "signal %d (%s)", r->signal, name ? name : "unknown");
    else if (r->exit_code < 0)
        (void)text_print(buf, size, "unknown end");
    else
        (void)text_print(buf, size, "exit code %d", r->exit_code);
    return buf;
}
