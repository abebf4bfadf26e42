#include "dcs/codec.h"
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include "base/text.h"
#include "dcs/codec_internal.h"

/* The store itself refuses much smaller requests (etcd: 1.5 MB); what is longer is cut and thereby broken. */
enum { VALUE_MAX = 2 * 1024 * 1024, HISTORY_MAX = 4096 };

/* One key as it came. */
struct entry {
    char *text; /* terminated, owned */
    size_t len; /* more than strlen(text) if there is a NUL inside */
    uint64_t revision, session;
};

int codec_base_path(const char *namespace_, const char *scope, char *buf, size_t size, struct err *err)
{
    const char *parts[] = {"/", namespace_, "/", scope, "/"};
    size_t n = 0;

    if (!*scope)
        return err_set(err, -EINVAL, "the scope is empty");
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        for (const char *s = parts[i]; *s; s++) {
            if (*s == '/' && n > 0 && buf[n - 1] == '/')
                continue;
            if (n + 1 >= size)
                return err_set(err, -ENAMETOOLONG, "namespace and scope are longer than %zu bytes", size - 1);
            buf[n++] = *s;
        }
    buf[n] = '\0';
    return 0;
}

static void set_text(struct text_key *key, struct entry *e)
{
    free(key->text);
    *key = (struct text_key){.exists = true, .text = STEAL(e->text), .revision = e->revision};
}

static int load_initialize(struct cluster *c, struct entry *e)
{
    set_text(&c->initialize, e);
    c->initialize.session = e->session;
    return 0;
}

/*
 * config and failsafe are kept as text, but only as an object do they count as there. The revision is kept even if
 * they are broken, so that a conditional write can mend them.
 */
static int load_object_text(struct text_key *key, struct entry *e)
{
    json_t *json = NULL;
    int r = codec_json(e->text, e->len, &json);
    bool usable = r == 0 && json_is_object(json);

    json_decref(json);
    if (r == -ENOMEM)
        return r;
    if (usable) {
        set_text(key, e);
        return 0;
    }
    free(key->text);
    *key = (struct text_key){.revision = e->revision};
    return 0;
}

static int load_config(struct cluster *c, struct entry *e)
{
    return load_object_text(&c->config, e);
}

static int load_config_history(struct cluster *c, struct entry *e)
{
    set_text(&c->config_history, e);
    return 0;
}

static int load_failsafe(struct cluster *c, struct entry *e)
{
    int r = load_object_text(&c->failsafe, e);

    free(c->failsafe_list);
    c->failsafe_list = NULL;
    if (r == 0 && c->failsafe.exists)
        r = codec_parse_failsafe(c->failsafe.text, &c->failsafe_list);
    return r;
}

static int load_known(struct cluster *c, struct entry *e)
{
    int r = load_object_text(&c->known_text, e);

    free(c->known_list);
    c->known_list = NULL;
    if (r == 0 && c->known_text.exists)
        r = codec_parse_failsafe(c->known_text.text, &c->known_list);
    return r;
}

static int load_holder(struct leader_key *key, const struct entry *e)
{
    *key = (struct leader_key){.exists = e->len > 0, .session = e->session, .revision = e->revision};
    /* A holder we cannot name is still a holder, and must not look like a member whose name it begins with. */
    if (!codec_is_text(e->text, e->len) || !text_copy(key->name, sizeof(key->name), e->text))
        (void)text_copy(key->name, sizeof(key->name), "(unreadable name)");
    return 0;
}

static int load_leader(struct cluster *c, struct entry *e)
{
    return load_holder(&c->leader, e);
}

static int load_replica_address(struct cluster *c, struct entry *e)
{
    return load_holder(&c->replica_address, e);
}

static int load_timeline(struct cluster *c, struct entry *e)
{
    c->timeline = (struct timeline_key){.exists = true, .revision = e->revision};
    (void)text_to_u32(e->text, &c->timeline.timeline);
    return 0;
}

/* "node1, node2,": blanks and empty names out. */
static char *tidy_names(const char *text)
{
    struct textbuf b = {0};

    while (*text) {
        size_t len = strcspn(text, ",");
        const char *name = text;

        text += len;
        if (*text)
            text++;
        while (len && *name == ' ') {
            name++;
            len--;
        }
        while (len && name[len - 1] == ' ')
            len--;
        if (len && b.len)
            textbuf_puts(&b, ",");
        textbuf_append(&b, name, len);
    }
    return textbuf_take(&b);
}

static int read_sync(const json_t *json, struct sync_key *key)
{
    const char *standbys = json_string_value(json_object_get(json, "sync_standby"));
    uint64_t quorum = 0;

    if (!codec_json_copy(json, "leader", key->leader, sizeof(key->leader)) || !*key->leader)
        return 0;
    if (json_object_get(json, "quorum") && !json_is_null(json_object_get(json, "quorum")) &&
        (!codec_json_u64(json_object_get(json, "quorum"), &quorum) || quorum > UINT16_MAX)) {
        key->leader[0] = '\0';
        return 0;
    }
    if (standbys && *standbys) {
        key->standbys = tidy_names(standbys);
        if (!key->standbys)
            return -ENOMEM;
    }
    key->quorum = (unsigned)quorum;
    key->exists = true;
    return 0;
}

static int load_sync(struct cluster *c, struct entry *e)
{
    json_t *json = NULL;
    int r = codec_json(e->text, e->len, &json);

    if (r == -ENOMEM)
        return r;
    free(c->sync.standbys);
    c->sync = (struct sync_key){.revision = e->revision};
    if (r == 0)
        r = read_sync(json, &c->sync);
    json_decref(json);
    return r == -EBADMSG ? 0 : r;
}

/* "leader:candidate" of old; JSON that is merely broken must not be taken for it. */
static void read_legacy_failover(const char *text, struct failover_key *key)
{
    const char *ends[2], *begins[2] = {text, NULL};
    char *names[2] = {key->leader, key->candidate};

    if (!codec_is_text(text, strlen(text)) || strpbrk(text, "{}[]\""))
        return;
    ends[0] = text + strcspn(text, ":");
    begins[1] = *ends[0] ? ends[0] + 1 : ends[0];
    ends[1] = begins[1] + strcspn(begins[1], ":");
    for (size_t i = 0; i < 2; i++) {
        size_t len;

        while (begins[i] < ends[i] && *begins[i] == ' ')
            begins[i]++;
        len = (size_t)(ends[i] - begins[i]);
        while (len && begins[i][len - 1] == ' ')
            len--;
        if (len >= MEMBER_NAME_SIZE)
            return;
        memcpy(names[i], begins[i], len);
        names[i][len] = '\0';
    }
    key->exists = *key->leader || *key->candidate;
}

/* True unless the field is there and not a string that fits: a request we cannot read must not become another one. */
static bool read_optional(const json_t *json, const char *name, char *buf, size_t size)
{
    const json_t *value = json_object_get(json, name);

    return !value || json_is_null(value) || codec_json_copy(json, name, buf, size);
}

static void read_failover(const json_t *json, struct failover_key *key)
{
    if (!read_optional(json, "leader", key->leader, sizeof(key->leader)) ||
        !read_optional(json, "member", key->candidate, sizeof(key->candidate)) ||
        !read_optional(json, "scheduled_at", key->scheduled_at, sizeof(key->scheduled_at)))
        return;
    if (*key->scheduled_at) {
        /* Unreadable must not mean "now", and nor must the epoch. */
        if (!codec_parse_time(key->scheduled_at, &key->scheduled_at_s))
            return;
        if (key->scheduled_at_s == 0)
            key->scheduled_at_s = 1;
    }
    key->exists = *key->leader || *key->candidate;
}

static int load_failover(struct cluster *c, struct entry *e)
{
    struct failover_key key = {0};
    json_t *json = NULL;
    int r = codec_json(e->text, e->len, &json);

    if (r == -ENOMEM)
        return r;
    if (r == -EBADMSG && strlen(e->text) == e->len)
        read_legacy_failover(e->text, &key);
    else if (json_is_object(json))
        read_failover(json, &key);
    json_decref(json);
    if (!key.exists)
        key = (struct failover_key){0};
    key.revision = e->revision;
    c->failover = key;
    return 0;
}

/* {"optime":1,…}, or just the number. */
static int load_status(struct cluster *c, struct entry *e)
{
    json_t *json = NULL;
    int r = codec_json(e->text, e->len, &json);

    if (r == -ENOMEM)
        return r;
    c->status_lsn = c->shutdown_lsn = c->shutdown_session = 0;
    (void)codec_json_u64(json_object_get(json, CODEC_SHUTDOWN_SESSION), &c->shutdown_session);
    (void)codec_json_u64(json_object_get(json, CODEC_SHUTDOWN_LSN), &c->shutdown_lsn);
    c->shutdown_timeline = (uint32_t)json_integer_value(json_object_get(json, CODEC_SHUTDOWN_TIMELINE));
    (void)codec_json_u64(json_is_object(json) ? json_object_get(json, "optime") : json, &c->status_lsn);
    r = codec_load_status_slots(c, json);
    json_decref(json);
    set_text(&c->status_text, e);
    return r;
}

/* Written by and for old members; counts only while there is no status key, whichever of the two is read first. */
static int load_optime(struct cluster *c, struct entry *e)
{
    if (!c->status_text.exists && !text_to_u64(e->text, &c->status_lsn))
        c->status_lsn = 0;
    return 0;
}

static bool read_history_line(const json_t *json, struct history_line *ret)
{
    const char *text[5] = {NULL};
    size_t n = json_array_size(json);

    if (!json_is_array(json) || n < 3 || !codec_json_timeline(json_array_get(json, 0), &ret->timeline) ||
        !codec_json_u64(json_array_get(json, 1), &ret->switch_lsn))
        return false;
    for (size_t i = 2; i < 5 && i < n; i++)
        text[i] = json_string_value(json_array_get(json, i));
    /* Texts for people: cut where they do not fit. */
    (void)text_copy(ret->reason, sizeof(ret->reason), text[2] ? text[2] : "");
    (void)text_copy(ret->timestamp, sizeof(ret->timestamp), text[3] ? text[3] : "");
    (void)text_copy(ret->new_leader, sizeof(ret->new_leader), text[4] ? text[4] : "");
    return true;
}

/* One unreadable line makes the whole history unknown: elections must not compare with half of it. */
static int read_history(const json_t *json, struct cluster *c)
{
    size_t n = json_array_size(json);
    size_t first = n > HISTORY_MAX ? n - HISTORY_MAX : 0;
    struct history_line *lines;

    if (n == 0)
        return 0;
    lines = calloc(n - first, sizeof(*lines));
    if (!lines)
        return -ENOMEM;
    for (size_t i = first; i < n; i++)
        if (!read_history_line(json_array_get(json, i), &lines[i - first])) {
            free(lines);
            return 0;
        }
    c->history = lines;
    c->n_history = n - first;
    return 0;
}

static int load_history(struct cluster *c, struct entry *e)
{
    json_t *json = NULL;
    int r = codec_json(e->text, e->len, &json);

    if (r == -ENOMEM)
        return r;
    free(c->history);
    c->history = NULL;
    c->n_history = 0;
    r = read_history(json, c);
    json_decref(json);
    set_text(&c->history_text, e);
    return r;
}

/* The next free place, or that of an entry of the same name. NULL when memory ran out. */
static struct member *member_slot(struct cluster *c, const char *name)
{
    struct member *members;

    for (size_t i = 0; i < c->n_members; i++)
        if (strcmp(c->members[i].name, name) == 0)
            return &c->members[i];
    /* The capacity is always the next power of two. */
    if ((c->n_members & (c->n_members - 1)) == 0) {
        members = realloc(c->members, (c->n_members ? 2 * c->n_members : 1) * sizeof(*members));
        if (!members)
            return NULL;
        c->members = members;
    }
    c->members[c->n_members] = (struct member){0};
    return &c->members[c->n_members];
}

static int load_member(struct cluster *c, const char *name, struct entry *e)
{
    struct member m, *slot;
    int r;

    if (!*name || strchr(name, '/') || strlen(name) >= MEMBER_NAME_SIZE || !codec_is_text(name, strlen(name)))
        return 0;
    slot = member_slot(c, name);
    if (!slot)
        return -ENOMEM;
    if (slot == &c->members[c->n_members] && c->n_members >= CODEC_MEMBERS_MAX)
        return 0;
    r = codec_parse_member(name, e->text, &m);
    if (r < 0)
        return r;
    m.session = e->session;
    if (slot == &c->members[c->n_members])
        c->n_members++;
    else
        free(slot->data);
    *slot = m;
    return 0;
}

static const struct {
    const char *key;
    int (*load)(struct cluster *c, struct entry *e);
} loaders[] = {
    {"initialize", load_initialize},
    {"config", load_config},
    {"leader", load_leader},
    {"status", load_status},
    {"optime/leader", load_optime},
    {"history", load_history},
    {"sync", load_sync},
    {"failover", load_failover},
    {"failsafe", load_failsafe},
    {"config_history", load_config_history},
    {"replica_address", load_replica_address},
    {"timeline", load_timeline},
    {"known_members", load_known},
};

static int load_entry(struct cluster *c, const char *key, struct entry *e)
{
    if (text_starts_with(key, "members/"))
        return load_member(c, key + strlen("members/"), e);
    for (size_t i = 0; i < ARRAY_LEN(loaders); i++)
        if (strcmp(key, loaders[i].key) == 0)
            return loaders[i].load(c, e);
    return 0;
}

int codec_load_key(struct cluster *c, const char *key, const char *value, size_t value_len, uint64_t revision,
                   uint64_t session, struct err *err)
{
    struct entry e = {.len = value_len > VALUE_MAX ? VALUE_MAX : value_len, .revision = revision, .session = session};
    int r;

    e.text = malloc(e.len + 1);
    if (!e.text)
        return err_set(err, -ENOMEM, "out of memory");
    if (e.len)
        memcpy(e.text, value, e.len);
    e.text[e.len] = '\0';
    r = load_entry(c, key, &e);
    free(e.text);
    return r < 0 ? err_set(err, r, "out of memory") : 0;
}

static int compare_members(const void *a, const void *b)
{
    return strcmp(((const struct member *)a)->name, ((const struct member *)b)->name);
}

void codec_load_finish(struct cluster *c)
{
    if (c->n_members > 1)
        qsort(c->members, c->n_members, sizeof(*c->members), compare_members);
}
