/* Certificates of the REST server, and what is demanded of its clients. */
#pragma once
#include <stdbool.h>
#include "base/core.h"
#include "config/config.h"

/* The content of the files; NULL where the configuration names none. */
struct tls_files {
    char *certificate, *key, *trusted;
};

/* True if the configuration asks for TLS. */
bool tls_is_on(const struct tls_config *tls);

/* Reads the files. Returns 0 or -errno; tls_files_done() is due in both cases. */
int tls_files_load(struct tls_files *f, const struct tls_config *tls, struct err *err);
/* Wipes and frees. */
void tls_files_done(struct tls_files *f);

/*
 * To be called for each new connection with its GnuTLS session: with verify_client "required" the handshake fails
 * unless the client shows a certificate that the trusted ones vouch for; with "optional" one that is shown must be
 * valid.
 */
void tls_demand_certificate(void *gnutls_session, const struct tls_config *tls);
