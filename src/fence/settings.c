#include "fence/settings.h"
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/text.h"

static bool set_scope(struct keeper_settings *s, const char *value)
{
    return *value && text_copy(s->scope, sizeof(s->scope), value);
}

static bool set_name(struct keeper_settings *s, const char *value)
{
    return *value && text_copy(s->name, sizeof(s->name), value);
}

static bool set_dir(char *dst, size_t size, const char *value)
{
    size_t len = strlen(value);

    if (value[0] != '/' || len == 1 || !text_copy(dst, size, value))
        return false;
    if (dst[len - 1] == '/')
        dst[len - 1] = '\0'; /* the kernel prints none */
    return true;
}

static bool set_data_dir(struct keeper_settings *s, const char *value)
{
    return set_dir(s->data_dir, sizeof(s->data_dir), value);
}

static bool set_run_dir(struct keeper_settings *s, const char *value)
{
    return set_dir(s->run_dir, sizeof(s->run_dir), value);
}

static bool set_state_dir(struct keeper_settings *s, const char *value)
{
    return set_dir(s->state_dir, sizeof(s->state_dir), value);
}

static bool set_watchdog_mode(struct keeper_settings *s, const char *value)
{
    return watchdog_mode_from_text(value, &s->watchdog.mode);
}

static bool set_watchdog_device(struct keeper_settings *s, const char *value)
{
    return value[0] == '/' && text_copy(s->watchdog.device, sizeof(s->watchdog.device), value);
}

/* A day: far above every device, far below every overflow. */
static bool set_duration(uint64_t *dst, const char *value, uint64_t least_us)
{
    uint64_t us;

    if (!text_to_u64(value, &us) || us > 86400 * USEC_PER_SEC || (us != 0 && us < least_us))
        return false;
    *dst = us;
    return true;
}

static bool set_watchdog_timeout(struct keeper_settings *s, const char *value)
{
    return set_duration(&s->watchdog.timeout_us, value, USEC_PER_SEC);
}

static bool set_watchdog_reset(struct keeper_settings *s, const char *value)
{
    return set_duration(&s->watchdog.reset_us, value, 0);
}

static bool set_log_level(struct keeper_settings *s, const char *value)
{
    int level = log_level_from_name(value);

    if (level < 0)
        return false;
    s->log_level = (enum log_level)level;
    return true;
}

/* What they mean, pgtether-net knows (fence/net.h). */
static bool add_net_word(struct keeper_settings *s, const char *key, const char *value)
{
    if (s->n_net_words == SETTINGS_NET_WORDS_MAX ||
        !text_print(s->net_words[s->n_net_words], SETTINGS_NET_WORD_SIZE, "%s=%s", key, value))
        return false;
    s->n_net_words++;
    return true;
}

static bool set_gate_mode(struct keeper_settings *s, const char *value)
{
    s->gate_required = text_equal(value, "nftables");
    s->gate_wanted = s->gate_required || text_equal(value, "automatic");
    return (s->gate_wanted || text_equal(value, "off")) && add_net_word(s, "gate_mode", value);
}

static bool set_pg_port(struct keeper_settings *s, const char *value)
{
    return add_net_word(s, "pg_port", value);
}

static bool add_address(struct keeper_settings *s, const char *value)
{
    return s->n_addresses++ < SETTINGS_ADDRESSES_MAX && add_net_word(s, "vip", value);
}

static const struct {
    const char *key;
    bool must;
    bool (*set)(struct keeper_settings *s, const char *value);
    bool many;
} keys[] = {
    {"scope", true, set_scope},
    {"name", true, set_name},
    {"data_dir", true, set_data_dir},
    {"run_dir", true, set_run_dir},
    {"watchdog_mode", false, set_watchdog_mode},
    {"watchdog_device", false, set_watchdog_device},
    {"watchdog_timeout_us", false, set_watchdog_timeout},
    {"watchdog_reset_us", false, set_watchdog_reset},
    {"state_dir", false, set_state_dir},
    {"log_level", false, set_log_level},
    {"gate_mode", false, set_gate_mode},
    {"pg_port", false, set_pg_port},
    {"vip", false, add_address, .many = true},
};

static int parse_line(struct keeper_settings *s, char *line, bool seen[], struct err *err)
{
    char *value = strchr(line, '=');

    if (!value)
        return err_set(err, -EINVAL, "the agent printed a keeper setting without a value: \"%.80s\"", line);
    *value++ = '\0';
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        if (!text_equal(line, keys[i].key))
            continue;
        if (seen[i] && !keys[i].many)
            return err_set(err, -EINVAL, "the agent printed keeper setting \"%s\" twice", line);
        seen[i] = true;
        if (!keys[i].set(s, value))
            return err_set(err, -EINVAL, "invalid value for keeper setting \"%s\": \"%.80s\"", line, value);
        return 0;
    }
    return err_set(err, -EINVAL,
                   "the agent printed an unknown keeper setting \"%.80s\"\n"
                   "HINT: pgtetherd and pgtether-agent must be of the same version.",
                   line);
}

int settings_parse(const char *text, size_t len, struct keeper_settings *ret, struct err *err)
{
    struct keeper_settings s = {.log_level = LOG_LEVEL_INFO, .watchdog.mode = WATCHDOG_MODE_AUTOMATIC};
    bool seen[ARRAY_LEN(keys)] = {false};
    char copy[SETTINGS_TEXT_MAX], *save = NULL;

    (void)text_copy(s.watchdog.device, sizeof(s.watchdog.device), "/dev/watchdog");
    if (len >= sizeof(copy) || memchr(text, '\0', len))
        return err_set(err, -EINVAL, "the keeper settings printed by the agent are too long or no text");
    memcpy(copy, text, len);
    copy[len] = '\0';
    for (char *line = strtok_r(copy, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        int r = parse_line(&s, line, seen, err);

        if (r < 0)
            return r;
    }
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        if (keys[i].must && !seen[i])
            return err_set(err, -EINVAL, "the agent did not print keeper setting \"%s\"", keys[i].key);
    if (s.n_net_words > 0 && (!add_net_word(&s, "scope", s.scope) || !add_net_word(&s, "name", s.name)))
        return err_set(err, -EINVAL, "there are too many virtual addresses");
    *ret = s;
    return 0;
}

void settings_resolve_data_dir(struct keeper_settings *s)
{
    char path[SETTINGS_DIR_SIZE], resolved[PATH_MAX], whole[SETTINGS_DIR_SIZE];
    size_t end = strlen(s->data_dir);

    /* The longest part that exists, and the rest behind it. */
    while (end > 0) {
        (void)text_print(path, sizeof(path), "%.*s", (int)end, s->data_dir);
        if (realpath(path, resolved))
            break;
        while (end > 0 && s->data_dir[--end] != '/')
            ;
    }
    if (end > 0 &&
        text_print(whole, sizeof(whole), "%s%s", text_equal(resolved, "/") ? "" : resolved, s->data_dir + end))
        (void)text_copy(s->data_dir, sizeof(s->data_dir), whole);
}
