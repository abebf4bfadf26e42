/* Base64 (RFC 4648, with padding), the form in which etcd's JSON gateway and Consul carry keys and values. */
#pragma once
#include <stddef.h>
#include "base/core.h"
#include "base/text.h"

void base64_append(struct textbuf *b, const void *data, size_t len);

/*
 * Strict: anything but whole groups with correct padding is -EBADMSG. Returns 0 and gives *ret (terminated, may hold
 * NULs) to the caller, or -ENOMEM.
 */
int base64_decode(const char *text, size_t len, char **ret, size_t *ret_len);
