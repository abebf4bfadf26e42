/*
 * The store was built anew or restored: whoever leads by a lease of the old one is not to be found in it, and may go on
 * until that lease ends, a ttl at most from now on, as the old store confirms none any more. What tells one store from
 * another is kept in the runtime directory, so that an agent that is started just then knows it, too.
 */
#include <stdlib.h>
#include <string.h>
#include "agent/parts.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "io/file.h"

enum { IDENTITY_SIZE = 128 };

static bool identity_path(char *buf, size_t size)
{
    const char *dir = getenv("PGTETHER_RUN_DIR");

    return dir && *dir && text_print(buf, size, "%s/store", dir);
}

void store_recall(struct agent *a)
{
    CLEANUP(freep) char *text = NULL;
    char path[512];

    if (a->dcs->ops->recall && identity_path(path, sizeof(path)) &&
        file_read(path, IDENTITY_SIZE, &text, NULL, NULL) >= 0)
        a->dcs->ops->recall(a->dcs, text);
}

/* Not of a new store before the old leases have ended: a successor of this process has to wait for that, too. */
static void keep_identity(struct agent *a)
{
    char path[512], text[IDENTITY_SIZE];
    struct err err = {0};

    if (clock_now_us() < a->store_settles_at_us)
        return;
    if (!a->dcs->ops->identify || !identity_path(path, sizeof(path)))
        return;
    a->dcs->ops->identify(a->dcs, text, sizeof(text));
    if (strcmp(text, a->store_identity) == 0)
        return;
    (void)text_copy(a->store_identity, sizeof(a->store_identity), text);
    if (file_write_atomic(path, text, strlen(text), 0600, &err) < 0)
        log_warning("could not note which store this is: %s", err.msg);
}

void store_note_change(struct agent *a)
{
    uint64_t until_us = clock_now_us() + a->dynamic->policy.ttl_us;
    uint64_t before = a->store_life ? a->store_life : 1;

    a->store_life = a->cluster->store_life;
    if (a->store_life == before) {
        keep_identity(a);
        return;
    }
    a->store_settles_at_us = until_us;
    log_warning("the store was built anew or restored: %s",
                a->lease.held ? "writing what belongs there" : "not leading before every old lease has ended");
    if (a->memory.no_race_until_us < until_us)
        a->memory.no_race_until_us = until_us;
    a->memory.foreign_word_session = a->cluster->shutdown_session;
    a->config_revision = 0; /* the same number may be of another content */
    a->sync.restored = true;
    a->sync.foreign_revision = a->cluster->sync.revision;
}
