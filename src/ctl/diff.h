/* Two texts as a unified diff, in the form of Python's difflib.unified_diff(), which patronictl shows. */
#pragma once
#include <stdbool.h>
#include "base/text.h"

/* Nothing if both are the same. Line feeds at the end do not count. With colors for a terminal. */
void diff_print(struct textbuf *out, const char *before, const char *after, bool colors);
