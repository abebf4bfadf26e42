#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "node.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/text.h"
#include "fence/cgroup.h"

enum { PATIENCE_MS = 20000 };

static int listen_at(const char *path, int type)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

    assert_true(text_copy(address.sun_path, sizeof(address.sun_path), path));
    assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    if (type == SOCK_SEQPACKET)
        assert_int_equal(listen(fd, 8), 0);
    return fd;
}

static struct fake_watchdog *map_watchdog(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    void *map;

    assert_int_equal(ftruncate(fd, sizeof(struct fake_watchdog)), 0);
    map = mmap(NULL, sizeof(struct fake_watchdog), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_true(map != MAP_FAILED);
    closep(&fd);
    return map;
}

int node_setup(void **state)
{
    struct node *n = calloc(1, sizeof(*n));
    char path[128];

    assert_non_null(n);
    (void)text_copy(n->dir, sizeof(n->dir), "/tmp/fence.XXXXXX");
    assert_non_null(mkdtemp(n->dir));
    (void)text_print(n->data_dir, sizeof(n->data_dir), "%s/data", n->dir);
    (void)text_print(n->log, sizeof(n->log), "%s/keeper.log", n->dir);
    assert_int_equal(mkdir(n->data_dir, 0700), 0);
    /* In memory, as below /run. */
    (void)text_print(n->run_dir, sizeof(n->run_dir), "/dev/shm/%s", n->dir + 5);
    (void)text_print(path, sizeof(path), "%s/control", n->dir);
    n->listen_fd = listen_at(path, SOCK_SEQPACKET);
    (void)setenv("FAKE_AGENT_CONTROL", path, 1);
    (void)text_print(path, sizeof(path), "%s/notify", n->dir);
    n->notify_fd = listen_at(path, SOCK_DGRAM);
    (void)setenv("NOTIFY_SOCKET", path, 1);
    /* In memory, too: a write to a page of a file on a disk may wait for the disk, which a watchdog never does. */
    (void)text_print(path, sizeof(path), "%s.watchdog", n->run_dir);
    n->watchdog = map_watchdog(path);
    (void)setenv("FAKE_WATCHDOG", path, 1);
    n->agent_fd = n->store_fd = -1;
    n->settings = "watchdog_mode=off\n";
    *state = n;
    return 0;
}

static void show_log(const struct node *n)
{
    char line[1024];
    FILE *f = fopen(n->log, "r");

    while (f && fgets(line, sizeof(line), f))
        print_message("    %s", line);
    if (f)
        (void)fclose(f);
}

/* Calls f with the pid of every living process in the data directory. */
static int each_postgres(const struct node *n, void (*f)(pid_t pid))
{
    DIR *proc = opendir("/proc");
    struct dirent *e;
    int count = 0;

    assert_non_null(proc);
    while ((e = readdir(proc))) {
        char link[300], cwd[256];
        uint32_t pid;
        ssize_t len;

        if (!text_to_u32(e->d_name, &pid) || !text_print(link, sizeof(link), "/proc/%s/cwd", e->d_name))
            continue;
        len = readlink(link, cwd, sizeof(cwd) - 1);
        cwd[len < 0 ? 0 : len] = '\0';
        /* Seen from a chroot, a process in another mount namespace works below the outer root. */
        if (!strstr(cwd, n->data_dir))
            continue;
        count++;
        if (f)
            f((pid_t)pid);
    }
    (void)closedir(proc);
    return count;
}

static void kill_one(pid_t pid)
{
    (void)kill(pid, SIGKILL);
}

/* Opening and closing the groups of the node removes them, once they are empty. */
static void remove_groups(const struct node *n)
{
    static struct cgroups groups;

    if (cgroups_open(&groups, n->dir + 5, "node1", n->data_dir, geteuid(), getegid(), NULL) < 0)
        return;
    for (int i = 0; i < 1000 && cgroups_populated(&groups, CGROUP_NODE); i++) {
        (void)cgroups_kill(&groups, CGROUP_NODE, NULL);
        (void)poll(NULL, 0, 5);
    }
    cgroups_close(&groups);
}

void node_watch_closely(bool closely)
{
    struct sched_param param = {.sched_priority = closely ? sched_get_priority_min(SCHED_RR) : 0};

    (void)sched_setscheduler(0, (closely ? SCHED_RR : SCHED_OTHER) | SCHED_RESET_ON_FORK, &param);
}

int node_teardown(void **state)
{
    struct node *n = *state;
    char command[320];

    node_watch_closely(false);
    if (!n->passed)
        show_log(n);
    if (n->keeper) {
        (void)kill(n->keeper, SIGKILL);
        (void)waitpid(n->keeper, NULL, 0);
    }
    if (n->agent)
        (void)kill(n->agent, SIGKILL);
    (void)each_postgres(n, kill_one);
    remove_groups(n);
    closep(&n->agent_fd);
    closep(&n->listen_fd);
    closep(&n->notify_fd);
    closep(&n->store_fd);
    (void)munmap(n->watchdog, sizeof(*n->watchdog));
    (void)text_print(command, sizeof(command), "rm -rf '%s' '%s' '%s.watchdog'", n->dir, n->run_dir, n->run_dir);
    if (system(command) != 0)
        return -1;
    free(n);
    return 0;
}

static void beside_us(char *dst, size_t size, const char *name)
{
    char self[512];
    ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);

    assert_true(len > 0);
    self[len] = '\0';
    *strrchr(self, '/') = '\0';
    assert_true(text_print(dst, size, "%s/%s", self, name));
}

static void write_config(const struct node *n, char *path, size_t size)
{
    FILE *f;

    (void)text_print(path, size, "%s/config", n->dir);
    f = fopen(path, "w");
    assert_non_null(f);
    (void)fprintf(f, "scope=%s\nname=node1\ndata_dir=%s\nrun_dir=%s\nstate_dir=%s/state\nlog_level=debug\n%s",
                  n->dir + 5, n->data_dir, n->run_dir, n->dir, n->settings);
    (void)fclose(f);
}

/* What the agent of another user must reach: its program, its data directory, the socket to the test. */
static void open_to_user(const struct node *n, char *agent, size_t size)
{
    struct passwd *pw = getpwnam(n->user);
    char command[800], path[128];

    assert_non_null(pw);
    (void)text_print(command, sizeof(command), "cp --remove-destination '%s' '%s/fake_agent'", agent, n->dir);
    assert_int_equal(system(command), 0);
    (void)text_print(agent, size, "%s/fake_agent", n->dir);
    (void)text_print(path, sizeof(path), "%s/control", n->dir);
    assert_int_equal(chmod(path, 0777), 0);
    assert_int_equal(chmod(n->dir, 0755), 0);
    assert_int_equal(chown(n->data_dir, pw->pw_uid, pw->pw_gid), 0);
}

/* In the child: as a service manager passes on what it has kept. */
static void pass_stored(const struct node *n)
{
    char pid[16];

    if (n->store_fd < 0 || n->wrapper[0])
        return;
    (void)text_print(pid, sizeof(pid), "%d", (int)getpid());
    (void)setenv("LISTEN_PID", pid, 1);
    (void)setenv("LISTEN_FDS", "1", 1);
    (void)setenv("LISTEN_FDNAMES", "watchdog", 1);
    (void)dup2(n->store_fd, 3);
}

void node_start_keeper(struct node *n)
{
    char config[128], program[600], agent[600];
    const char *argv[16] = {NULL};
    struct passwd *pw = getpwuid(geteuid());
    size_t argc = 0;

    write_config(n, config, sizeof(config));
    beside_us(program, sizeof(program), "fake_keeper");
    beside_us(agent, sizeof(agent), "fake_agent");
    if (n->user)
        open_to_user(n, agent, sizeof(agent));
    while (argc < ARRAY_LEN(n->wrapper) && n->wrapper[argc]) {
        argv[argc] = n->wrapper[argc];
        argc++;
    }
    argv[argc++] = program;
    argv[argc++] = config;
    if (n->user)
        argv[argc++] = n->user;
    else
        argv[argc++] = pw && geteuid() == 0 ? pw->pw_name : "";
    argv[argc++] = agent;
    n->keeper = fork();
    if (n->keeper == 0) {
        int fd = open(n->log, O_WRONLY | O_CREAT | O_APPEND, 0600);

        (void)dup2(fd, STDERR_FILENO);
        pass_stored(n);
        (void)execvp(argv[0], (char *const *)(uintptr_t)argv);
        _exit(98);
    }
    assert_true(n->keeper > 0);
}

static void wait_readable(int fd, const char *what)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int r;

    do
        r = poll(&p, 1, PATIENCE_MS);
    while (r < 0 && errno == EINTR);
    if (r != 1)
        fail_msg("no %s within %d ms", what, PATIENCE_MS);
}

void node_wait_for_agent(struct node *n)
{
    struct fake_report r;
    int fd;

    wait_readable(n->listen_fd, "agent");
    fd = accept4(n->listen_fd, NULL, NULL, SOCK_CLOEXEC);
    assert_true(fd >= 0);
    closep(&n->agent_fd); /* only now: a stand-in that loses us ends */
    n->agent_fd = fd;
    r = node_report(n);
    assert_int_equal(r.event, FAKE_HELLO);
    n->agent = (pid_t)r.pid;
}

void node_start(struct node *n)
{
    node_start_keeper(n);
    node_wait_for_agent(n);
}

int node_wait_for_exit(struct node *n)
{
    uint64_t until_us = clock_now_us() + PATIENCE_MS * USEC_PER_MSEC;
    int status;

    while (waitpid(n->keeper, &status, WNOHANG) == 0) {
        if (clock_now_us() > until_us)
            fail_msg("the keeper does not end");
        node_read_notify(n);
        (void)poll(NULL, 0, 5);
    }
    n->keeper = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

bool node_log_says(const struct node *n, const char *text)
{
    char line[1024];
    FILE *f = fopen(n->log, "r");
    bool found = false;

    while (f && !found && fgets(line, sizeof(line), f))
        found = strstr(line, text) != NULL;
    if (f)
        (void)fclose(f);
    return found;
}

void node_wait_for_log(struct node *n, const char *text)
{
    uint64_t until_us = clock_now_us() + PATIENCE_MS * USEC_PER_MSEC;

    while (!node_log_says(n, text)) {
        if (clock_now_us() > until_us)
            fail_msg("the keeper does not say \"%s\"", text);
        (void)poll(NULL, 0, 2);
    }
}

static void serve_store(struct node *n, const char *message, int fd)
{
    if (text_starts_with(message, "FDSTORE=1\n") && strstr(message, "FDNAME=watchdog")) {
        closep(&n->store_fd);
        n->store_fd = fd;
        n->watchdog->in_store = 1;
        return;
    }
    if (text_starts_with(message, "FDSTOREREMOVE=1\n")) {
        n->watchdog->in_store = 0;
        closep(&n->store_fd);
    }
    closep(&fd); /* that of a barrier, too: so its sender learns that it was read */
}

/* Returns whether there was one. */
static bool read_message(struct node *n, char *message, size_t size)
{
    struct iovec iov = {.iov_base = message, .iov_len = size - 1};
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof(control.bytes)};
    ssize_t len = recvmsg(n->notify_fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    int fd = -1;

    if (len < 0)
        return false;
    message[len] = '\0';
    if (CMSG_FIRSTHDR(&msg))
        memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(fd));
    serve_store(n, message, fd);
    return true;
}

void node_read_notify(struct node *n)
{
    char message[1024];

    while (read_message(n, message, sizeof(message)))
        ;
}

void node_wait_for_notify(struct node *n, const char *text)
{
    char message[1024];

    do {
        wait_readable(n->notify_fd, text);
        assert_true(read_message(n, message, sizeof(message)));
    } while (!strstr(message, text));
}

void node_order(struct node *n, const struct fake_order *order)
{
    assert_int_equal(send(n->agent_fd, order, sizeof(*order), MSG_NOSIGNAL), sizeof(*order));
}

struct fake_report node_report(struct node *n)
{
    struct fake_report r;

    wait_readable(n->agent_fd, "report of the agent");
    if (recv(n->agent_fd, &r, sizeof(r), 0) != sizeof(r))
        fail_msg("the agent has ended");
    return r;
}

struct keeper_answer node_answer(struct node *n)
{
    struct fake_report r = node_report(n);

    assert_int_equal(r.event, FAKE_ANSWER);
    return r.answer;
}

struct keeper_answer node_ask(struct node *n, enum keeper_op op, uint64_t lease_id, uint64_t deadline_us, pid_t pid)
{
    struct fake_order order = {.command = FAKE_ASK, .argument = (uint32_t)pid};
    struct keeper_answer answer;

    order.request =
        (struct keeper_request){KEEPER_PROTOCOL, (uint16_t)op, ++n->seq, lease_id, deadline_us, (uint32_t)pid, 0};
    node_order(n, &order);
    answer = node_answer(n);
    assert_int_equal(answer.op, op);
    assert_int_equal(answer.seq, n->seq);
    return answer;
}

pid_t node_start_postgres(struct node *n)
{
    struct fake_order order = {.command = FAKE_POSTGRES};
    struct fake_report r;

    (void)text_copy(order.bytes, sizeof(order.bytes), n->data_dir);
    node_order(n, &order);
    r = node_report(n);
    assert_int_equal(r.event, FAKE_POSTGRES_RUNS);
    assert_int_equal(node_ask(n, KEEPER_POSTMASTER, 0, 0, (pid_t)r.pid).postmaster_pid, r.pid);
    assert_int_equal(node_count_postgres(n), 4);
    return (pid_t)r.pid;
}

void node_exit_agent(struct node *n, uint32_t status)
{
    struct fake_order order = {.command = FAKE_EXIT, .argument = status};

    node_order(n, &order);
}

void node_wait_until(bool (*condition)(struct node *n), struct node *n, const char *what)
{
    uint64_t until_us = clock_now_us() + PATIENCE_MS * USEC_PER_MSEC;

    while (!condition(n)) {
        if (clock_now_us() > until_us)
            fail_msg("waited in vain until %s", what);
        node_read_notify(n);
        (void)poll(NULL, 0, 2);
    }
}

int node_count_postgres(const struct node *n)
{
    return each_postgres(n, NULL);
}

bool node_process_lives(pid_t pid)
{
    char path[64], line[512], *state;
    FILE *f;

    (void)text_print(path, sizeof(path), "/proc/%d/stat", (int)pid);
    f = fopen(path, "r");
    if (!f)
        return false;
    state = fgets(line, sizeof(line), f) ? strrchr(line, ')') : NULL;
    (void)fclose(f);
    return state && state[2] != 'Z' && state[2] != 'X';
}
