#include "api/tls.h"
#include <errno.h>
#include <gnutls/gnutls.h>
#include "base/text.h"
#include "io/file.h"

enum { TLS_FILE_MAX = 256 * 1024 };

bool tls_is_on(const struct tls_config *tls)
{
    return tls->certfile != NULL;
}

int tls_files_load(struct tls_files *f, const struct tls_config *tls, struct err *err)
{
    /* As with the reference, the certificate's file may hold the key, too. */
    const char *keyfile = tls->keyfile ? tls->keyfile : tls->certfile;
    int r;

    *f = (struct tls_files){0};
    r = file_read(tls->certfile, TLS_FILE_MAX, &f->certificate, NULL, err);
    if (r < 0)
        return r;
    r = file_read(keyfile, TLS_FILE_MAX, &f->key, NULL, err);
    if (r < 0)
        return r;
    if (tls->cafile)
        return file_read(tls->cafile, TLS_FILE_MAX, &f->trusted, NULL, err);
    if (text_equal(tls->verify_client, "required"))
        return err_set(err, -EINVAL, "cannot require client certificates without \"cafile\"");
    return 0;
}

void tls_files_done(struct tls_files *f)
{
    if (f->key)
        explicit_bzero(f->key, strlen(f->key));
    free(f->certificate);
    free(f->key);
    free(f->trusted);
    *f = (struct tls_files){0};
}

bool tls_files_equal(const struct tls_files *a, const struct tls_files *b)
{
    return text_equal(a->certificate, b->certificate) && text_equal(a->key, b->key) &&
           text_equal(a->trusted, b->trusted);
}

struct tls_credentials {
    gnutls_certificate_credentials_t gnutls;
    struct tls_credentials *older;
};

static gnutls_datum_t datum(const char *text)
{
    return (gnutls_datum_t){(unsigned char *)(uintptr_t)text, (unsigned)strlen(text)};
}

static int fill_credentials(gnutls_certificate_credentials_t c, const struct tls_files *f, const char *key_password)
{
    gnutls_datum_t certificate = datum(f->certificate), key = datum(f->key);
    int r = gnutls_certificate_set_x509_key_mem2(c, &certificate, &key, GNUTLS_X509_FMT_PEM, key_password, 0);

    if (r >= 0 && f->trusted) {
        gnutls_datum_t trusted = datum(f->trusted);

        r = gnutls_certificate_set_x509_trust_mem(c, &trusted, GNUTLS_X509_FMT_PEM);
    }
    return r;
}

int tls_credentials_new(const struct tls_files *f, const char *key_password, struct tls_credentials *older,
                        struct tls_credentials **ret, struct err *err)
{
    struct tls_credentials *c = calloc(1, sizeof(*c));
    int r;

    if (!c || gnutls_certificate_allocate_credentials(&c->gnutls) < 0) {
        free(c);
        return err_set(err, -ENOMEM, "out of memory");
    }
    r = fill_credentials(c->gnutls, f, key_password);
    if (r < 0) {
        (void)tls_credentials_free(c);
        return err_set(err, -EINVAL, "%s", gnutls_strerror(r));
    }
    c->older = older;
    *ret = c;
    return 0;
}

struct tls_credentials *tls_credentials_free(struct tls_credentials *c)
{
    while (c) {
        struct tls_credentials *older = c->older;

        gnutls_certificate_free_credentials(c->gnutls);
        free(c);
        c = older;
    }
    return NULL;
}

void tls_credentials_forget_older(struct tls_credentials *c)
{
    if (c)
        c->older = tls_credentials_free(c->older);
}

void tls_use_credentials(void *gnutls_session, const struct tls_credentials *c)
{
    gnutls_session_t session = gnutls_session;

    if (c)
        (void)gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, c->gnutls);
}

/* Called by GnuTLS during the handshake; a negative answer ends it. */
static int accept_any_or_valid(gnutls_session_t session)
{
    unsigned status = 0, n = 0;

    if (!gnutls_certificate_get_peers(session, &n) || n == 0)
        return 0;
    return gnutls_certificate_verify_peers3(session, NULL, &status) < 0 || status ? GNUTLS_E_CERTIFICATE_ERROR : 0;
}

void tls_demand_certificate(void *gnutls_session, const struct tls_config *tls)
{
    gnutls_session_t session = gnutls_session;

    if (text_equal(tls->verify_client, "required")) {
        gnutls_certificate_server_set_request(session, GNUTLS_CERT_REQUIRE);
        gnutls_session_set_verify_cert(session, NULL, 0);
    } else if (text_equal(tls->verify_client, "optional")) {
        gnutls_certificate_server_set_request(session, GNUTLS_CERT_REQUEST);
        gnutls_session_set_verify_function(session, accept_any_or_valid);
    } else {
        gnutls_certificate_server_set_request(session, GNUTLS_CERT_IGNORE);
    }
}
