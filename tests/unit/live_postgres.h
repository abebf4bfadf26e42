/*
 * Real PostgreSQL for tests: where its programs are, a user that may run it, servers on loopback that are ended with
 * the test. Used by the test_*_live programs; where there is no PostgreSQL they say so and count as skipped.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>
#include "config/config.h"

enum { LIVE_SKIPPED = 77 }; /* automake: this test was skipped */

/*
 * Finds the programs, becomes user postgres when started by root (the server refuses root), makes a directory for the
 * test. false: printed why not.
 */
bool live_begin(const char *test_name);
void live_end(void); /* stops what still runs, removes the directory */

const char *live_dir(void);
const char *live_bin_dir(void);
/* Port number `i` of ten that no other test uses at the same time, however many run. */
uint16_t live_port(unsigned i);

/* Text that lives until live_end(). */
char *live_text(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* A configuration as the agent has it, for a node of this name. It lives until live_end(); tests may change fields. */
struct config *live_config(const char *name, uint16_t port);
struct settings live_settings(const struct setting *items, size_t n); /* a copy, for fields of the configuration */
struct string_list live_list(const char *item);                       /* of one item */

/* A shell command; its output goes to the test's log, shown when it fails. Returns the exit code. */
int live_run(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* pg_ctl start and stop of the configuration's data directory; stop mode "fast" or "immediate". */
void live_start(const struct config *c, const char *more_options);
void live_stop(const struct config *c, const char *mode);
/* One value of one query as superuser; static buffer. */
const char *live_query(const struct config *c, const char *sql);

/* Runs the loop until *flag or until that many seconds are over, which fails the test. */
void live_wait(sd_event *loop, const bool *flag, unsigned timeout_s);
