#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/clock.h"
#include "config/bindir.h"
#include "ctl/doctor.h"
#include "io/file.h"
#include "pg/lockfile.h"

/* --- PostgreSQL's programs and its data directory -------------------------------------------------------------------
 */

static void look_at_programs(struct doctor *d)
{
    static const char *const programs[] = {"postgres", "initdb", "pg_basebackup", "pg_controldata", "pg_rewind"};
    const char *bin_dir = d->ctl->config->postgresql.bin_dir;
    char path[PATH_MAX], wanted[PATH_MAX];
    size_t missing = 0;

    for (size_t i = 0; i < ARRAY_LEN(programs); i++) {
        if (text_print(path, sizeof(path), "%s/%s", bin_dir, programs[i]) && access(path, X_OK) == 0)
            continue;
        missing++;
        doctor_bad(d, "Set postgresql.bin_dir to where the server package puts it.", "there is no program \"%s\"",
                   path);
    }
    if (!missing)
        doctor_good("PostgreSQL's programs are in \"%s\"", bin_dir);
    /* Of another version than the data directory: only where a distribution has several are they told apart. */
    if (!missing && bindir_find(d->ctl->config->postgresql.data_dir, wanted, sizeof(wanted)) &&
        bindir_find(NULL, path, sizeof(path)) && strcmp(wanted, bin_dir) != 0 && strcmp(path, wanted) != 0)
        doctor_doubt(d, "Set postgresql.bin_dir to it unless yours is of the same version.",
                     "the data directory belongs to the PostgreSQL in \"%s\"", wanted);
}

static void look_at_lock_file(struct doctor *d, const char *data_dir)
{
    char real[PATH_MAX];
    struct lockfile f;
    struct proc holder = {0};
    struct err err = {0};
    int r = realpath(data_dir, real) ? lockfile_read_pid(real, &f, &err) : 0;

    if (r < 0) {
        doctor_doubt(d, NULL, "%s", err.msg);
        return;
    }
    if (r == 0) {
        doctor_good("no PostgreSQL runs in \"%s\"", data_dir);
        return;
    }
    switch (lockfile_holder(&f, &holder)) {
    case LOCKFILE_HELD:
        doctor_good("PostgreSQL runs in \"%s\", process %d", data_dir, (int)f.pid);
        break;
    case LOCKFILE_DEAD:
        doctor_good("PostgreSQL in \"%s\" was not stopped in order; its next start recovers", data_dir);
        break;
    case LOCKFILE_MISTAKEN:
        doctor_doubt(d, "pgtether removes it before it starts PostgreSQL; by hand: remove the file.",
                     "\"%s/postmaster.pid\" is stale: process %d is something else", data_dir, (int)f.pid);
        break;
    }
}

/* A service of the distribution's, found by what its postmaster's control group is called. */
static void look_at_foreign_service(struct doctor *d, const char *data_dir)
{
    char real[PATH_MAX], cgroup[PATH_MAX], service[256];
    struct lockfile f;
    struct proc holder = {0};

    if (!realpath(data_dir, real) || lockfile_read_pid(real, &f, NULL) <= 0 ||
        lockfile_holder(&f, &holder) != LOCKFILE_HELD)
        return;
    proc_cgroup(f.pid, cgroup, sizeof(cgroup));
    proc_service_of(cgroup, service, sizeof(service));
    if (strncmp(service, "postgresql", strlen("postgresql")) == 0)
        doctor_bad(d, "Disable that service: two masters for one data directory end in a split.",
                   "PostgreSQL in \"%s\" was started by %s", data_dir, service);
}

static void look_at_data_directory(struct doctor *d)
{
    const char *data_dir = d->ctl->config->postgresql.data_dir;
    struct stat st;

    if (stat(data_dir, &st) < 0) {
        if (errno == ENOENT)
            doctor_doubt(d, "The agent makes it when it starts.", "there is no data directory \"%s\" yet", data_dir);
        else
            doctor_bad(d, "Run this as root or as the user of PostgreSQL.", "could not look at \"%s\": %s", data_dir,
                       strerror(errno));
        return;
    }
    if (st.st_mode & (S_IWGRP | S_IRWXO))
        doctor_bad(d, "chmod 0700, or 0750.", "\"%s\" is open to others; PostgreSQL refuses to start", data_dir);
    look_at_lock_file(d, data_dir);
    look_at_foreign_service(d, data_dir);
}

/* --- watchdog and member key ----------------------------------------------------------------------------------------
 */

/* Looked at, never opened: that would arm it. */
static void look_at_watchdog(struct doctor *d)
{
    const struct config *c = d->ctl->config;
    struct stat st;

    if (c->watchdog.mode == WATCHDOG_OFF) {
        doctor_doubt(d, "Set watchdog.mode to \"required\" where the host has one.",
                     "no watchdog is used: a host whose processes are all frozen is not reset");
        return;
    }
    if (stat(c->watchdog.device, &st) == 0 && S_ISCHR(st.st_mode)) {
        doctor_good("watchdog device \"%s\" exists", c->watchdog.device);
        return;
    }
    if (c->watchdog.mode == WATCHDOG_REQUIRED)
        doctor_bad(d, "Load its driver, or softdog for want of hardware (pgtether-softdog.service).",
                   "there is no watchdog device \"%s\", and it is required: this member cannot lead",
                   c->watchdog.device);
    else
        doctor_doubt(d, "Load its driver, or softdog for want of hardware (pgtether-softdog.service).",
                     "there is no watchdog device \"%s\": a leader here runs without", c->watchdog.device);
}

/* Two nodes of one name, or a changed address that nobody has seen yet. */
static void look_at_own_key(struct doctor *d)
{
    const struct config *c = d->ctl->config;
    const struct member *m = d->view.cluster ? cluster_member(d->view.cluster, c->name) : NULL;

    if (!d->view.cluster)
        return;
    if (!m)
        doctor_doubt(d, "systemctl status, and its journal.", "\"%s\" is not in the store: its agent does not run",
                     c->name);
    else if (m->host[0] && (strcmp(m->host, c->postgresql.connect_host) != 0 || m->port != c->postgresql.connect_port))
        doctor_bad(d, "Is another node called the same, or was the file changed without a restart?",
                   "\"%s\" is in the store with address %s:%u, here it is %s:%u", c->name, m->host, m->port,
                   c->postgresql.connect_host, c->postgresql.connect_port);
    else
        doctor_good("\"%s\" is in the store with the address of this configuration", c->name);
}

void doctor_look_at_host(struct doctor *d)
{
    char above[PATH_MAX];

    if (!text_copy(above, sizeof(above), d->ctl->config->postgresql.data_dir))
        return;
    *strrchr(above, '/') = '\0';
    if (*above && access(above, F_OK) < 0 && access(d->ctl->config->postgresql.bin_dir, F_OK) < 0) {
        doctor_good("is no member of the cluster: neither \"%s\" nor PostgreSQL is here", above);
        return;
    }
    look_at_programs(d);
    look_at_data_directory(d);
    look_at_watchdog(d);
    look_at_own_key(d);
}
