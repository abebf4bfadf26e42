/*
 * The fence report: what is known about a reset of this host while a lease was armed here, put together at the first
 * start after it from what survived: the agent's own record that a lease was armed, the keeper's last rung, and what
 * the watchdog's driver says. No clock and no file in here; fence_record.c reads and writes.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { FENCE_REPORTS_MAX = 16, FENCE_GUARD_RESETS = 3, FENCE_GUARD_SPAN_S = 3600, FENCE_NEWS_S = 86400 };

struct fence_report {
    int64_t at_s;     /* Unix time; of the last rung, else of the last arming: then it was later */
    char boot_id[40]; /* of the boot that ended */
    char rung[16];    /* "kill", "starve", or "none": the keeper had recorded nothing */
    char reason[192];
    char by_watchdog[8]; /* "yes", "unknown" */
    char certainty[12];  /* "certain", "likely", "possible" */
    char member[128];
};

/* Newest first. */
struct fence_history {
    struct fence_report reports[FENCE_REPORTS_MAX];
    size_t n;
};

/* "key=value" lines as fence_record.c and the keeper's scribe write them; NULL = there is no such file. */
struct fence_evidence {
    const char *armed, *rung;
    const char *boot_id; /* of this boot */
    bool driver_says_reset;
};

/* Was a lease armed when an earlier boot ended? Then fills *ret. */
bool fence_report_make(const struct fence_evidence *e, struct fence_report *ret);
void fence_history_add(struct fence_history *h, const struct fence_report *r);
/* Three resets within an hour, the last of them just now: something resets this host again and again. */
bool fence_history_is_loop(const struct fence_history *h);

/* JSON both ways. Parsing takes what it understands; printing returns what the caller frees, NULL without memory. */
void fence_history_parse(const char *json, struct fence_history *ret);
char *fence_history_print(const struct fence_history *h);
char *fence_report_print(const struct fence_report *r);
/* One line for people. */
void fence_report_text(const struct fence_report *r, char *dst, size_t size);
