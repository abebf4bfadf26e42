/*
 * query: SQL on a member, found by its role. What fails there is printed as a row, as the reference does, so that a
 * monitoring loop goes on.
 */
#include <errno.h>
#include <jansson.h>
#include <libpq-fe.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "ctl/ask.h"
#include "ctl/pick.h"
#include "ctl/watch.h"

enum { OPTION_FORMAT = 256, OPTION_PASSWORD, OPTION_DELIMITER, SQL_MAX = 1 << 24 };
/* PostgreSQL, src/include/catalog/pg_type.dat */
enum { OID_BOOL = 16, OID_INT8 = 20, OID_INT2 = 21, OID_INT4 = 23, OID_OID = 26, OID_FLOAT4 = 700, OID_FLOAT8 = 701 };

static const struct option longs[] = {{"command", required_argument, NULL, 'c'},
                                      {"file", required_argument, NULL, 'f'},
                                      {"username", required_argument, NULL, 'U'},
                                      {"password", no_argument, NULL, OPTION_PASSWORD},
                                      {"dbname", required_argument, NULL, 'd'},
                                      {"role", required_argument, NULL, 'r'},
                                      {"member", required_argument, NULL, 'm'},
                                      {"format", required_argument, NULL, OPTION_FORMAT},
                                      {"delimiter", required_argument, NULL, OPTION_DELIMITER},
                                      {"watch", required_argument, NULL, 'w'},
                                      {"help", no_argument, NULL, 'h'},
                                      {0}};

struct wish {
    const char *command, *file, *username, *dbname, *member, *role_text, *delimiter;
    enum pick_role role;
    enum report_format format;
    bool ask_password;
    uint64_t interval_us;
    char password[ASK_SIZE];
};

/* --- what is printed ------------------------------------------------------------------------------------------------
 */

/* A value with the type that JSON and YAML have for it. */
static json_t *value_of(const PGresult *result, int row, int column)
{
    const char *text = PQgetvalue(result, row, column);
    json_t *value = NULL;

    if (PQgetisnull(result, row, column))
        return json_null();
    switch (PQftype(result, column)) {
    case OID_BOOL:
        return json_boolean(*text == 't');
    case OID_INT2:
    case OID_INT4:
    case OID_INT8:
    case OID_OID:
        return json_integer(strtoll(text, NULL, 10));
    case OID_FLOAT4:
    case OID_FLOAT8:
        value = json_real(strtod(text, NULL)); /* NULL for NaN and infinities, which JSON does not have */
        break;
    default:
        break;
    }
    if (!value)
        value = json_string(text);
    return value ? value : json_string("?");
}

/* The words of Python, which the reference's tsv and tables have. */
static json_t *text_of(const PGresult *result, int row, int column)
{
    json_t *value;

    if (PQgetisnull(result, row, column))
        return json_string("None");
    if (PQftype(result, column) == OID_BOOL)
        return json_string(*PQgetvalue(result, row, column) == 't' ? "True" : "False");
    value = json_string(PQgetvalue(result, row, column));
    return value ? value : json_string("?");
}

static void print_rows(const PGresult *result, const struct wish *w, struct textbuf *out)
{
    bool typed = w->format == REPORT_JSON || w->format == REPORT_YAML;
    struct report r = {.rows = json_array(), .delimiter = w->delimiter};
    int n_columns = PQnfields(result) < REPORT_COLUMNS_MAX ? PQnfields(result) : REPORT_COLUMNS_MAX;

    for (int i = 0; i < n_columns; i++)
        report_add_column(&r, PQfname(result, i), PQfname(result, i), false);
    for (int row = 0; row < PQntuples(result); row++) {
        json_t *cells = json_array();

        for (int i = 0; i < n_columns; i++)
            (void)json_array_append_new(cells, typed ? value_of(result, row, i) : text_of(result, row, i));
        (void)json_array_append_new(r.rows, cells);
    }
    report_print(out, &r, w->format);
    report_done(&r);
}

/* Of what has no rows, say how it ended: "UPDATE 3". */
static void print_tag(PGresult *result, const struct wish *w, struct textbuf *out)
{
    struct report r = {.rows = json_pack("[[s]]", PQcmdStatus(result)), .without_header = true};

    report_add_column(&r, "status", "Status", false);
    report_print(out, &r, w->format);
    report_done(&r);
}

static void print_failure(const char *message, const struct wish *w, struct textbuf *out)
{
    struct report r = {.rows = json_array(), .delimiter = w->delimiter, .without_header = true};
    char now[CTL_TIMESTAMP_SIZE];

    ctl_timestamp(now, sizeof(now), 0);
    report_add_column(&r, "time", "Field 1", false);
    report_add_column(&r, "message", "Field 2", false);
    (void)json_array_append_new(r.rows, json_pack("[s, s]", now, message));
    report_print(out, &r, w->format);
    report_done(&r);
}

/* --- the connection -------------------------------------------------------------------------------------------------
 */

static PGconn *connect_to(const struct member *m, const struct wish *w)
{
    char port[8];
    const char *names[] = {"host", "port", "user", "password", "dbname", "fallback_application_name", "connect_timeout",
                           NULL};
    const char *values[] = {m->host,   port,          w->username, w->ask_password ? w->password : NULL,
                            w->dbname, "pgtetherctl", "5",         NULL};

    (void)text_print(port, sizeof(port), "%u", m->port);
    return PQconnectdbParams(names, values, 0);
}

/* With a role that says what PostgreSQL is, PostgreSQL is asked as well: the store may be some seconds behind. */
static bool has_role(PGconn *conn, const struct wish *w)
{
    PGresult *result;
    bool in_recovery, wants_recovery;

    if (!w->role_text || w->role == PICK_ANY || w->role == PICK_LEADER)
        return true;
    wants_recovery = w->role != PICK_PRIMARY;
    result = PQexec(conn, "SELECT pg_catalog.pg_is_in_recovery()");
    in_recovery = PQntuples(result) != 1 || *PQgetvalue(result, 0, 0) == 't';
    PQclear(result);
    return in_recovery == wants_recovery;
}

/* A row is one line. */
static void flatten(char *message)
{
    for (char *s = message; *s; s++)
        if (*s == '\n')
            *s = s[1] ? ' ' : '\0';
}

static void execute(PGconn *conn, const char *sql, const struct wish *w, struct textbuf *out)
{
    PGresult *result = PQexec(conn, sql);
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *primary = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    char message[320];

    if (PQresultStatus(result) == PGRES_TUPLES_OK) {
        print_rows(result, w, out);
    } else if (PQresultStatus(result) == PGRES_COMMAND_OK) {
        print_tag(result, w, out);
    } else {
        (void)text_print(message, sizeof(message), "ERROR, SQLSTATE: %s%s%s", state ? state : PQerrorMessage(conn),
                         state && primary ? ": " : "", state && primary ? primary : "");
        flatten(message);
        print_failure(message, w, out);
    }
    PQclear(result);
}

static void query_member(const struct cluster *c, const char *sql, const struct wish *w, struct textbuf *out)
{
    const struct member *m = pick_to_connect(c, w->member ? PICK_ANY : w->role, w->member);
    PGconn *conn = m ? connect_to(m, w) : NULL;
    char message[640];

    if (conn && PQstatus(conn) != CONNECTION_OK) {
        (void)text_print(message, sizeof(message), "ERROR, SQLSTATE: %s", PQerrorMessage(conn));
        flatten(message);
        print_failure(message, w, out);
    } else if (conn && has_role(conn, w)) {
        execute(conn, sql, w, out);
    } else {
        (void)text_print(message, sizeof(message), "No connection%s%s is available",
                         w->member      ? " to member "
                         : w->role_text ? " to role "
                                        : "",
                         w->member      ? w->member
                         : w->role_text ? w->role_text
                                        : "");
        print_failure(message, w, out);
    }
    PQfinish(conn);
}

/* --- the command ----------------------------------------------------------------------------------------------------
 */

/* The whole file, "-" being stdin; the caller frees. NULL after saying what is wrong. */
static char *read_file(const char *path)
{
    FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
    struct textbuf text = {0};
    char piece[4096];
    size_t n;

    if (!f) {
        (void)ctl_fail("could not read \"%s\": %s", path, strerror(errno));
        return NULL;
    }
    while ((n = fread(piece, 1, sizeof(piece), f)) > 0 && text.len < SQL_MAX)
        textbuf_append(&text, piece, n);
    if (f != stdin)
        (void)fclose(f);
    return textbuf_take(&text);
}

/* Again and again the member is looked for anew: it is the leader that is asked, say, not the one that led. */
static int query(struct ctl *ctl, const char *scope, struct ctl_view *v, const char *sql, const struct wish *w)
{
    for (;;) {
        uint64_t began_us = clock_now_us();
        struct ctl_view now = {0};
        struct textbuf out = {0};
        struct err err = {0};

        query_member(v->cluster, sql, w, &out);
        if (ctl_print(&out) != EXIT_DONE)
            return EXIT_FAILED;
        if (!w->interval_us)
            return EXIT_DONE;
        ctl_sleep_us(clock_rest_us(clock_now_us(), began_us + w->interval_us));
        if (ctl_read_cluster(ctl, scope, &now, &err) < 0) {
            ctl_warn("%s", err.msg);
            continue;
        }
        ctl_view_done(v);
        *v = now;
    }
}

/* Returns -1, or an exit code. */
static int take_option(const char *command, int option, struct wish *w)
{
    switch (option) {
    case OPTION_PASSWORD:
        w->ask_password = true;
        return -1;
    case OPTION_DELIMITER:
        w->delimiter = optarg;
        return -1;
    case OPTION_FORMAT:
        return report_format_from_text(optarg, &w->format) ? -1
                                                           : ctl_usage(command, "there is no format \"%s\"", optarg);
    case 'W':
    case 'w':
        return watch_option(option, optarg, &w->interval_us) ? -1 : ctl_usage(command, WATCH_EXPECTED, optarg);
    case 'r':
        w->role_text = optarg;
        return pick_role_from_text(optarg, &w->role) ? -1 : ctl_usage(command, PICK_ROLE_EXPECTED, optarg);
    case 'c':
        w->command = optarg;
        return -1;
    case 'f':
        w->file = optarg;
        return -1;
    case 'U':
        w->username = optarg;
        return -1;
    case 'd':
        w->dbname = optarg;
        return -1;
    default:
        w->member = optarg;
        return -1;
    }
}

static int check_options(const struct wish *w)
{
    if (w->file && w->command)
        return ctl_fail("--file and --command are mutually exclusive options");
    if (!w->file && !w->command)
        return ctl_fail("You need to specify either --command or --file");
    if (w->member && w->role_text)
        return ctl_fail("--role and --member are mutually exclusive options");
    return -1;
}

int cmd_query(struct ctl *ctl, int argc, char **argv)
{
    static const struct ctl_options options = {":c:f:U:d:r:m:w:Wh", longs};
    struct wish w = {.role = PICK_LEADER, .format = REPORT_TSV};
    CLEANUP(freep) char *sql = NULL;
    struct ctl_view view = {0};
    const char *scope;
    int option, exit_code;

    while ((option = ctl_next_option(argc, argv, &options, &exit_code)) != -1) {
        exit_code = take_option(argv[0], option, &w);
        if (exit_code >= 0)
            return exit_code;
    }
    if (exit_code < 0)
        exit_code = check_options(&w);
    if (exit_code < 0) {
        sql = w.file ? read_file(w.file) : strdup(w.command);
        exit_code = sql ? -1 : EXIT_FAILED;
    }
    if (exit_code < 0 && w.ask_password && !ask_password(w.password, sizeof(w.password)))
        exit_code = EXIT_FAILED;
    if (exit_code < 0)
        exit_code = ctl_read_named(ctl, argc, argv, &view, &scope);
    if (exit_code < 0)
        exit_code = query(ctl, scope, &view, sql, &w);
    explicit_bzero(w.password, sizeof(w.password));
    ctl_view_done(&view);
    return exit_code;
}
