#include "pg/controldata.h"
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include "base/text.h"

/* The text after "name:" and its blanks, at the start of a line; false if there is no such line or it does not fit. */
static bool field(const char *output, const char *name, char *buf, size_t size)
{
    size_t name_len = strlen(name);

    for (const char *line = output; line; line = strchr(line, '\n')) {
        size_t len;

        line += *line == '\n';
        if (strncmp(line, name, name_len) != 0 || line[name_len] != ':')
            continue;
        line += name_len + 1;
        line += strspn(line, " \t");
        len = strcspn(line, "\r\n");
        return text_print(buf, size, "%.*s", (int)(len < size ? len : size), line);
    }
    return false;
}

static bool field_u64(const char *output, const char *name, uint64_t *ret)
{
    char text[64];

    return field(output, name, text, sizeof(text)) && text_to_u64(text, ret);
}

static bool field_u32(const char *output, const char *name, uint32_t *ret)
{
    char text[64];

    return field(output, name, text, sizeof(text)) && text_to_u32(text, ret);
}

static bool field_lsn(const char *output, const char *name, uint64_t *ret_lsn)
{
    char text[64];

    return field(output, name, text, sizeof(text)) && text_to_lsn(text, ret_lsn);
}

static bool field_on(const char *output, const char *name)
{
    char text[64];

    return field(output, name, text, sizeof(text)) && strcmp(text, "on") == 0;
}

static void take_wal_settings(const char *output, struct local_pg *ret)
{
    struct pg_control_settings s;

    pg_controldata_parse_settings(output, &s);
    ret->control_max_connections = s.max_connections;
    ret->control_max_worker_processes = s.max_worker_processes;
    ret->control_max_wal_senders = s.max_wal_senders;
    ret->control_max_prepared_xacts = s.max_prepared_transactions;
    ret->control_max_locks_per_xact = s.max_locks_per_transaction;
}

int pg_controldata_parse(const char *output, struct local_pg *ret, struct err *err)
{
    struct local_pg found = *ret;
    char state[64];

    /* The values below such a warning are whatever the disk returned. */
    if (strstr(output, "CRC checksum does not match"))
        return err_set(err, -EBADMSG, "the control file is corrupt: its checksum does not match");
    found.control_min_recovery_lsn = 0;
    found.control_min_recovery_timeline = 0;
    found.control_checkpoint_end_lsn = 0;
    if (!field_u64(output, "Database system identifier", &found.sysid) ||
        !field(output, "Database cluster state", state, sizeof(state)) ||
        !field_lsn(output, "Latest checkpoint location", &found.control_checkpoint_lsn) ||
        !field_u32(output, "Latest checkpoint's TimeLineID", &found.control_timeline))
        return err_set(err, -EBADMSG, "unrecognized output of pg_controldata: \"%.120s\"", output);
    found.control_state = pg_control_state_from_text(state);
    if (found.control_state == PG_CONTROL_UNKNOWN)
        return err_set(err, -EBADMSG, "unrecognized cluster state \"%s\" in the control file", state);
    (void)field_lsn(output, "Minimum recovery ending location", &found.control_min_recovery_lsn);
    (void)field_u32(output, "Min recovery ending loc's timeline", &found.control_min_recovery_timeline);
    take_wal_settings(output, &found);
    found.control_known = true;
    *ret = found;
    return 0;
}

void pg_controldata_parse_settings(const char *output, struct pg_control_settings *ret)
{
    struct pg_control_settings s = {0};

    (void)field_u32(output, "Data page checksum version", &s.data_checksum_version);
    s.wal_log_hints = field_on(output, "wal_log_hints setting");
    s.track_commit_timestamp = field_on(output, "track_commit_timestamp setting");
    (void)field_u32(output, "max_connections setting", &s.max_connections);
    (void)field_u32(output, "max_worker_processes setting", &s.max_worker_processes);
    (void)field_u32(output, "max_wal_senders setting", &s.max_wal_senders);
    (void)field_u32(output, "max_prepared_xacts setting", &s.max_prepared_transactions);
    (void)field_u32(output, "max_locks_per_xact setting", &s.max_locks_per_transaction);
    (void)field(output, "wal_level setting", s.wal_level, sizeof(s.wal_level));
    *ret = s;
}

/* The LSN text that follows `mark` and, after it, `then`; 0 if that is not what the line says. */
static uint64_t lsn_after(const char *line, const char *mark, const char *then)
{
    const char *at = strstr(line, mark);
    char text[TEXT_LSN_SIZE];
    uint64_t lsn = 0;

    if (at && *then)
        at = strstr(at, then);
    if (!at)
        return 0;
    at += strlen(*then ? then : mark);
    (void)text_print(text, sizeof(text), "%.*s", (int)strspn(at, "0123456789ABCDEFabcdef/"), at);
    return text_to_lsn(text, &lsn) ? lsn : 0;
}

/*
 * The reader's complaint about what is not a record any more names where the next one would start: that is the end.
 * Behind the last record of a recycled segment are old bytes, not zeroes, hence the second and third form.
 */
static uint64_t complaint_lsn(const char *line)
{
    static const struct {
        const char *mark, *then;
    } forms[] = {
        {"invalid record length at ", ""},
        {"record with incorrect prev-link ", " at "},
        {"invalid resource manager ID ", " at "},
    };

    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        uint64_t lsn = lsn_after(line, forms[i].mark, forms[i].then);

        if (lsn)
            return lsn;
    }
    return 0;
}

uint64_t pg_waldump_parse_end(const char *output, uint64_t checkpoint_lsn)
{
    uint64_t end_lsn = 0;
    unsigned n_records = 0;

    while (*output) {
        size_t len = strcspn(output, "\n");
        char line[1024];

        (void)text_print(line, sizeof(line), "%.*s", (int)(len < sizeof(line) ? len : sizeof(line) - 1), output);
        output += len + (output[len] == '\n');
        if (text_starts_with(line, "rmgr: ")) {
            n_records++;
            if (lsn_after(line, "lsn: ", "") != checkpoint_lsn || !strstr(line, "CHECKPOINT_SHUTDOWN"))
                return 0;
        } else if (complaint_lsn(line)) {
            end_lsn = complaint_lsn(line);
        }
    }
    return n_records == 1 && end_lsn > checkpoint_lsn ? end_lsn : 0;
}
