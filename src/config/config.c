#include "config/config.h"
#include <stdlib.h>
#include <string.h>
#include "config/lists.h"
#include "config/load.h"

static void wipe(char *secret)
{
    if (secret)
        explicit_bzero(secret, strlen(secret));
    free(secret);
}

static void credentials_done(struct credentials *c)
{
    free(c->username);
    wipe(c->password);
    free(c->sslmode);
    free(c->sslcert);
    free(c->sslkey);
    wipe(c->sslpassword);
    free(c->sslrootcert);
    free(c->sslcrl);
    free(c->sslcrldir);
    free(c->gssencmode);
    free(c->channel_binding);
}

static void dcs_config_done(struct dcs_config *d)
{
    free(d->namespace_);
    free(d->scope);
    free(d->member_name);
    strings_done(&d->hosts);
    free(d->srv);
    free(d->username);
    wipe(d->password);
    free(d->cacert);
    free(d->cert);
    free(d->key);
    wipe(d->key_password);
}

static void restapi_done(struct config *c)
{
    free(c->restapi.listen_host);
    free(c->restapi.connect_host);
    free(c->restapi.username);
    wipe(c->restapi.password);
    free(c->restapi.tls.certfile);
    free(c->restapi.tls.keyfile);
    wipe(c->restapi.tls.keyfile_password);
    free(c->restapi.tls.cafile);
    free(c->restapi.tls.verify_client);
    strings_done(&c->restapi.allowlist);
}

static void postgresql_done(struct config *c)
{
    free(c->postgresql.listen_addresses);
    free(c->postgresql.connect_host);
    free(c->postgresql.data_dir);
    free(c->postgresql.config_dir);
    free(c->postgresql.bin_dir);
    free(c->postgresql.pgpass);
    free(c->postgresql.database);
    free(c->postgresql.log_file);
    free(c->postgresql.run_dir);
    free(c->state_dir);
    free(c->postgresql.custom_conf);
    free(c->postgresql.config_base_name);
    credentials_done(&c->postgresql.superuser);
    credentials_done(&c->postgresql.replication);
    credentials_done(&c->postgresql.rewind);
    settings_done(&c->postgresql.parameters);
    strings_done(&c->postgresql.pg_hba);
    strings_done(&c->postgresql.pg_ident);
    settings_done(&c->postgresql.recovery_conf);
    strings_done(&c->postgresql.create_replica_methods);
    settings_done(&c->postgresql.basebackup);
    free(c->postgresql.callbacks.on_start);
    free(c->postgresql.callbacks.on_stop);
    free(c->postgresql.callbacks.on_restart);
    free(c->postgresql.callbacks.on_reload);
    free(c->postgresql.callbacks.on_role_change);
    free(c->postgresql.pre_promote);
    free(c->postgresql.before_stop);
}

void config_done(struct config *c)
{
    free(c->path);
    free(c->scope);
    free(c->namespace_);
    free(c->name);
    restapi_done(c);
    dcs_config_done(&c->dcs);
    free(c->watchdog.device);
    postgresql_done(c);
    free(c->bootstrap.dcs_json);
    settings_done(&c->bootstrap.initdb);
    strings_done(&c->bootstrap.pg_hba);
    free(c->bootstrap.post_bootstrap);
    free(c->tags_json);
    free(c->log.level);
    *c = (struct config){0};
}

struct config *config_free(struct config *c)
{
    if (!c)
        return NULL;
    config_done(c);
    free(c);
    return NULL;
}
