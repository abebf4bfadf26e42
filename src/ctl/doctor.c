#include "ctl/doctor.h"
#include <stdarg.h>

static const struct option longs[] = {{"help", no_argument, NULL, 'h'}, {0}};

void doctor_topic(const char *topic)
{
    printf("%s\n", topic);
}

__attribute__((format(printf, 3, 0))) static void say(const char *verdict, const char *hint, const char *fmt,
                                                      va_list ap)
{
    printf("  %-5s ", verdict);
    (void)vprintf(fmt, ap);
    printf("\n");
    if (hint)
        printf("        HINT:  %s\n", hint);
    (void)fflush(stdout);
}

void doctor_good(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    say("ok", NULL, fmt, ap);
    va_end(ap);
}

void doctor_doubt(struct doctor *d, const char *hint, const char *fmt, ...)
{
    va_list ap;

    d->doubtful++;
    va_start(ap, fmt);
    say("warn", hint, fmt, ap);
    va_end(ap);
}

void doctor_bad(struct doctor *d, const char *hint, const char *fmt, ...)
{
    va_list ap;

    d->bad++;
    va_start(ap, fmt);
    say("BAD", hint, fmt, ap);
    va_end(ap);
}

int cmd_doctor(struct ctl *ctl, int argc, char **argv)
{
    static const struct ctl_options options = {":h", longs};
    struct doctor d = {.ctl = ctl};
    int exit_code;

    (void)ctl_next_option(argc, argv, &options, &exit_code);
    if (exit_code >= 0)
        return exit_code;
    if (argv[optind])
        return ctl_usage(argv[0], "unexpected argument \"%s\"", argv[optind]);
    if (ctl_open_config(ctl) < 0)
        return EXIT_FAILED;
    doctor_topic("Store");
    doctor_look_at_store(&d);
    doctor_topic("Settings");
    doctor_look_at_settings(&d);
    if (d.view.cluster) {
        doctor_topic("Members");
        doctor_look_at_members(&d);
    }
    doctor_topic("This host");
    doctor_look_at_host(&d);
    ctl_view_done(&d.view);
    printf("%u bad, %u doubtful\n", d.bad, d.doubtful);
    return d.bad ? EXIT_FAILED : EXIT_DONE;
}
