/*
 * The few settings of the keeper. The agent reads the configuration file and prints them as lines "key=value"
 * (--print-keeper-config), so that the privileged process needs no parser of its own for the file.
 */
#pragma once
#include <stddef.h>
#include "base/core.h"
#include "base/log.h"
#include "fence/watchdog.h"

enum { SETTINGS_TEXT_MAX = 8192, SETTINGS_NAME_SIZE = 128, SETTINGS_DIR_SIZE = 1024 };
enum { SETTINGS_ADDRESSES_MAX = 16, SETTINGS_NET_WORDS_MAX = SETTINGS_ADDRESSES_MAX + 4, SETTINGS_NET_WORD_SIZE = 160 };

struct keeper_settings {
    char scope[SETTINGS_NAME_SIZE];
    char name[SETTINGS_NAME_SIZE];
    char data_dir[SETTINGS_DIR_SIZE]; /* absolute */
    char run_dir[SETTINGS_DIR_SIZE];
    char state_dir[SETTINGS_DIR_SIZE]; /* "" = none */
    struct watchdog_settings watchdog;
    enum log_level log_level;
    bool gate_wanted, gate_required;
    unsigned n_addresses;
    /* "key=value": what pgtether-net is told on its command line, the keeper being no wiser for it. */
    char net_words[SETTINGS_NET_WORDS_MAX][SETTINGS_NET_WORD_SIZE];
    size_t n_net_words;
};

/*
 * Keys: scope, name, data_dir, run_dir, watchdog_mode, watchdog_device, watchdog_timeout_us, watchdog_reset_us,
 * state_dir, log_level, gate_mode, pg_port, and vip, which may come several times. The first four must be there, the
 * others have defaults. Returns 0, or -EINVAL on anything unexpected, an unknown key too: keeper and agent are then of
 * different versions. `text` need not be terminated.
 */
int settings_parse(const char *text, size_t len, struct keeper_settings *ret, struct err *err);

/*
 * Makes the data directory's path what the kernel prints for it: without links. What does not exist yet, before
 * bootstrap, stays as it is. Looks at the disk, so only at start.
 */
void settings_resolve_data_dir(struct keeper_settings *s);
