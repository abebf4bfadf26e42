#include "pg/resolve.h"
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/text.h"
#include "io/child.h"

struct resolve {
    sd_event *loop;
    char *list, *rest; /* what is still to be looked at */
    const char *name;  /* being looked up */
    uint64_t deadline_us;
    struct textbuf hosts, addresses;
    size_t n;
    struct child *child;
    resolve_fn done;
    void *userdata;
};

/* As libpq and we ourselves know it, without asking anybody; NULL: it is a name. */
static const char *address_of(const char *host)
{
    struct in6_addr buf;

    if (*host == '/' || *host == '\0')
        return "";
    if (strcmp(host, "localhost") == 0)
        return "127.0.0.1";
    return inet_pton(AF_INET, host, &buf) == 1 || inet_pton(AF_INET6, host, &buf) == 1 ? host : NULL;
}

bool resolve_is_needed(const char *hosts)
{
    CLEANUP(freep) char *copy = strdup(hosts);
    char *rest = copy;
    const char *host;

    while (rest && (host = strsep(&rest, ",")))
        if (!address_of(host))
            return true;
    return false;
}

static void add(struct resolve *r, const char *host, const char *address)
{
    const char *comma = r->n++ ? "," : "";

    textbuf_printf(&r->hosts, "%s%s", comma, host);
    textbuf_printf(&r->addresses, "%s%s", comma, address);
}

/* "10.0.0.1        STREAM db1.example.org"; the other types of socket are the same addresses once more. */
static void on_line(void *userdata, const char *line)
{
    struct resolve *r = userdata;
    char address[INET6_ADDRSTRLEN];
    size_t len = strcspn(line, " \t");
    const char *known;

    if (!strstr(line, "STREAM") || len >= sizeof(address))
        return;
    memcpy(address, line, len);
    address[len] = '\0';
    known = address_of(address);
    if (known && *known)
        add(r, r->name, address);
}

/* The last thing that happens: the callback may free us. */
static void finish(struct resolve *r, const struct err *failure)
{
    struct err err = *failure;

    if (!err.code && (r->hosts.failed || r->addresses.failed))
        (void)err_set(&err, -ENOMEM, "out of memory");
    else if (!err.code && r->n == 0)
        (void)err_set(&err, -EHOSTUNREACH, "could not find an address of \"%s\"", r->name ? r->name : "");
    r->done(r->userdata, r->hosts.data, r->addresses.data, &err);
}

static void look_up_rest(struct resolve *r);

/* A host without an address is one of several: the others may do. */
static void on_looked_up(void *userdata, const struct child_result *result)
{
    struct resolve *r = userdata;

    (void)result;
    r->child = child_free(r->child);
    look_up_rest(r);
}

static int look_up(struct resolve *r, struct err *err)
{
    const char *argv[] = {"getent", "ahosts", "--", r->name, NULL};
    struct child_spec spec = {.argv = argv, .on_line = on_line};

    spec.timeout_us = clock_rest_us(clock_now_us(), r->deadline_us);
    if (!spec.timeout_us)
        return err_set(err, -ETIMEDOUT, "could not look up \"%s\" in time", r->name);
    return child_start(r->loop, &spec, on_looked_up, r, &r->child, err);
}

/* Up to the next name; true if there is one. */
static bool next_name(struct resolve *r)
{
    const char *host, *address;

    while (r->rest && (host = strsep(&r->rest, ","))) {
        address = address_of(host);
        if (!address) {
            r->name = host;
            return true;
        }
        add(r, host, address);
    }
    return false;
}

static void look_up_rest(struct resolve *r)
{
    struct err err = {0};

    if (!next_name(r) || look_up(r, &err) < 0)
        finish(r, &err);
}

int resolve_start(sd_event *loop, const char *hosts, uint64_t timeout_us, resolve_fn done, void *userdata,
                  struct resolve **ret, struct err *err)
{
    struct resolve *r = calloc(1, sizeof(*r));
    int code = -ENOMEM;

    if (!r)
        return err_set(err, -ENOMEM, "out of memory");
    *r = (struct resolve){.loop = loop, .done = done, .userdata = userdata};
    r->deadline_us = clock_now_us() + timeout_us;
    r->list = r->rest = strdup(hosts);
    if (r->list)
        code = next_name(r) ? look_up(r, err) : err_set(err, -EINVAL, "there is no name to look up");
    if (code < 0) {
        (void)resolve_free(r);
        return code;
    }
    *ret = r;
    return 0;
}

struct resolve *resolve_free(struct resolve *r)
{
    if (!r)
        return NULL;
    (void)child_free(r->child);
    textbuf_done(&r->hosts);
    textbuf_done(&r->addresses);
    free(r->list);
    free(r);
    return NULL;
}
