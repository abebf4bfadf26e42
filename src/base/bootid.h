/* The kernel's random name of this boot: what was recorded under another one is from before a reset or reboot. */
#pragma once
#include <stddef.h>

enum { BOOT_ID_SIZE = 40 };

/* Returns 0 or -errno; dst, of at least BOOT_ID_SIZE bytes, is terminated in any case. */
int boot_id_read(char *dst, size_t size);
