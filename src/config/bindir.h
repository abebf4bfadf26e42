/* Where a distribution puts PostgreSQL's programs. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

/*
 * The directory of the PostgreSQL that made data_dir (its PG_VERSION), else of the newest one installed. data_dir may
 * be NULL. False if there is none.
 */
bool bindir_find(const char *data_dir, char *buf, size_t size);
/* The same below other roots than "", for tests. */
bool bindir_find_below(const char *root, const char *data_dir, char *buf, size_t size);
