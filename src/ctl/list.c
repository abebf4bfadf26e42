#include <time.h>
#include <unistd.h>
#include "base/clock.h"
#include "ctl/ctl.h"
#include "ctl/members.h"
#include "ctl/watch.h"

struct list_options {
    enum report_format format;
    bool extended, timestamp;
    uint64_t interval_us; /* 0 = once */
};

static const struct option list_longs[] = {
    {"extended", no_argument, NULL, 'e'},     {"timestamp", no_argument, NULL, 't'},
    {"format", required_argument, NULL, 'f'}, {"watch", required_argument, NULL, 'w'},
    {"help", no_argument, NULL, 'h'},         {0}};
static const struct option topology_longs[] = {
    {"watch", required_argument, NULL, 'w'}, {"help", no_argument, NULL, 'h'}, {0}};

/* Returns -1, or an exit code when there is nothing left to do. */
static int parse_list_options(int argc, char **argv, const struct ctl_options *options, struct list_options *o)
{
    int option, exit_code;

    while ((option = ctl_next_option(argc, argv, options, &exit_code)) != -1) {
        switch (option) {
        case 'e':
            o->extended = true;
            break;
        case 't':
            o->timestamp = true;
            break;
        case 'f':
            if (!report_format_from_text(optarg, &o->format))
                return ctl_usage(argv[0], "there is no format \"%s\"", optarg);
            break;
        case 'W':
        case 'w':
            if (!watch_option(option, optarg, &o->interval_us))
                return ctl_usage(argv[0], WATCH_EXPECTED, optarg);
        }
    }
    return exit_code;
}

/* Returns 0 or -ENOMEM. */
static int print_view(const struct ctl_view *view, const char *scope, const struct list_options *o, struct textbuf *out)
{
    struct members_view v = {view->cluster, scope, view->sync_mode, view->paused, o->extended, (int64_t)time(NULL)};
    struct report report = {0};
    int r = members_report(&v, o->format, &report);

    if (r < 0)
        return r;
    report_print(out, &report, o->format);
    if (o->format == REPORT_PRETTY || o->format == REPORT_TOPOLOGY)
        members_notes(out, &v);
    report_done(&report);
    return 0;
}

static int print_cluster(struct ctl *ctl, const char *scope, const struct list_options *o, struct textbuf *out,
                         struct err *err)
{
    struct ctl_view view = {0};
    int r = ctl_read_cluster(ctl, scope, &view, err);

    if (r >= 0) {
        r = print_view(&view, scope, o, out);
        if (r < 0)
            (void)err_set(err, r, "out of memory");
    }
    ctl_view_done(&view);
    return r;
}

int ctl_show_members(const struct ctl_view *v, const char *scope, enum report_format format)
{
    const struct list_options o = {.format = format};
    struct textbuf out = {0};

    out.failed = print_view(v, scope, &o, &out) < 0;
    return ctl_print(&out);
}

/* All clusters once; the names are those given, else the scope of the configuration. */
static int list_once(struct ctl *ctl, const struct list_options *o, char **names, struct textbuf *out)
{
    char *own[] = {ctl->config->scope, NULL};
    char now[CTL_TIMESTAMP_SIZE];
    int exit_code = EXIT_DONE;

    if (o->timestamp) {
        ctl_timestamp(now, sizeof(now), 0);
        textbuf_printf(out, "%s\n", now);
    }
    for (char **name = *names ? names : own; *name; name++) {
        struct err err = {0};

        if (print_cluster(ctl, *name, o, out, &err) < 0)
            exit_code = ctl_fail("%s", err.msg);
    }
    return exit_code;
}

static int list(struct ctl *ctl, const struct list_options *o, char **names)
{
    if (ctl_open_config(ctl) < 0)
        return EXIT_FAILED;
    for (;;) {
        uint64_t began_us = clock_now_us();
        struct textbuf out = {0};
        int exit_code;

        /* The old picture stays until the new one is there: nothing flickers while the store takes its time. */
        exit_code = list_once(ctl, o, names, &out);
        if (o->interval_us && isatty(STDOUT_FILENO) && exit_code == EXIT_DONE)
            (void)fputs("\033[H\033[2J", stdout);
        if (ctl_print(&out) != EXIT_DONE)
            return EXIT_FAILED;
        if (!o->interval_us)
            return exit_code;
        ctl_sleep_us(clock_rest_us(clock_now_us(), began_us + o->interval_us));
    }
}

int cmd_list(struct ctl *ctl, int argc, char **argv)
{
    static const struct ctl_options options = {":etf:Ww:h", list_longs};
    struct list_options o = {.format = REPORT_PRETTY};
    int exit_code = parse_list_options(argc, argv, &options, &o);

    return exit_code >= 0 ? exit_code : list(ctl, &o, argv + optind);
}

int cmd_topology(struct ctl *ctl, int argc, char **argv)
{
    static const struct ctl_options options = {":Ww:h", topology_longs};
    struct list_options o = {.format = REPORT_TOPOLOGY};
    int exit_code = parse_list_options(argc, argv, &options, &o);

    return exit_code >= 0 ? exit_code : list(ctl, &o, argv + optind);
}
