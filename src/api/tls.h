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

bool tls_files_equal(const struct tls_files *a, const struct tls_files *b);

/*
 * Certificate and key for connections from now on; libmicrohttpd itself only knows those it was started with. `older`
 * is kept, since connections may still use it, and taken over on success. Returns 0, or -EINVAL: no certificate, or the
 * key is not its.
 */
struct tls_credentials;
int tls_credentials_new(const struct tls_files *f, const char *key_password, struct tls_credentials *older,
                        struct tls_credentials **ret, struct err *err);
/* Frees all but the newest, to be called when no connection is open. */
void tls_credentials_forget_older(struct tls_credentials *c);
struct tls_credentials *tls_credentials_free(struct tls_credentials *c); /* all of them; NULL is fine */
/* For a new connection, before its handshake. */
void tls_use_credentials(void *gnutls_session, const struct tls_credentials *c);

/*
 * To be called for each new connection with its GnuTLS session: with verify_client "required" the handshake fails
 * unless the client shows a certificate that the trusted ones vouch for; with "optional" one that is shown must be
 * valid.
 */
void tls_demand_certificate(void *gnutls_session, const struct tls_config *tls);
