/*
 * The history of the dynamic configuration as the leader keeps it in the store: an array of
 * [revision, time, member, changes], oldest first; changes are the lines of change_describe(). Bounded, since all
 * members read it with everything else. Pure.
 */
#pragma once
#include <stdint.h>

enum { CHANGE_HISTORY_ENTRIES = 50, CHANGE_HISTORY_BYTES = 16 * 1024 };

/*
 * `history` (NULL or no array = there is none yet) with one more entry; the oldest go when there are too many or they
 * are too long. The caller frees the text. NULL when the last entry is of this revision or a later one: somebody was
 * faster; or when memory ran out.
 */
char *change_history_add(const char *history, uint64_t revision, const char *time, const char *member,
                         const char *changes);
