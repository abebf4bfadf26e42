/* The REST server over TLS, with certificates made for the test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <time.h>
#include <unistd.h>
#include "api_server.h"
#include "base/clock.h"
#include "base/text.h"

/* A certificate and its key, in memory and in one file, as the reference accepts it. */
struct identity {
    gnutls_x509_crt_t certificate;
    gnutls_x509_privkey_t key;
    char path[128];
};

static char directory[] = "/tmp/pgtether-test-tls-XXXXXX";
static struct identity authority, server, client, stranger_authority, stranger;

/* Signed by `issuer`, or by itself when that is NULL. */
static void make_certificate(struct identity *id, const char *dn, const struct identity *issuer)
{
    unsigned char serial = 1;
    const unsigned bits = GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1);

    assert_int_equal(gnutls_x509_privkey_init(&id->key), 0);
    assert_int_equal(gnutls_x509_privkey_generate(id->key, GNUTLS_PK_ECDSA, bits, 0), 0);
    assert_int_equal(gnutls_x509_crt_init(&id->certificate), 0);
    assert_int_equal(gnutls_x509_crt_set_version(id->certificate, 3), 0);
    assert_int_equal(gnutls_x509_crt_set_serial(id->certificate, &serial, 1), 0);
    assert_int_equal(gnutls_x509_crt_set_dn(id->certificate, dn, NULL), 0);
    assert_int_equal(gnutls_x509_crt_set_key(id->certificate, id->key), 0);
    assert_int_equal(gnutls_x509_crt_set_activation_time(id->certificate, time(NULL) - 3600), 0);
    assert_int_equal(gnutls_x509_crt_set_expiration_time(id->certificate, time(NULL) + 3600), 0);
    if (!issuer) {
        assert_int_equal(gnutls_x509_crt_set_basic_constraints(id->certificate, 1, -1), 0);
        assert_int_equal(gnutls_x509_crt_set_key_usage(id->certificate, GNUTLS_KEY_KEY_CERT_SIGN), 0);
    }
    issuer = issuer ? issuer : id;
    assert_int_equal(gnutls_x509_crt_sign2(id->certificate, issuer->certificate, issuer->key, GNUTLS_DIG_SHA256, 0), 0);
}

static void write_all(int fd, const gnutls_datum_t *data)
{
    assert_int_equal(write(fd, data->data, data->size), data->size);
}

static void make_identity(struct identity *id, const char *name, const struct identity *issuer)
{
    gnutls_datum_t certificate, key;
    char dn[64];
    int fd;

    assert_true(text_print(dn, sizeof(dn), "CN=%s", name));
    make_certificate(id, dn, issuer);
    assert_int_equal(gnutls_x509_crt_export2(id->certificate, GNUTLS_X509_FMT_PEM, &certificate), 0);
    assert_int_equal(gnutls_x509_privkey_export2(id->key, GNUTLS_X509_FMT_PEM, &key), 0);
    assert_true(text_print(id->path, sizeof(id->path), "%s/%s.pem", directory, name));
    fd = open(id->path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    write_all(fd, &certificate);
    write_all(fd, &key);
    assert_int_equal(close(fd), 0);
    gnutls_free(certificate.data);
    gnutls_free(key.data);
}

static int make_identities(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(directory));
    make_identity(&authority, "authority", NULL);
    make_identity(&server, "server", &authority);
    make_identity(&client, "client", &authority);
    make_identity(&stranger_authority, "stranger-authority", NULL);
    make_identity(&stranger, "stranger", &stranger_authority);
    return 0;
}

static int remove_identities(void **state)
{
    struct identity *all[] = {&authority, &server, &client, &stranger_authority, &stranger};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        gnutls_x509_crt_deinit(all[i]->certificate);
        gnutls_x509_privkey_deinit(all[i]->key);
        assert_int_equal(unlink(all[i]->path), 0);
    }
    return rmdir(directory);
}

/* --- the client --------------------------------------------------------------------------------------------------- */

/* Repeats a call of GnuTLS until it has a result, while the server works; negative results are final. */
#define UNTIL_DONE(s, call)                                                                                            \
    __extension__({                                                                                                    \
        long result_;                                                                                                  \
        while ((result_ = (long)(call)) == GNUTLS_E_AGAIN || result_ == GNUTLS_E_INTERRUPTED)                          \
            api_server_turn(s);                                                                                        \
        result_;                                                                                                       \
    })

/* What the server answers, "" when it refuses; `who` NULL shows no certificate. The caller frees. */
static char *converse(struct api_server *s, gnutls_session_t session)
{
    static const char request[] = "GET /primary HTTP/1.1\r\nHost: x\r\n\r\n";
    struct textbuf answer = {0};
    char piece[1024];
    long n;

    if (UNTIL_DONE(s, gnutls_handshake(session)) < 0 ||
        UNTIL_DONE(s, gnutls_record_send(session, request, sizeof(request) - 1)) < 0)
        return textbuf_take(&answer);
    while ((n = UNTIL_DONE(s, gnutls_record_recv(session, piece, sizeof(piece)))) > 0)
        textbuf_append(&answer, piece, (size_t)n);
    return textbuf_take(&answer);
}

/* Whom the server of the last conversation said to be. */
static char server_name[64];

static void note_server(gnutls_session_t session)
{
    unsigned n = 0;
    const gnutls_datum_t *chain = gnutls_certificate_get_peers(session, &n);
    gnutls_x509_crt_t certificate;
    size_t size = sizeof(server_name);

    server_name[0] = '\0';
    if (!chain || !n)
        return;
    assert_int_equal(gnutls_x509_crt_init(&certificate), 0);
    assert_int_equal(gnutls_x509_crt_import(certificate, chain, GNUTLS_X509_FMT_DER), 0);
    assert_int_equal(gnutls_x509_crt_get_dn(certificate, server_name, &size), 0);
    gnutls_x509_crt_deinit(certificate);
}

static char *ask(struct api_server *s, struct identity *who)
{
    gnutls_certificate_credentials_t credentials;
    gnutls_session_t session;
    int fd = api_server_dial(s);
    char *answer;

    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    assert_int_equal(gnutls_certificate_allocate_credentials(&credentials), 0);
    if (who) {
        /* A stranger shows its certificate even though the server names other authorities. */
        assert_true(gnutls_certificate_set_x509_key(credentials, &who->certificate, 1, who->key) >= 0);
    }
    assert_int_equal(gnutls_init(&session, GNUTLS_CLIENT | GNUTLS_NONBLOCK | GNUTLS_FORCE_CLIENT_CERT), 0);
    assert_int_equal(gnutls_set_default_priority(session), 0);
    assert_int_equal(gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, credentials), 0);
    gnutls_transport_set_int(session, fd);
    answer = converse(s, session);
    note_server(session);
    gnutls_deinit(session);
    gnutls_certificate_free_credentials(credentials);
    assert_int_equal(close(fd), 0);
    return answer;
}

static void start(struct api_server *s, const char *verify_client)
{
    static char mode[16];
    struct err err;

    api_server_init(s);
    s->config.restapi.tls.certfile = server.path;
    if (verify_client) {
        s->config.restapi.tls.cafile = authority.path;
        assert_true(text_copy(mode, sizeof(mode), verify_client));
        s->config.restapi.tls.verify_client = mode;
    }
    if (api_server_start(s, &err) < 0)
        fail_msg("%s", err.msg);
}

static void assert_asked(struct api_server *s, struct identity *who, bool welcome)
{
    char *answer = ask(s, who);

    if (text_starts_with(answer, "HTTP/1.1 200 OK\r\n") != welcome)
        fail_msg("%s: got \"%s\"", who ? who->path : "nobody", answer);
    free(answer);
}

/* --- tests -------------------------------------------------------------------------------------------------------- */

static void test_everybody_is_answered_when_no_certificate_is_demanded(void **state)
{
    struct api_server s;

    (void)state;
    start(&s, NULL);
    assert_asked(&s, NULL, true);
    assert_asked(&s, &stranger, true);
    api_server_done(&s);
}

static void test_only_known_clients_are_answered_when_a_certificate_is_required(void **state)
{
    struct api_server s;

    (void)state;
    start(&s, "required");
    assert_asked(&s, &client, true);
    assert_asked(&s, NULL, false);
    assert_asked(&s, &stranger, false);
    assert_int_equal(s.asked, 1);
    api_server_done(&s);
}

static void test_a_certificate_that_is_optional_must_be_valid_when_shown(void **state)
{
    struct api_server s;

    (void)state;
    start(&s, "optional");
    assert_asked(&s, NULL, true);
    assert_asked(&s, &client, true);
    assert_asked(&s, &stranger, false);
    api_server_done(&s);
}

static void test_certificates_are_not_looked_at_when_the_mode_is_none(void **state)
{
    struct api_server s;

    (void)state;
    start(&s, "none");
    assert_asked(&s, NULL, true);
    assert_asked(&s, &stranger, true);
    api_server_done(&s);
}

static void assert_refuses_to_start(struct api_server *s, int want, const char *part)
{
    struct err err = {0};
    int r = api_server_start(s, &err);

    if (r != want || !strstr(err.msg, part))
        fail_msg("got %d, \"%s\"", r, err.msg);
    assert_null(s->api);
    api_server_done(s);
}

static void test_settings_that_cannot_work_are_errors_at_start(void **state)
{
    static char missing[] = "/no/such/file", required[] = "required";
    struct api_server s;

    (void)state;
    api_server_init(&s);
    s.config.restapi.tls.certfile = missing;
    assert_refuses_to_start(&s, -ENOENT, "/no/such/file");

    api_server_init(&s);
    s.config.restapi.tls.certfile = server.path;
    s.config.restapi.tls.keyfile = client.path;
    assert_refuses_to_start(&s, -EINVAL, "does its key match");

    api_server_init(&s);
    s.config.restapi.tls.certfile = server.path;
    s.config.restapi.tls.verify_client = required;
    assert_refuses_to_start(&s, -EINVAL, "without \"cafile\"");
}

static void test_a_reload_takes_new_certificates_and_keeps_the_old_when_they_are_of_no_use(void **state)
{
    static char missing[] = "/no/such/file";
    struct api_server s;

    (void)state;
    start(&s, "required");
    assert_asked(&s, &client, true);
    assert_string_equal(server_name, "CN=server");
    s.config.restapi.tls.certfile = stranger.path;
    api_reload(s.api);
    assert_asked(&s, &client, true);
    assert_string_equal(server_name, "CN=stranger");
    assert_asked(&s, &stranger, false);
    s.config.restapi.tls.certfile = missing;
    api_reload(s.api);
    assert_asked(&s, &client, true);
    assert_string_equal(server_name, "CN=stranger");
    s.config.restapi.tls.certfile = server.path;
    s.config.restapi.tls.keyfile = client.path;
    api_reload(s.api);
    assert_asked(&s, &client, true);
    assert_string_equal(server_name, "CN=stranger");
    /* Others to trust, and back again. */
    s.config.restapi.tls.keyfile = NULL;
    s.config.restapi.tls.cafile = stranger_authority.path;
    api_reload(s.api);
    assert_asked(&s, &stranger, true);
    assert_string_equal(server_name, "CN=server");
    assert_asked(&s, &client, false);
    api_server_done(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_everybody_is_answered_when_no_certificate_is_demanded),
        cmocka_unit_test(test_only_known_clients_are_answered_when_a_certificate_is_required),
        cmocka_unit_test(test_a_certificate_that_is_optional_must_be_valid_when_shown),
        cmocka_unit_test(test_certificates_are_not_looked_at_when_the_mode_is_none),
        cmocka_unit_test(test_settings_that_cannot_work_are_errors_at_start),
        cmocka_unit_test(test_a_reload_takes_new_certificates_and_keeps_the_old_when_they_are_of_no_use),
    };

    return cmocka_run_group_tests_name("api_tls", tests, make_identities, remove_identities);
}
