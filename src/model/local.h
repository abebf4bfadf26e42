/* The PostgreSQL of this node as the decision core sees it: facts gathered at one instant, with their age. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "model/pgstate.h"
#include "model/tags.h"

struct local_pg {
    /* The data directory, from a check in a child process; a check that has not answered lately is data_dir_known
     * false. */
    bool data_dir_known;
    bool data_dir_empty;   /* no cluster in it */
    bool foreign_server;   /* somebody else has started a server in it, while ours is down */
    bool data_dir_foreign; /* not a data directory of ours: not empty, but no pg_control, or of another owner */

    /* From pg_controldata, valid while the server is down. */
    bool control_known;
    uint64_t sysid;
    enum pg_control_state control_state;
    uint32_t control_timeline;
    uint64_t control_checkpoint_lsn;
    uint64_t control_checkpoint_end_lsn; /* end of the shutdown checkpoint record; 0 = unknown */
    uint64_t control_min_recovery_lsn;
    uint32_t control_min_recovery_timeline;
    uint32_t standby_timeline; /* it last answered as a standby, on that timeline; 0 = not known, or made a primary */
    /* The settings WAL was written under, which a standby must not fall below; 0 = unknown. */
    uint32_t control_max_connections, control_max_worker_processes, control_max_wal_senders;
    uint32_t control_max_prepared_xacts, control_max_locks_per_xact;

    /* From the process and SQL probes. */
    bool running;            /* the postmaster is alive */
    bool accepting;          /* the last probe got an answer and it has not expired */
    uint64_t answered_at_us; /* what the last answer was is below; 0 = none yet */
    bool hung;               /* running, started long ago, but the probes have gone unanswered beyond their budget */
    uint64_t rejecting_since_us; /* it has said since then that it is starting or recovering; 0 = it does not */
    bool in_recovery;
    uint32_t timeline;                /* current (primary) or received/replayed (standby) */
    uint64_t current_lsn;             /* primary: flush position */
    uint64_t receive_lsn, replay_lsn; /* standby */
    bool streaming;
    bool replay_paused;
    /* Replay stands still since then, as the WAL needs higher parameters than the server was started with; 0 = it does
     * not. */
    uint64_t starved_since_us;
    /* standby: it has not been at the end of the WAL it has since it was started; its position will grow by itself */
    bool replaying;
    char follows[MEMBER_NAME_SIZE]; /* whom our primary_conninfo points to, as in a decision; "" = nobody */
    uint64_t running_since_us;      /* when the postmaster was started, CLOCK_BOOTTIME */
    uint64_t starting_since_us;     /* when it last entered "starting"; 0 = not starting */
};

/* The position of a standby that counts in a leader race: what this node would have to offer. */
static inline uint64_t local_pg_lsn(const struct local_pg *pg)
{
    return pg->receive_lsn > pg->replay_lsn ? pg->receive_lsn : pg->replay_lsn;
}
