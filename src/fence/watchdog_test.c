#include "fence/watchdog_test.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/watchdog.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/text.h"
#include "fence/reset_time.h"
#include "fence/settings.h"
#include "fence/spawn.h"

/* When the reset has not come by then, it does not come. */
#define GIVE_UP_US (60 * USEC_PER_SEC)

/* --- what is there --------------------------------------------------------------------------------------------------
 */

static const char *attribute(const struct watchdog_test *t, const char *name, const char *what, char *dst, size_t size)
{
    CLEANUP(closep) int fd = -1;
    char path[256];
    ssize_t n;

    (void)text_print(path, sizeof(path), "%s/sys/class/watchdog/%s/%s", t->root, name, what);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    n = fd < 0 ? -1 : read(fd, dst, size - 1);
    dst[n < 0 ? 0 : n] = '\0';
    dst[strcspn(dst, "\n")] = '\0';
    return dst[0] ? dst : "?";
}

static void print_options(FILE *out, const char *text)
{
    static const struct {
        unsigned long bit;
        const char *name;
    } names[] = {
        {WDIOF_SETTIMEOUT, "settimeout"}, {WDIOF_MAGICCLOSE, "magicclose"}, {WDIOF_PRETIMEOUT, "pretimeout"},
        {WDIOF_CARDRESET, "cardreset"},   {WDIOF_ALARMONLY, "alarmonly"},   {WDIOF_KEEPALIVEPING, "keepaliveping"},
    };
    unsigned long bits = strtoul(text, NULL, 16);

    fprintf(out, "    options     ");
    if (text[0] == '?')
        fprintf(out, " not told by this kernel");
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (bits & names[i].bit)
            fprintf(out, " %s", names[i].name);
    fprintf(out, "\n");
}

static void print_one(const struct watchdog_test *t, const char *name)
{
    char a[64], b[64], c[64];

    fprintf(t->out, "/dev/%s: %s, %s\n", name, attribute(t, name, "identity", a, sizeof(a)),
            attribute(t, name, "state", b, sizeof(b)));
    fprintf(t->out, "    timeout      %s s, %s s left, pretimeout %s s\n", attribute(t, name, "timeout", a, sizeof(a)),
            attribute(t, name, "timeleft", b, sizeof(b)), attribute(t, name, "pretimeout", c, sizeof(c)));
    fprintf(t->out, "    nowayout     %s\n", attribute(t, name, "nowayout", a, sizeof(a)));
    (void)attribute(t, name, "bootstatus", a, sizeof(a));
    fprintf(t->out, "    bootstatus   %s%s\n", a[0] ? a : "?",
            strtoul(a, NULL, 0) & WDIOF_CARDRESET ? " (it has reset this host the last time)" : "");
    print_options(t->out, attribute(t, name, "options", a, sizeof(a)));
}

static int list_devices(const struct watchdog_test *t)
{
    struct dirent **entries;
    char path[256];
    int n, count = 0;

    (void)text_print(path, sizeof(path), "%s/sys/class/watchdog", t->root);
    n = scandir(path, &entries, NULL, versionsort);
    for (int i = 0; i < n; i++) {
        if (text_starts_with(entries[i]->d_name, "watchdog")) {
            print_one(t, entries[i]->d_name);
            count++;
        }
        free(entries[i]);
    }
    if (n >= 0)
        free(entries);
    if (count == 0)
        fprintf(t->out,
                "no watchdog in /sys/class/watchdog\nHINT: Load its driver: \"modprobe softdog\" if there is no "
                "hardware for it.\n");
    return count;
}

/* --- who holds it ---------------------------------------------------------------------------------------------------
 */

static void print_holder(const struct watchdog_test *t, const char *pid)
{
    char path[256], name[64] = "";
    CLEANUP(closep) int fd = -1;
    ssize_t n;

    (void)text_print(path, sizeof(path), "%s/proc/%s/comm", t->root, pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    n = fd < 0 ? -1 : read(fd, name, sizeof(name) - 1);
    name[n < 0 ? 0 : n] = '\0';
    name[strcspn(name, "\n")] = '\0';
    fprintf(t->out, "    held by process %s (%s)\n", pid, name);
}

static bool holds_watchdog(const struct watchdog_test *t, const char *pid)
{
    char path[300], link[512], target[256];
    struct dirent *e;
    bool found = false;
    DIR *dir;

    (void)text_print(path, sizeof(path), "%s/proc/%s/fd", t->root, pid);
    dir = opendir(path);
    while (dir && !found && (e = readdir(dir))) {
        ssize_t n;

        (void)text_print(link, sizeof(link), "%s/%s", path, e->d_name);
        n = readlink(link, target, sizeof(target) - 1);
        target[n < 0 ? 0 : n] = '\0';
        found = text_starts_with(target, "/dev/watchdog");
    }
    if (dir)
        (void)closedir(dir);
    return found;
}

static void list_holders(const struct watchdog_test *t)
{
    struct dirent *e;
    char path[256];
    DIR *proc;

    (void)text_print(path, sizeof(path), "%s/proc", t->root);
    proc = opendir(path);
    while (proc && (e = readdir(proc))) {
        uint32_t pid;

        if (text_to_u32(e->d_name, &pid) && holds_watchdog(t, e->d_name))
            print_holder(t, e->d_name);
    }
    if (proc)
        (void)closedir(proc);
    if (geteuid() != 0)
        fprintf(t->out, "    (only root sees who holds it)\n");
}

/* --- what R would be ------------------------------------------------------------------------------------------------
 */

static void print_reset_time(const struct watchdog_test *t, const struct watchdog *w, uint64_t timeout_us)
{
    const struct watchdog_settings *s = &w->settings;

    fprintf(t->out, "    R            %.1f s: ", (double)watchdog_reset_for(w, timeout_us) / 1e6);
    if (s->measured_timeout_us)
        fprintf(t->out, "measured %.2f s with a timeout of %" PRIu64 " s", (double)s->measured_reset_us / 1e6,
                s->measured_timeout_us / USEC_PER_SEC);
    else
        fprintf(t->out, "not measured yet, see --really-reset");
    fprintf(t->out, "%s\n", s->reset_us ? ", reset_time is set" : "");
}

/* Does R fit? What would do if it does not. */
static int judge(const struct watchdog_test *t, const struct watchdog *w, uint64_t timeout_us)
{
    uint64_t reset_us = watchdog_reset_for(w, timeout_us), least_s = watchdog_least_ttl_s(reset_us);

    print_reset_time(t, w, timeout_us);
    if (least_s * USEC_PER_SEC <= t->ttl_us) {
        fprintf(t->out, "    it fits a ttl of %" PRIu64 " s (%" PRIu64 " s at least)\n", t->ttl_us / USEC_PER_SEC,
                least_s);
        return 0;
    }
    fprintf(t->out, "    it does not fit a ttl of %" PRIu64 " s: %" PRIu64 " s at least", t->ttl_us / USEC_PER_SEC,
            least_s);
    if (watchdog_longest_timeout_s(t->ttl_us))
        fprintf(t->out, ", or a timeout of %" PRIu64 " s at most", watchdog_longest_timeout_s(t->ttl_us));
    fprintf(t->out, "\n");
    return 1;
}

/* Opened, set and stopped again, unless nothing could stop it. */
static int try_device(const struct watchdog_test *t, struct watchdog *w)
{
    uint64_t timeout_us = watchdog_timeout_for(w, t->ttl_us);
    struct err err = {0};
    bool was_reset;
    int r;

    fprintf(t->out, "configured: %s, mode %s\n", w->settings.device, watchdog_mode_text(w->settings.mode));
    if (w->settings.mode == WATCHDOG_MODE_OFF)
        w->settings.mode = WATCHDOG_MODE_AUTOMATIC; /* it is asked about all the same */
    r = watchdog_probe(w, true, &was_reset, &err);
    if (r == 0 && w->nowayout) {
        fprintf(t->out, "    nothing can stop it once it ticks (nowayout): not opened\n");
        return judge(t, w, timeout_us);
    }
    if (r == 0)
        r = watchdog_start(w, timeout_us, &err);
    if (r < 0) {
        fprintf(t->out, "    %s\n", err.msg);
        (void)watchdog_stop(w, NULL);
        if (r == -EBUSY)
            list_holders(t);
        return 1;
    }
    timeout_us = w->timeout_us;
    fprintf(t->out, "    it is \"%s\", grants %" PRIu64 " s, and was stopped again%s\n", w->identity,
            timeout_us / USEC_PER_SEC, w->magic_close ? "" : "; any close stops it, also that of a crash");
    if (watchdog_stop(w, &err) < 0) {
        fprintf(t->out, "    %s: THIS HOST IS RESET in %" PRIu64 " s\n", err.msg, timeout_us / USEC_PER_SEC);
        return 1;
    }
    return judge(t, w, timeout_us);
}

/* --- the real thing -------------------------------------------------------------------------------------------------
 */

static bool confirmed(const struct watchdog_test *t)
{
    char line[16] = "";

    if (t->yes)
        return true;
    if (!isatty(fileno(t->in))) {
        fprintf(t->out, "not a terminal: say --yes to have this host reset\n");
        return false;
    }
    fprintf(t->out, "This host will be RESET, without a shutdown. Type \"reset\" to go on: ");
    (void)fflush(t->out);
    return fgets(line, sizeof(line), t->in) && text_equal(line, "reset\n");
}

/* Returns only if no reset comes, or on failure. */
static int count_to_the_reset(const struct watchdog_test *t, struct watchdog *w, struct reset_test *test,
                              struct err *err)
{
    uint64_t until_us = 3 * w->timeout_us + GIVE_UP_US;
    int r = 0;

    for (uint64_t elapsed_us = 0; r == 0 && elapsed_us < until_us;
         elapsed_us = clock_rest_us(w->last_pet_us, clock_now_us())) {
        r = reset_test_note(test, elapsed_us, err);
        fprintf(t->out, "\r%6.1f s after the last pet ", (double)elapsed_us / 1e6);
        (void)fflush(t->out);
        (void)poll(NULL, 0, (int)(RESET_TEST_PERIOD_US / USEC_PER_MSEC));
    }
    fprintf(t->out, "\n");
    return r;
}

static int really_reset(const struct watchdog_test *t, struct watchdog *w, const char *state_dir)
{
    uint64_t timeout_us = watchdog_timeout_for(w, t->ttl_us);
    struct reset_test test = {.fd = -1, .dir_fd = -1};
    struct err err = {0};
    int r;

    if (!confirmed(t))
        return 1;
    (void)mkdir(state_dir, 0755);
    sync(); /* file systems are as if the power went away */
    r = reset_test_begin(&test, state_dir, NULL, timeout_us, &err);
    if (r == 0)
        r = reset_test_note(&test, 0, &err); /* the entry of the directory, before it counts */
    if (r == 0)
        r = watchdog_start(w, timeout_us, &err);
    test.timeout_us = w->timeout_us;
    if (r == 0)
        r = count_to_the_reset(t, w, &test, &err);
    fprintf(t->out, "%s\n", r < 0 ? err.msg : "the watchdog did not reset this host: it does not protect");
    if (w->fd >= 0 && watchdog_stop(w, &err) < 0)
        fprintf(t->out, "%s\n", err.msg);
    reset_test_end(&test);
    return 1;
}

/* --- together -------------------------------------------------------------------------------------------------------
 */

static int read_config(const struct watchdog_test *t, struct keeper_settings *ret)
{
    static struct spawn spawn;
    const char *config = t->options->config;
    char *const argv[] = {(char *)(uintptr_t) "pgtether-agent", (char *)(uintptr_t) "-c", (char *)(uintptr_t)config,
                          (char *)(uintptr_t) "--print-keeper-config", NULL};
    char text[SETTINGS_TEXT_MAX];
    struct err err = {0};
    size_t len = 0;
    int r;

    *ret = (struct keeper_settings){.watchdog.mode = WATCHDOG_MODE_AUTOMATIC};
    (void)text_copy(ret->watchdog.device, sizeof(ret->watchdog.device), "/dev/watchdog");
    (void)text_copy(ret->state_dir, sizeof(ret->state_dir), "/var/lib/pgtether");
    if (!config)
        return 0;
    spawn = (struct spawn){.config = config, .agent_procs_fd = -1};
    r = spawn_find_user(t->options->user, &spawn.user, &err);
    if (r == 0)
        r = spawn_find_agent(t->options->agent, spawn.agent, sizeof(spawn.agent), &err);
    if (r == 0)
        r = spawn_capture(&spawn, argv, text, sizeof(text), &len, &err);
    if (r == 0)
        r = settings_parse(text, len, ret, &err);
    if (r < 0)
        fprintf(t->out, "%s\n", err.msg);
    return r;
}

static void use_measurement(const struct watchdog_test *t, struct keeper_settings *s)
{
    struct reset_measure m;
    struct err err = {0};
    int r = reset_test_collect(s->state_dir, NULL, &m, &err);

    if (r < 0)
        fprintf(t->out, "%s\n", err.msg);
    else if (r > 0)
        fprintf(t->out, "the test before the last reset: reset %.2f s after the last pet, timeout %" PRIu64 " s\n",
                (double)m.reset_us / 1e6, m.timeout_us / USEC_PER_SEC);
    if (reset_time_read(s->state_dir, &m) < 0)
        return;
    s->watchdog.measured_timeout_us = m.timeout_us;
    s->watchdog.measured_reset_us = m.reset_us;
}

int watchdog_test_main(const struct watchdog_test *t)
{
    struct keeper_settings settings;
    struct watchdog w;
    int r;

    if (read_config(t, &settings) != 0)
        return 1;
    if (t->device && !text_copy(settings.watchdog.device, sizeof(settings.watchdog.device), t->device)) {
        fprintf(t->out, "the path of the device is too long\n");
        return 1;
    }
    use_measurement(t, &settings);
    (void)list_devices(t);
    watchdog_init(&w, &settings.watchdog, t->ops, t->ctx);
    r = try_device(t, &w);
    if (!t->really_reset)
        return r;
    if (w.status != KEEPER_WATCHDOG_READY)
        return 1;
    return really_reset(t, &w, settings.state_dir);
}
