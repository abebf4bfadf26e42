/*
 * Why a server did not start, in one sentence, from what it wrote. Pure: text in, text out.
 *
 * The patterns are PostgreSQL's English messages (13 to 17). The server is started with LC_MESSAGES=C, so what it says
 * before it has read its own lc_messages is English; a cluster with another lc_messages keeps it. What no pattern knows
 * is quoted: the last fatal line, or else the last line.
 */
#pragma once
#include <stddef.h>

/* `log` is what was written since the start; log_path is named where nothing better can be said. */
void diagnose_log(const char *log, const char *log_path, char *buf, size_t size);
