/* Who may change something over the REST API: by address, by certificate, by name and password. Pure but for start. */
#pragma once
#include <stdbool.h>
#include <sys/socket.h>
#include "base/core.h"
#include "config/config.h"
#include "model/cluster.h"

struct access_rules;

/*
 * The rules of restapi.allowlist, allowlist_include_members, verify_client and authentication. Names in the list are
 * resolved here, once, which may take a while. Returns 0 and gives *ret to the caller, or -errno. `config` must outlive
 * the rules.
 */
int access_new(const struct config *config, struct access_rules **ret, struct err *err);
struct access_rules *access_free(struct access_rules *r);
DEFINE_CLEANUP(struct access_rules, access_free)

struct access_client {
    const struct sockaddr *address;
    bool has_certificate;
    bool members_do_not_count;   /* POST /failsafe: being a member does not help past the list of addresses */
    const char *user, *password; /* from its Authorization header; NULL = it has none */
};

struct access_verdict {
    unsigned status; /* 0 = may pass; else 401 or 403 */
    const char *sentence;
};

/* cluster, whose members may be allowed by their addresses, is NULL when the store was never read. */
struct access_verdict access_check(const struct access_rules *r, const struct cluster *cluster,
                                   const struct access_client *client);
