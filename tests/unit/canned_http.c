#include "canned_http.h"
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/loop.h"
#include "base/text.h"

enum { RULES_MAX = 32, CONNECTIONS_MAX = 32, REQUESTS_MAX = 256 };

struct connection {
    struct canned_server *server;
    int fd;
    sd_event_source *source;
    struct textbuf in;
    bool stream;
};

struct canned_server {
    sd_event *loop;
    int fd;
    sd_event_source *source;
    char url[64];
    struct canned_rule rules[RULES_MAX];
    unsigned used[RULES_MAX];
    size_t n_rules;
    struct connection connections[CONNECTIONS_MAX];
    struct {
        char path[128];
        char *text; /* the whole request */
    } requests[REQUESTS_MAX];
    size_t n_requests;
};

static bool ends_with(const char *s, const char *end)
{
    return strlen(s) >= strlen(end) && strcmp(s + strlen(s) - strlen(end), end) == 0;
}

static void close_connection(struct connection *c)
{
    c->source = loop_source_free(c->source);
    if (c->fd >= 0)
        (void)close(c->fd);
    textbuf_done(&c->in);
    *c = (struct connection){.server = c->server, .fd = -1};
}

static void send_text(int fd, const char *text)
{
    /* The peer may be gone; that is its business. */
    (void)!send(fd, text, strlen(text), MSG_NOSIGNAL);
}

static struct canned_rule find_rule(struct canned_server *s, const char *path)
{
    for (size_t i = 0; i < s->n_rules; i++) {
        if (!ends_with(path, s->rules[i].path) || (s->rules[i].times && s->used[i] >= s->rules[i].times))
            continue;
        s->used[i]++;
        return s->rules[i];
    }
    return (struct canned_rule){.path = path, .body = "404 page not found\n", .status = 404};
}

static void answer(struct connection *c, const struct canned_rule *rule)
{
    struct textbuf out = {0};
    size_t len = strlen(rule->body ? rule->body : "");

    if (rule->how == CANNED_SILENCE)
        return;
    if (rule->how != CANNED_HANG_UP) {
        textbuf_printf(&out, "HTTP/1.1 %d Canned\r\nContent-Type: application/json\r\n",
                       rule->status ? rule->status : 200);
        if (rule->how == CANNED_STREAM)
            textbuf_puts(&out, "Connection: close\r\n\r\n");
        else
            textbuf_printf(&out, "Content-Length: %zu\r\n\r\n", rule->how == CANNED_CUT ? len + 10 : len);
        textbuf_puts(&out, rule->body ? rule->body : "");
        send_text(c->fd, out.data);
        textbuf_done(&out);
    }
    if (rule->how == CANNED_CUT || rule->how == CANNED_HANG_UP)
        close_connection(c);
    c->stream = rule->how == CANNED_STREAM;
}

/* Length of a complete request at the beginning of the text, 0 = not yet. */
static size_t request_length(const char *text)
{
    const char *end = strstr(text, "\r\n\r\n"), *length = strcasestr(text, "\r\nContent-Length:");
    size_t body = 0;

    if (!end)
        return 0;
    if (length && length < end)
        body = strtoul(length + strlen("\r\nContent-Length:"), NULL, 10);
    return strlen(end + 4) >= body ? (size_t)(end + 4 - text) + body : 0;
}

static void take_request(struct connection *c, size_t len)
{
    struct canned_server *s = c->server;
    struct canned_rule rule;
    char path[128] = "";

    assert(s->n_requests < REQUESTS_MAX);
    (void)sscanf(c->in.data, "%*s %127s", path);
    (void)text_copy(s->requests[s->n_requests].path, sizeof(path), path);
    s->requests[s->n_requests++].text = strndup(c->in.data, len);
    memmove(c->in.data, c->in.data + len, c->in.len - len + 1);
    c->in.len -= len;
    rule = find_rule(s, path);
    answer(c, &rule);
}

static int on_readable(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    struct connection *c = userdata;
    char buf[4096];
    ssize_t n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);
    size_t len;

    (void)source;
    (void)revents;
    if (n < 0 && errno == EAGAIN)
        return 0;
    if (n <= 0) {
        close_connection(c);
        return 0;
    }
    textbuf_append(&c->in, buf, (size_t)n);
    while (c->fd >= 0 && c->in.len && (len = request_length(c->in.data)) > 0)
        take_request(c, len);
    return 0;
}

static int on_accept(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    struct canned_server *s = userdata;
    int peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    (void)source;
    (void)revents;
    if (peer < 0)
        return 0;
    for (size_t i = 0; i < CONNECTIONS_MAX; i++) {
        struct connection *c = &s->connections[i];

        if (c->fd >= 0)
            continue;
        c->fd = peer;
        (void)sd_event_add_io(s->loop, &c->source, peer, EPOLLIN, on_readable, c);
        return 0;
    }
    (void)close(peer);
    return 0;
}

void canned_server_replace(struct canned_server *s, const struct canned_rule *rules, size_t n_rules)
{
    assert(n_rules <= RULES_MAX);
    if (n_rules)
        memcpy(s->rules, rules, n_rules * sizeof(*rules));
    memset(s->used, 0, sizeof(s->used));
    s->n_rules = n_rules;
}

struct canned_server *canned_server_new(sd_event *loop, const struct canned_rule *rules, size_t n_rules)
{
    struct canned_server *s = calloc(1, sizeof(*s));
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);

    assert(s);
    s->loop = loop;
    canned_server_replace(s, rules, n_rules);
    for (size_t i = 0; i < CONNECTIONS_MAX; i++)
        s->connections[i] = (struct connection){.server = s, .fd = -1};
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (bind(s->fd, (struct sockaddr *)&address, size) < 0 || listen(s->fd, 64) < 0 ||
        getsockname(s->fd, (struct sockaddr *)&address, &size) < 0 ||
        sd_event_add_io(loop, &s->source, s->fd, EPOLLIN, on_accept, s) < 0)
        abort();
    (void)text_print(s->url, sizeof(s->url), "http://127.0.0.1:%u", ntohs(address.sin_port));
    return s;
}

struct canned_server *canned_server_free(struct canned_server *s)
{
    if (!s)
        return NULL;
    canned_server_drop(s);
    s->source = loop_source_free(s->source);
    (void)close(s->fd);
    for (size_t i = 0; i < s->n_requests; i++)
        free(s->requests[i].text);
    free(s);
    return NULL;
}

const char *canned_server_url(const struct canned_server *s)
{
    return s->url;
}

unsigned canned_server_count(const struct canned_server *s, const char *path)
{
    unsigned n = 0;

    for (size_t i = 0; i < s->n_requests; i++)
        n += ends_with(s->requests[i].path, path);
    return n;
}

const char *canned_server_last(const struct canned_server *s, const char *path)
{
    for (size_t i = s->n_requests; i-- > 0;)
        if (ends_with(s->requests[i].path, path))
            return s->requests[i].text;
    return "";
}

void canned_server_push(struct canned_server *s, const char *data)
{
    for (size_t i = 0; i < CONNECTIONS_MAX; i++)
        if (s->connections[i].stream)
            send_text(s->connections[i].fd, data);
}

void canned_server_drop(struct canned_server *s)
{
    for (size_t i = 0; i < CONNECTIONS_MAX; i++)
        if (s->connections[i].fd >= 0)
            close_connection(&s->connections[i]);
}
