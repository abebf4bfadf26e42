#include "io/http_private.h"
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include "base/clock.h"

enum {
    BUFFER_BYTES = 4096, /* per transfer under way; answers of a store are a few kB */
    KEEPALIVE_PROBES = 3,
};
#define KEEPALIVE_IDLE_DEFAULT_US (30 * USEC_PER_SEC)

/* --- callbacks of curl ------------------------------------------------------------------------------------------ */

static void option(int fd, int level, int name, int value)
{
    /* Without it we notice a dead peer later, that is all. */
    (void)setsockopt(fd, level, name, &value, sizeof(value));
}

/* A dead peer is noticed after twice the idle time, whether we wait for an answer or for our bytes to be taken. */
static void set_keepalive(int fd, uint64_t idle_us)
{
    int idle_s = (int)(idle_us / USEC_PER_SEC);

    if (idle_s < 1)
        idle_s = 1;
    option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    option(fd, IPPROTO_TCP, TCP_KEEPIDLE, idle_s);
    option(fd, IPPROTO_TCP, TCP_KEEPINTVL, (idle_s + KEEPALIVE_PROBES - 1) / KEEPALIVE_PROBES);
    option(fd, IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_PROBES);
    option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, idle_s * 2 * 1000);
}

static curl_socket_t on_open_socket(void *userdata, curlsocktype purpose, struct curl_sockaddr *address)
{
    const struct http_attempt *a = userdata;
    int fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);

    (void)purpose;
    if (fd < 0)
        return CURL_SOCKET_BAD;
    if (a->request->stream)
        set_keepalive(fd, a->request->keepalive_idle_us ? a->request->keepalive_idle_us : KEEPALIVE_IDLE_DEFAULT_US);
    return fd;
}

static size_t on_body(char *data, size_t size, size_t count, void *userdata)
{
    struct http_attempt *a = userdata;
    struct http_request *r = a->request;
    struct textbuf *body = &a->body;
    long status = 0;

    size *= count;
    (void)curl_easy_getinfo(a->easy, CURLINFO_RESPONSE_CODE, &status);
    if (r->stream && r->on_data && status >= 200 && status < 300) {
        a->streaming = true;
        body = &r->arrived;
    } else if (size > HTTP_BODY_MAX - body->len) {
        a->too_large = true;
        return 0;
    }
    textbuf_append(body, data, size);
    if (body->failed)
        return 0;
    if (a->streaming)
        http_request_wake(r);
    return size;
}

/* --- options ---------------------------------------------------------------------------------------------------- */

static CURLcode set_protocols(CURL *easy)
{
#if LIBCURL_VERSION_NUM >= 0x075500
    return curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
#else
    return curl_easy_setopt(easy, CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
}

/* What newer versions of libcurl offer. */
static CURLcode set_newer(CURL *easy)
{
    CURLcode r = CURLE_OK;

#if LIBCURL_VERSION_NUM >= 0x075700
    /* Otherwise giving up waits for the thread that waits for a name server. */
    r |= curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
    /* Otherwise a renewed CA file is seen a day later. */
    r |= curl_easy_setopt(easy, CURLOPT_CA_CACHE_TIMEOUT, 0L);
#else
    (void)easy;
#endif
    return r;
}

static CURLcode set_transport(CURL *easy, struct http_attempt *a, uint64_t connect_timeout_us)
{
    const struct http_request *r = a->request;
    long timeout_ms = (long)(connect_timeout_us / USEC_PER_MSEC);
    CURLcode c = CURLE_OK;

    c |= set_protocols(easy);
    c |= set_newer(easy);
    c |= curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    c |= curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
    c |= curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    c |= curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, (long)BUFFER_BYTES);
    c |= curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, timeout_ms > 0 ? timeout_ms : 1L);
    c |= curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_open_socket);
    c |= curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, a);
    /*
     * When a reused connection turns out to be closed, curl sends the request again, whatever the method. It does not
     * on a fresh one. Streams want a fresh one for their keepalive.
     */
    c |= curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, r->stream || !r->idempotent ? 1L : 0L);
    return c;
}

static CURLcode set_tls(CURL *easy, const struct http *h)
{
    CURLcode c = CURLE_OK;

    c |= curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    c |= curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, h->insecure ? 0L : 1L);
    c |= curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, h->insecure ? 0L : 2L);
    if (h->ca_file) {
        c |= curl_easy_setopt(easy, CURLOPT_CAINFO, h->ca_file);
        /* Has a built-in default as well, which would be trusted beside the file. */
        c |= curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
    }
    if (h->cert_file)
        c |= curl_easy_setopt(easy, CURLOPT_SSLCERT, h->cert_file);
    if (h->key_file)
        c |= curl_easy_setopt(easy, CURLOPT_SSLKEY, h->key_file);
    /* Never unset: OpenSSL would ask for it on the terminal, and wait. */
    c |= curl_easy_setopt(easy, CURLOPT_KEYPASSWD, h->key_password ? h->key_password : "");
    return c;
}

static bool sends_body(const struct http_request *r)
{
    return r->body || text_equal(r->method, "POST") || text_equal(r->method, "PUT") || text_equal(r->method, "PATCH");
}

static CURLcode set_request(CURL *easy, struct http_attempt *a)
{
    const struct http_request *r = a->request;
    CLEANUP(freep) char *url = NULL;
    struct textbuf b = {0};
    CURLcode c = CURLE_OK;

    textbuf_puts(&b, r->endpoints[a->endpoint]);
    textbuf_puts(&b, r->path);
    url = textbuf_take(&b);
    if (!url)
        return CURLE_OUT_OF_MEMORY;
    c |= curl_easy_setopt(easy, CURLOPT_URL, url);
    if (sends_body(r)) {
        c |= curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->body_len);
        c |= curl_easy_setopt(easy, CURLOPT_POSTFIELDS, r->body ? r->body : ""); /* not copied: lives in *r */
    } else if (text_equal(r->method, "HEAD")) {
        c |= curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
    }
    c |= curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, r->method);
    c |= curl_easy_setopt(easy, CURLOPT_HTTPHEADER, r->headers);
    if (r->user_password) {
        c |= curl_easy_setopt(easy, CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
        c |= curl_easy_setopt(easy, CURLOPT_USERPWD, r->user_password);
    }
    c |= curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    c |= curl_easy_setopt(easy, CURLOPT_WRITEDATA, a);
    c |= curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, a->curl_error);
    c |= curl_easy_setopt(easy, CURLOPT_PRIVATE, a);
    return c;
}

/* --- life of an attempt ----------------------------------------------------------------------------------------- */

int http_attempt_start(struct http_request *r, size_t endpoint, uint64_t connect_timeout_us, struct err *err)
{
    struct http_attempt *a = calloc(1, sizeof(*a));

    if (!a)
        return err_set(err, -ENOMEM, "out of memory");
    a->request = r;
    a->endpoint = endpoint;
    a->fd = -1;
    a->next = r->attempts;
    r->attempts = a;
    a->easy = curl_easy_init();
    /* Several codes or-ed are no code, but only 0 is success. */
    if (!a->easy ||
        (set_transport(a->easy, a, connect_timeout_us) | set_tls(a->easy, r->h) | set_request(a->easy, a))) {
        http_attempt_free(a);
        return err_set(err, -ENOMEM, "could not set up a request (out of memory, or libcurl lacks a feature)");
    }
    if (curl_multi_add_handle(r->h->multi, a->easy) != CURLM_OK) {
        http_attempt_free(a);
        return err_set(err, -ENOMEM, "could not start a request");
    }
    return 0;
}

void http_attempt_read(struct http_attempt *a)
{
    int running;

    if (a->fd >= 0)
        (void)curl_multi_socket_action(a->request->h->multi, a->fd, CURL_CSELECT_IN, &running);
}

void http_attempt_free(struct http_attempt *a)
{
    struct http_attempt **link = &a->request->attempts;

    while (*link != a)
        link = &(*link)->next;
    *link = a->next;
    if (a->easy) {
        (void)curl_multi_remove_handle(a->request->h->multi, a->easy);
        curl_easy_cleanup(a->easy);
    }
    textbuf_done(&a->body);
    free(a);
}

bool http_attempt_has_sent(const struct http_attempt *a)
{
    long bytes = 0;

    /* Counted right after each write to the socket; the TLS handshake does not count. */
    return curl_easy_getinfo(a->easy, CURLINFO_REQUEST_SIZE, &bytes) != CURLE_OK || bytes > 0;
}

static int connect_errno(const struct http_attempt *a)
{
    long os_errno = 0;

    (void)curl_easy_getinfo(a->easy, CURLINFO_OS_ERRNO, &os_errno);
    return os_errno > 0 ? (int)-os_errno : -ECONNREFUSED;
}

static int errno_of(const struct http_attempt *a, CURLcode code)
{
    switch ((int)code) {
    case CURLE_OPERATION_TIMEDOUT:
        return -ETIMEDOUT;
    case CURLE_COULDNT_CONNECT:
        return connect_errno(a);
    case CURLE_COULDNT_RESOLVE_HOST:
        return -EHOSTUNREACH;
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_PARTIAL_FILE:
        return -ECONNRESET;
    case CURLE_UNSUPPORTED_PROTOCOL: /* the scheme of the URL, or an answer that is no HTTP/1 */
        return http_attempt_has_sent(a) ? -EPROTO : -EINVAL;
    case CURLE_URL_MALFORMAT:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CACERT_BADFILE:
        return -EINVAL;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_BAD_CONTENT_ENCODING:
        return -EPROTO;
    case CURLE_OUT_OF_MEMORY:
        return -ENOMEM;
    default:
        return -EIO;
    }
}

int http_attempt_error(const struct http_attempt *a, CURLcode code, struct err *err)
{
    char buf[200];
    const char *endpoint = http_endpoint_text(a->request->endpoints[a->endpoint], buf, sizeof(buf));
    int r = errno_of(a, code);

    if (a->too_large)
        return err_set(err, -EMSGSIZE, "answer of \"%s\" is larger than %d bytes", endpoint, HTTP_BODY_MAX);
    if (a->body.failed || a->request->arrived.failed)
        return err_set(err, -ENOMEM, "out of memory");
    if (code == CURLE_COULDNT_CONNECT)
        return err_sys(err, r, "could not connect to \"%s\"", endpoint);
    return err_set(err, r, "request to \"%s\" failed: %s", endpoint,
                   *a->curl_error ? a->curl_error : curl_easy_strerror(code));
}
