#include "base/core.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static __attribute__((format(printf, 3, 0))) void err_vset(struct err *err, int code, const char *fmt, va_list ap)
{
    err->code = code;
    (void)vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
}

int err_set(struct err *err, int code, const char *fmt, ...)
{
    va_list ap;

    if (!err)
        return code;
    va_start(ap, fmt);
    err_vset(err, code, fmt, ap);
    va_end(ap);
    return code;
}

int err_sys(struct err *err, int code, const char *fmt, ...)
{
    va_list ap;
    size_t len;

    if (!err)
        return code;
    va_start(ap, fmt);
    err_vset(err, code, fmt, ap);
    va_end(ap);
    len = strlen(err->msg);
    /* strerrordesc_np() returns static text; strerror() may allocate, which the keeper must not. */
    const char *text = strerrordesc_np(-code);
    (void)snprintf(err->msg + len, sizeof(err->msg) - len, ": %s", text ? text : "unknown error");
    return code;
}

int err_prefix(struct err *err, const char *fmt, ...)
{
    char old[sizeof(err->msg)];
    va_list ap;
    size_t len;

    if (!err)
        return 0;
    memcpy(old, err->msg, sizeof(old));
    va_start(ap, fmt);
    err_vset(err, err->code, fmt, ap);
    va_end(ap);
    len = strlen(err->msg);
    (void)snprintf(err->msg + len, sizeof(err->msg) - len, ": %.*s", (int)(sizeof(old) - 3), old);
    return err->code;
}

void freep(void *p)
{
    free(*(void **)p);
    *(void **)p = NULL;
}

void closep(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
}
