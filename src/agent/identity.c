/*
 * S9: who this node is beyond its name. A random id beside the data directory says which node, a random word in the
 * run-time directory, which no copy of a disk takes along, which life of it. Both are published in the member key as
 * "pgtether_node"; the reference ignores that.
 *
 * A member key of our name that is neither absent nor this life's is an earlier life's, which ends with its lease, or
 * that of another node that lives: a clone, or a mistake in "name". Until it is known which, nothing is written there
 * and this node does not compete. Whoever comes second gives way.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include "agent/parts.h"
#include "base/bootid.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "io/file.h"

enum { WORD_SIZE = 33, FILE_MAX = 256, GRACE_US = 5000000, AGAIN_US = 1000000 };

static void random_word(char word[WORD_SIZE])
{
    uint64_t bytes[2] = {0};

    if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes)) {
        bytes[0] = clock_now_us(); /* never seen; better than one id for all */
        bytes[1] = (uint64_t)getpid();
    }
    (void)text_print(word, WORD_SIZE, "%016" PRIx64 "%016" PRIx64, bytes[0], bytes[1]);
}

static bool is_word(const char *s)
{
    return strspn(s, "0123456789abcdef") == WORD_SIZE - 1;
}

/* The word in a file, made new where there is none that counts: its first line must be `under`. */
static void keep_word(const char *path, const char *under, char word[WORD_SIZE])
{
    CLEANUP(freep) char *text = NULL;
    size_t len = strlen(under);
    char content[FILE_MAX];
    struct err err = {0};

    if (file_read(path, FILE_MAX, &text, NULL, NULL) >= 0 && strncmp(text, under, len) == 0 && text[len] == '\n' &&
        is_word(text + len + 1)) {
        (void)text_print(word, WORD_SIZE, "%.*s", WORD_SIZE - 1, text + len + 1);
        return;
    }
    random_word(word);
    (void)text_print(content, sizeof(content), "%s\n%s\n", under, word);
    if (file_write_atomic(path, content, strlen(content), 0600, &err) < 0)
        log_warning("could not keep the identity of this node, it will be another one after the next start: %s",
                    err.msg);
}

void identity_open(struct agent *a)
{
    const char *run_dir = getenv("PGTETHER_RUN_DIR");
    char path[512], id[WORD_SIZE], life[WORD_SIZE], boot[BOOT_ID_SIZE];

    if (!text_print(path, sizeof(path), "%s.pgtether-id", a->config->postgresql.data_dir))
        return;
    keep_word(path, "pgtether-id 1", id);
    /* The run-time directory may be on a disk: what is from another boot is from another life. */
    (void)boot_id_read(boot, sizeof(boot));
    if (run_dir && text_print(path, sizeof(path), "%s/life", run_dir))
        keep_word(path, boot, life);
    else
        random_word(life);
    (void)text_print(a->identity.node, sizeof(a->identity.node), "%s:%s", id, life);
}

static bool same_id(const char *a, const char *b)
{
    return strncmp(a, b, WORD_SIZE) == 0;
}

static void give_way(struct agent *a, const struct member *m)
{
    log_error("there is another node with the name \"%s\": somebody keeps its member key alive, at %s", m->name,
              m->api_url[0] ? m->api_url : "an unknown address");
    if (same_id(m->node, a->identity.node))
        log_error("HINT: This node and that one are copies of each other, such as a cloned machine: give one of them "
                  "another \"name\" in \"%s\", remove \"%s.pgtether-id\" there, and let it make a new copy of the data",
                  a->config->path, a->config->postgresql.data_dir);
    else
        log_error("HINT: every node of a cluster needs a name of its own: change \"name\" in \"%s\"", a->config->path);
    agent_exit(a, AGENT_EXIT_CONFIG);
}

static void clear(struct agent *a)
{
    if (a->identity.waiting_since_us)
        log_info("the earlier member key of this name has vanished");
    a->identity.is_clear = true;
    a->identity.waiting_since_us = 0;
}

/* Before the first write: whose is what is there? */
static void look_at_start(struct agent *a, const struct member *m, uint64_t now_us)
{
    if (!m || strcmp(m->node, a->identity.node) == 0) {
        clear(a);
        return;
    }
    if (!a->identity.waiting_since_us) {
        a->identity.waiting_since_us = now_us;
        log_info("the member key of an earlier life of this node, or of another one of its name, is there: waiting for "
                 "its end");
        duplicate_check(a, m);
    }
    /* The reference's key, or an older version's: they are only asked whether they live. */
    if (!m->node[0] && !a->identity.asking)
        clear(a);
    else if (now_us - a->identity.waiting_since_us > a->dynamic->policy.ttl_us + GRACE_US)
        give_way(a, m);
    else
        agent_wake_at(a, now_us + AGAIN_US);
}

/*
 * Our key was overwritten since we wrote it. A leader stays, and of two that do not lead the greater identity goes:
 * whatever both do, one of them is left.
 */
static void look_later(struct agent *a, const struct member *m)
{
    if (!m || !a->member.session || m->session == a->member.session || strcmp(m->node, a->identity.node) == 0 ||
        a->cluster->read_sent_at_us <= a->member.confirmed_at_us)
        return;
    impostor_found(a, IMPOSTOR_NAME, "another node writes the member key of \"%s\"", m->name);
    if (!a->lease.held && !agent_is_primary(a) && (m->role == PG_ROLE_PRIMARY || strcmp(a->identity.node, m->node) > 0))
        give_way(a, m);
}

void identity_check(struct agent *a)
{
    const struct member *m = cluster_member(a->cluster, a->config->name);

    if (a->identity.is_clear)
        look_later(a, m);
    else
        look_at_start(a, m, clock_now_us());
    if (!a->identity.is_clear && a->memory.no_race_until_us < clock_now_us() + AGAIN_US)
        a->memory.no_race_until_us = clock_now_us() + AGAIN_US;
}
