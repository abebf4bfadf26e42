#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include "base/clock.h"
#include "ctl/ctl.h"
#include "io/http.h"

void ctl_done(struct ctl *ctl)
{
    ctl->http = http_free(ctl->http);
    ctl->config = config_free(ctl->config);
    ctl->loop = sd_event_unref(ctl->loop);
}

__attribute__((format(printf, 2, 0))) static void say(const char *severity, const char *fmt, va_list ap)
{
    (void)fflush(stdout);
    (void)fprintf(stderr, "pgtetherctl: %s: ", severity);
    (void)vfprintf(stderr, fmt, ap);
    (void)fputs("\n", stderr);
}

void ctl_warn(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    say("warning", fmt, ap);
    va_end(ap);
}

int ctl_fail(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    say("error", fmt, ap);
    va_end(ap);
    return EXIT_FAILED;
}

int ctl_usage(const char *command, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    say("error", fmt, ap);
    va_end(ap);
    (void)fprintf(stderr, "HINT:  \"pgtetherctl %s%s--help\" tells how it is used.\n", command ? command : "",
                  command ? " " : "");
    return EXIT_USAGE;
}

int ctl_print(struct textbuf *out)
{
    bool failed = out->failed;

    if (!failed)
        (void)fwrite(out->data, 1, out->len, stdout);
    textbuf_done(out);
    if (failed)
        return ctl_fail("out of memory");
    return fflush(stdout) == 0 ? EXIT_DONE : ctl_fail("could not write the output");
}

/* --- configuration ------------------------------------------------------------------------------------------------ */

static int is_conf(const struct dirent *entry)
{
    size_t len = strlen(entry->d_name), suffix = strlen(".conf");

    return entry->d_name[0] != '.' && len > suffix && strcmp(entry->d_name + len - suffix, ".conf") == 0;
}

int ctl_find_config(const char *directory, char **ret, struct err *err)
{
    struct dirent **entries = NULL;
    int n = scandir(directory, &entries, is_conf, alphasort);
    int r = 0;

    if (n < 0 && errno != ENOENT)
        return err_sys(err, -errno, "could not look for a configuration in \"%s\"", directory);
    if (n <= 0)
        r = err_set(err, -ENOENT, "no configuration in \"%s\"; name one with -c FILE", directory);
    else if (n > 1)
        r = err_set(err, -ENOTUNIQ, "several configurations in \"%s\" (\"%s\", \"%s\"%s); choose one with -c FILE",
                    directory, entries[0]->d_name, entries[1]->d_name, n > 2 ? ", …" : "");
    else if (asprintf(ret, "%s/%s", directory, entries[0]->d_name) < 0)
        r = err_set(err, -ENOMEM, "out of memory");
    for (int i = 0; i < n; i++)
        free(entries[i]);
    free(entries);
    return r;
}

static int load(struct ctl *ctl, const char *path)
{
    struct config_problems problems = {0};
    struct err err = {0};
    int r = config_load(path, &ctl->config, &problems, &err);

    if (r < 0 && problems.has_errors) {
        char *text = config_problems_text(&problems);

        /* The text has a line feed after each problem. */
        (void)ctl_fail("cannot use the configuration \"%s\"", path);
        (void)fputs(text ? text : "out of memory\n", stderr);
        free(text);
    } else if (r < 0) {
        (void)ctl_fail("%s", err.msg);
    }
    config_problems_done(&problems);
    return r;
}

int ctl_open_config(struct ctl *ctl)
{
    const char *path = ctl->config_path ? ctl->config_path : getenv("PGTETHERCTL_CONFIG_FILE");
    CLEANUP(freep) char *found = NULL;
    struct err err = {0};
    int r;

    if (ctl->config)
        return 0;
    if (!path || !*path) {
        r = ctl_find_config(PKGSYSCONFDIR, &found, &err);
        if (r < 0) {
            (void)ctl_fail("%s", err.msg);
            return r;
        }
        path = found;
    }
    r = load(ctl, path);
    if (r < 0)
        return r;
    r = sd_event_new(&ctl->loop);
    if (r < 0)
        (void)ctl_fail("could not create an event loop: %s", strerror(-r));
    return r;
}

/* --- time --------------------------------------------------------------------------------------------------------- */

void ctl_timestamp(char *buf, size_t size, unsigned digits)
{
    struct timeval now;
    struct tm tm;
    char text[32], fraction[8];

    (void)gettimeofday(&now, NULL);
    (void)localtime_r(&now.tv_sec, &tm);
    (void)strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &tm);
    (void)text_print(fraction, sizeof(fraction), ".%06u", (unsigned)now.tv_usec % 1000000);
    fraction[digits ? digits + 1 : 0] = '\0';
    (void)text_print(buf, size, "%s%s", text, fraction);
}

void ctl_sleep_us(uint64_t us)
{
    struct timespec rest = {(time_t)(us / USEC_PER_SEC), (long)(us % USEC_PER_SEC) * 1000};

    while (nanosleep(&rest, &rest) < 0 && errno == EINTR)
        ;
}
