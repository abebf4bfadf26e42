#include "fake_agent.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/text.h"

static int control_fd, lock_fd;

static void report(enum fake_event event, uint32_t pid, const struct keeper_answer *answer)
{
    struct fake_report r = {.event = event, .pid = pid};

    if (answer)
        r.answer = *answer;
    if (send(control_fd, &r, sizeof(r), MSG_NOSIGNAL) < 0)
        _exit(9); /* the test is gone */
}

static int print_config(const char *path)
{
    char text[8192];
    FILE *f = fopen(path, "r");
    size_t n;

    if (!f)
        return 78;
    n = fread(text, 1, sizeof(text), f);
    (void)fclose(f);
    if (n == 4 && memcmp(text, "bad\n", 4) == 0)
        return 78;
    return fwrite(text, 1, n, stdout) == n ? 0 : 1;
}

static void take_lock(void)
{
    const char *dir = getenv("PGTETHER_RUN_DIR");
    char path[1024], text[16];
    int len;

    if (!dir || !text_print(path, sizeof(path), "%s/agent.lock", dir))
        _exit(71);
    lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    /* Two agents at once would be a failure of the keeper; the test sees an agent that never says hello. */
    if (lock_fd < 0 || flock(lock_fd, LOCK_EX | LOCK_NB) < 0)
        _exit(75);
    len = snprintf(text, sizeof(text), "%d\n", (int)getpid());
    if (ftruncate(lock_fd, 0) < 0 || write(lock_fd, text, (size_t)len) != len)
        _exit(74);
}

static void connect_to_test(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *path = getenv("FAKE_AGENT_CONTROL");

    control_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (!path || !text_copy(address.sun_path, sizeof(address.sun_path), path) ||
        connect(control_fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
        _exit(72);
}

static void join_pg_group(void)
{
    const char *path = getenv("PGTETHER_CGROUP_PROCS");
    int fd = path ? open(path, O_WRONLY | O_CLOEXEC) : -1;

    if (path && (fd < 0 || write(fd, "0", 1) != 1))
        _exit(73);
    closep(&fd);
}

__attribute__((noreturn)) static void sleep_for_ever(void)
{
    for (;;)
        (void)poll(NULL, 0, -1);
}

/*
 * A postmaster as nasty as possible: it has a child, a grandchild in a session of its own, and an orphan whose parents
 * are gone.
 */
static pid_t start_postgres(const char *data_dir)
{
    int ready[2];
    char byte;
    pid_t pid;

    if (pipe2(ready, O_CLOEXEC) < 0)
        _exit(70);
    pid = fork();
    if (pid != 0) {
        (void)close(ready[1]);
        while (read(ready[0], &byte, 1) > 0)
            ;
        (void)close(ready[0]);
        return pid;
    }
    /* A real postmaster is executed, which closes these. */
    (void)close(KEEPER_AGENT_FD);
    (void)close(lock_fd);
    (void)close(control_fd);
    (void)setsid();
    join_pg_group();
    if (chdir(data_dir) < 0)
        _exit(70);
    if (fork() == 0) {
        if (fork() == 0) {
            (void)setsid();
            (void)signal(SIGTERM, SIG_IGN);
        }
        (void)close(ready[1]);
        sleep_for_ever();
    }
    if (fork() == 0) {
        if (fork() == 0) {
            (void)close(ready[1]);
            sleep_for_ever();
        }
        _exit(0); /* the grandchild is an orphan now, though one in the data directory */
    }
    (void)close(ready[1]);
    sleep_for_ever();
}

static void obey(const struct fake_order *o)
{
    int pidfd = -1;

    switch ((enum fake_command)o->command) {
    case FAKE_ASK:
        if (o->request.op == KEEPER_POSTMASTER && o->argument)
            pidfd = (int)syscall(SYS_pidfd_open, o->argument, 0);
        (void)keeper_ask(KEEPER_AGENT_FD, &o->request, pidfd, NULL);
        closep(&pidfd);
        break;
    case FAKE_SEND:
        (void)send(KEEPER_AGENT_FD, o->bytes, o->argument, MSG_NOSIGNAL);
        break;
    case FAKE_EXIT:
        _exit((int)o->argument);
    case FAKE_POSTGRES:
        report(FAKE_POSTGRES_RUNS, (uint32_t)start_postgres(o->bytes), NULL);
        break;
    case FAKE_HANG_UP:
        (void)close(KEEPER_AGENT_FD);
        break;
    }
}

static void pass_answer_on(struct pollfd *p)
{
    struct keeper_answer answer;
    int r = keeper_recv_answer(KEEPER_AGENT_FD, &answer, NULL);

    if (r == 0 && answer.seq == 0)
        return; /* unasked: the test asks when it wants to know */
    if (r == 0) {
        report(FAKE_ANSWER, (uint32_t)getpid(), &answer);
    } else if (r != -EAGAIN) {
        report(FAKE_KEEPER_GONE, (uint32_t)getpid(), NULL);
        p->fd = -1; /* a real agent goes on until the fence point */
    }
}

static int run(void)
{
    sigset_t mask;
    struct pollfd fds[3];

    (void)fcntl(KEEPER_AGENT_FD, F_SETFD, FD_CLOEXEC);
    take_lock();
    connect_to_test();
    (void)sigemptyset(&mask);
    (void)sigaddset(&mask, SIGTERM);
    (void)sigaddset(&mask, SIGHUP);
    (void)sigprocmask(SIG_BLOCK, &mask, NULL);
    fds[0] = (struct pollfd){.fd = control_fd, .events = POLLIN};
    fds[1] = (struct pollfd){.fd = KEEPER_AGENT_FD, .events = POLLIN};
    fds[2] = (struct pollfd){.fd = signalfd(-1, &mask, SFD_CLOEXEC), .events = POLLIN};
    report(FAKE_HELLO, (uint32_t)getpid(), NULL);
    for (;;) {
        struct signalfd_siginfo info;
        struct fake_order order;

        if (poll(fds, 3, -1) < 0)
            continue;
        if (fds[2].revents && read(fds[2].fd, &info, sizeof(info)) == sizeof(info))
            report(FAKE_SIGNAL, info.ssi_signo, NULL);
        if (fds[1].revents)
            pass_answer_on(&fds[1]);
        if (!fds[0].revents)
            continue;
        if (recv(control_fd, &order, sizeof(order), 0) != sizeof(order))
            return 9;
        obey(&order);
    }
}

int main(int argc, char *argv[])
{
    if (argc == 4 && text_equal(argv[3], "--print-keeper-config"))
        return print_config(argv[2]);
    if (argc == 3 && text_equal(argv[1], "--check-config"))
        return 42;
    return run();
}
