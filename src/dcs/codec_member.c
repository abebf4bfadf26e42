/* Member keys: what other nodes publish about themselves. */
#include "dcs/codec.h"
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "base/text.h"
#include "dcs/codec_internal.h"

/* Host and port of "postgres://user:password@[::1]:5432/postgres"; the host stays "" when there is none to be had. */
static void parse_authority(const char *url, struct member *m)
{
    const char *begin = strstr(url, "://"), *end, *at, *colon;
    size_t host_len;
    uint32_t port;
    char buf[HOST_SIZE + 8];

    if (!begin)
        return;
    begin += 3;
    end = begin + strcspn(begin, "/?#");
    at = memrchr(begin, '@', (size_t)(end - begin));
    if (at)
        begin = at + 1;
    if ((size_t)(end - begin) >= sizeof(buf))
        return;
    memcpy(buf, begin, (size_t)(end - begin));
    buf[end - begin] = '\0';

    /* A colon inside of brackets belongs to the IPv6 address. */
    colon = strrchr(buf, ':');
    if (colon && strchr(colon, ']'))
        colon = NULL;
    if (colon && (!text_to_u32(colon + 1, &port) || port == 0 || port > UINT16_MAX))
        return;
    host_len = colon ? (size_t)(colon - buf) : strlen(buf);
    begin = buf;
    if (host_len >= 2 && buf[0] == '[' && buf[host_len - 1] == ']') {
        begin++;
        host_len -= 2;
    }
    if (host_len == 0 || host_len >= sizeof(m->host))
        return;
    memcpy(m->host, begin, host_len);
    m->host[host_len] = '\0';
    if (colon)
        m->port = (uint16_t)port;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* One value of a query string: up to '&', percent-decoded; "" when it does not fit. */
static void copy_query_value(const char *s, char *buf, size_t size)
{
    size_t n = 0;

    for (; *s && *s != '&' && *s != '#'; s++) {
        char c = *s == '+' ? ' ' : *s;

        if (*s == '%' && hex_digit(s[1]) >= 0 && hex_digit(s[2]) >= 0) {
            c = (char)(hex_digit(s[1]) << 4 | hex_digit(s[2]));
            s += 2;
        }
        if (n + 1 >= size || c == '\0') {
            n = 0;
            break;
        }
        buf[n++] = c;
    }
    buf[n] = '\0';
}

/* The first form ever: a connection string that hides the REST address in application_name. */
static void parse_legacy(const char *value, struct member *m)
{
    static const char name[] = "application_name=";
    size_t url_len = strcspn(value, "?");
    const char *query = value + url_len;

    if (url_len < sizeof(m->conn_url)) {
        memcpy(m->conn_url, value, url_len);
        m->conn_url[url_len] = '\0';
    }
    for (; *query; query += strcspn(query, "&")) {
        query++;
        if (text_starts_with(query, name)) {
            copy_query_value(query + sizeof(name) - 1, m->api_url, sizeof(m->api_url));
            break;
        }
    }
}

/* Tags come from YAML written by people, hence the words. -1: not given. */
static int tag_bool(const json_t *tags, const char *key)
{
    static const char *const yes[] = {"true", "on", "yes", "1"};
    const json_t *value = json_object_get(tags, key);

    if (!value || json_is_null(value))
        return -1;
    if (json_is_integer(value))
        return json_integer_value(value) != 0;
    if (json_is_string(value))
        for (size_t i = 0; i < ARRAY_LEN(yes); i++)
            if (strcasecmp(json_string_value(value), yes[i]) == 0)
                return 1;
    return json_is_true(value);
}

static int tag_int(const json_t *tags, const char *key, int missing)
{
    const json_t *value = json_object_get(tags, key);
    json_int_t number;

    if (json_is_integer(value)) {
        number = json_integer_value(value);
    } else if (json_is_string(value) && *json_string_value(value)) {
        char *end;

        errno = 0;
        number = strtol(json_string_value(value), &end, 10);
        if (*end || errno)
            return missing;
    } else {
        return missing;
    }
    if (number > INT32_MAX)
        return INT32_MAX;
    return number < INT32_MIN ? INT32_MIN : (int)number;
}

/* The flag wins over the priority when both are given; a priority of 0 or less means "no". */
static bool tag_priority(const json_t *tags, const char *flag_key, const char *priority_key, int *ret_priority)
{
    int flag = tag_bool(tags, flag_key);
    int priority = tag_int(tags, priority_key, 1);

    *ret_priority = flag == 1 ? 0 : priority;
    return flag >= 0 ? flag : priority <= 0;
}

static void parse_tags(const json_t *tags, struct tags *ret)
{
    *ret = TAGS_DEFAULT;
    if (!json_is_object(tags))
        return;
    ret->nofailover = tag_priority(tags, "nofailover", "failover_priority", &ret->failover_priority);
    ret->nosync = tag_priority(tags, "nosync", "sync_priority", &ret->sync_priority);
    ret->noloadbalance = tag_bool(tags, "noloadbalance") == 1;
    ret->clonefrom = tag_bool(tags, "clonefrom") == 1;
    ret->nostream = tag_bool(tags, "nostream") == 1;
    (void)codec_json_copy(tags, "replicatefrom", ret->replicatefrom, sizeof(ret->replicatefrom));
}

static uint64_t number_or_zero(const json_t *object, const char *key)
{
    uint64_t number;

    return codec_json_u64(json_object_get(object, key), &number) ? number : 0;
}

static void parse_object(const json_t *json, struct member *m)
{
    const char *text;

    (void)codec_json_copy(json, "conn_url", m->conn_url, sizeof(m->conn_url));
    (void)codec_json_copy(json, "api_url", m->api_url, sizeof(m->api_url));
    (void)codec_json_copy(json, "version", m->version, sizeof(m->version));
    text = json_string_value(json_object_get(json, "state"));
    if (text)
        m->state = pg_state_from_text(text);
    text = json_string_value(json_object_get(json, "role"));
    if (text)
        m->role = pg_role_from_text(text);
    parse_tags(json_object_get(json, "tags"), &m->tags);

    m->xlog_lsn = number_or_zero(json, "xlog_location");
    m->receive_lsn = number_or_zero(json, "receive_lsn");
    m->replay_lsn = number_or_zero(json, "replay_lsn");
    if (!codec_json_timeline(json_object_get(json, "timeline"), &m->timeline))
        m->timeline = 0;
    (void)codec_json_copy(json, "replication_state", m->replication_state, sizeof(m->replication_state));
    m->streaming = strcmp(m->replication_state, "streaming") == 0;
    m->pause = json_is_true(json_object_get(json, "pause"));
    m->pending_restart = json_is_true(json_object_get(json, "pending_restart"));
    m->fence_at_s = (int64_t)json_integer_value(json_object_get(json, "pgtether_fence_at"));
    (void)codec_json_copy(json, "pgtether_fence", m->fence_note, sizeof(m->fence_note));
    (void)codec_json_copy(json, "pgtether_note", m->note, sizeof(m->note));
    (void)codec_json_copy(json, "pgtether_node", m->node, sizeof(m->node));
    m->checkpoint_pending = json_is_false(json_object_get(json, "checkpoint_after_promote"));
}

int codec_parse_member(const char *name, const char *value, struct member *ret)
{
    struct member m = {.port = 5432, .state = PG_STATE_UNKNOWN, .role = PG_ROLE_UNKNOWN, .tags = TAGS_DEFAULT};
    json_t *json = NULL;
    int r;

    if (!text_copy(m.name, sizeof(m.name), name))
        return -ENAMETOOLONG;
    m.data = strdup(value);
    if (!m.data)
        return -ENOMEM;

    if (text_starts_with(value, "postgres")) {
        parse_legacy(value, &m);
    } else {
        r = codec_json(value, strlen(value), &json);
        if (r == -ENOMEM) {
            free(m.data);
            return r;
        }
        if (r == 0)
            parse_object(json, &m);
        json_decref(json);
    }
    parse_authority(m.conn_url, &m);
    *ret = m;
    return 0;
}
