/*
 * Questions to the operator: on stdout, answered on stdin, worded and repeated as patronictl does, because scripts feed
 * it the answers. At the end of the input "Aborted!" is said on stderr.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

enum { ASK_SIZE = 512 }; /* a longer answer is cut */

/*
 * "QUESTION [PRESET]: "; an empty answer means the preset. Without a preset (NULL) "QUESTION: ", again until there is
 * an answer. False at the end of the input.
 */
bool ask_text(const char *question, const char *preset, char *ret, size_t size);

/* "Password: " without echo on a terminal. The caller wipes *ret. */
bool ask_password(char *ret, size_t size);

enum ask_answer { ASK_NO, ASK_YES, ASK_ABORTED };

/* "QUESTION [y/N]: ", again until the answer is y, yes, n, no or empty (no). */
enum ask_answer ask_confirm(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
