/* The agent's main program: reads the configuration, wires agent and REST server, runs the loop. Started by pgtetherd.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>
#include "agent/agent.h"
#include "agent/confine.h"
#include "api/api.h"
#include "base/log.h"
#include "base/text.h"
#include "config.h"
#include "config/config.h"
#include "fence/protocol.h"

enum mode { MODE_RUN, MODE_CHECK, MODE_KEEPER_CONFIG };

struct arguments {
    const char *config_path;
    enum mode mode;
};

static void usage(FILE *out)
{
    fputs("usage: pgtether-agent -c FILE [--check-config | --print-keeper-config]\n"
          "       pgtether-agent --check-config FILE\n"
          "The agent is started by pgtetherd, which passes it the socket to the keeper.\n",
          out);
}

/* 0 = go on, 1 = done, -EINVAL = wrong words. */
static int parse_arguments(int argc, char **argv, struct arguments *ret)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'},
        {"check-config", no_argument, NULL, 'k'},
        {"print-keeper-config", no_argument, NULL, 'p'},
        {"version", no_argument, NULL, 'V'},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    int c;

    while ((c = getopt_long(argc, argv, "c:hV", options, NULL)) != -1) {
        switch (c) {
        case 'c':
            ret->config_path = optarg;
            break;
        case 'k':
            ret->mode = MODE_CHECK;
            break;
        case 'p':
            ret->mode = MODE_KEEPER_CONFIG;
            break;
        case 'V':
            puts(PACKAGE_STRING);
            return 1;
        case 'h':
            usage(stdout);
            return 1;
        default:
            return -EINVAL;
        }
    }
    if (!ret->config_path && optind < argc)
        ret->config_path = argv[optind++];
    return ret->config_path && optind == argc ? 0 : -EINVAL;
}

static int load(const char *path, struct config **ret)
{
    struct config_problems problems = {0};
    struct err err = {0};
    int r = config_load(path, ret, &problems, &err);
    char *text = problems.n ? config_problems_text(&problems) : NULL;

    if (text)
        fputs(text, stderr);
    free(text);
    if (r < 0 && !problems.has_errors)
        fprintf(stderr, "%s\n", err.msg);
    config_problems_done(&problems);
    return r;
}

static void print_keeper_config(const struct config *c)
{
    static const char *const modes[] = {"off", "automatic", "required"};
    static const char *const gate_modes[] = {"off", "automatic", "nftables"};

    printf("scope=%s\nname=%s\ndata_dir=%s\nrun_dir=%s\n", c->scope, c->name, c->postgresql.data_dir,
           c->postgresql.run_dir);
    printf("watchdog_mode=%s\nwatchdog_device=%s\n", modes[c->watchdog.mode], c->watchdog.device);
    printf("watchdog_timeout_us=%" PRIu64 "\nwatchdog_reset_us=%" PRIu64 "\n", c->watchdog.timeout_us,
           c->watchdog.reset_time_us);
    printf("gate_mode=%s\npg_port=%u\n", gate_modes[c->gate.mode], c->postgresql.listen_port);
    printf("state_dir=%s\n", c->state_dir);
    printf("log_level=%s\n", c->log.level);
    for (size_t i = 0; i < c->n_vips; i++)
        printf("vip=%s,%s,%s,%s\n", c->vips[i].for_replica ? "replica" : "primary", c->vips[i].interface,
               c->vips[i].label, c->vips[i].address);
}

/*
 * One agent per data directory: the lock is held as long as this process lives, its pid inside tells a successor keeper
 * whom to remove.
 */
static int take_lock(struct err *err)
{
    const char *run_dir = getenv("PGTETHER_RUN_DIR");
    char path[512];
    int fd;

    if (!run_dir || !text_print(path, sizeof(path), "%s/agent.lock", run_dir))
        return err_set(err, -EINVAL, "PGTETHER_RUN_DIR is not set: the agent is started by pgtetherd");
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0)
        return err_sys(err, -errno, "could not open \"%s\"", path);
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        (void)close(fd);
        return err_set(err, -EBUSY, "another agent holds \"%s\"", path);
    }
    if (ftruncate(fd, 0) < 0 || dprintf(fd, "%d\n", (int)getpid()) < 0)
        return err_sys(err, -errno, "could not write \"%s\"", path);
    return 0; /* kept open on purpose */
}

/* A small process: give memory back instead of keeping it for later. */
static void tame_malloc(void)
{
    (void)mallopt(M_ARENA_MAX, 1);
    (void)mallopt(M_TRIM_THRESHOLD, 64 * 1024);
    (void)mallopt(M_MMAP_THRESHOLD, 64 * 1024);
}

static int run(const struct config *config)
{
    CLEANUP(agent_freep) struct agent *agent = NULL;
    CLEANUP(api_freep) struct api *api = NULL;
    struct api_hooks hooks = {.status = agent_status, .command = agent_command};
    struct err err = {0};
    sd_event *loop = NULL;
    sigset_t signals;
    int r;

    (void)sigemptyset(&signals);
    (void)sigaddset(&signals, SIGTERM);
    (void)sigaddset(&signals, SIGHUP);
    (void)sigaddset(&signals, SIGCHLD);
    (void)sigprocmask(SIG_BLOCK, &signals, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    r = take_lock(&err);
    if (r < 0) {
        log_error("%s", err.msg);
        return r == -EBUSY ? AGENT_EXIT_RETRY : AGENT_EXIT_CONFIG;
    }
    r = sd_event_default(&loop);
    if (r >= 0)
        r = agent_new(loop, config, KEEPER_AGENT_FD, &agent, &err);
    if (r >= 0) {
        hooks.userdata = agent;
        r = api_new(loop, config, &hooks, &api, &err);
    }
    if (r < 0) {
        log_error("could not start: %s", err.msg[0] ? err.msg : strerror(-r));
        return AGENT_EXIT_CONFIG;
    }
    log_info("%s: member \"%s\" of cluster \"%s\"", PACKAGE_STRING, config->name, config->scope);
    r = sd_event_loop(loop);
    api = api_free(api);
    agent = agent_free(agent);
    sd_event_unref(loop);
    return r < 0 ? AGENT_EXIT_RETRY : r;
}

int main(int argc, char **argv)
{
    CLEANUP(config_freep) struct config *config = NULL;
    struct arguments arguments = {0};
    struct err err = {0};
    int r = parse_arguments(argc, argv, &arguments);

    if (r > 0)
        return 0;
    if (r < 0) {
        usage(stderr);
        return 2;
    }
    tame_malloc();
    if (load(arguments.config_path, &config) < 0)
        return AGENT_EXIT_CONFIG;
    switch (arguments.mode) {
    case MODE_CHECK:
        puts("the configuration is valid");
        return 0;
    case MODE_KEEPER_CONFIG:
        print_keeper_config(config);
        return 0;
    case MODE_RUN:
        break;
    }
    r = log_level_from_name(config->log.level);
    log_open(STDERR_FILENO, log_format_of_stderr(), r < 0 ? LOG_LEVEL_INFO : (enum log_level)r);
    if (log_format_of_stderr() == LOG_FORMAT_SYSLOG)
        (void)log_open_journal(LOG_JOURNAL_SOCKET, "pgtether-agent", config->scope, config->name);
    /* PostgreSQL's programs complain, in the middle of their output, about a directory they may not enter (/root). */
    if (chdir("/") < 0)
        log_warning("could not change to directory \"/\": %m");
    if (confine(&err) < 0)
        log_warning("%s", err.msg);
    return run(config);
}
