/* What the REST server has made of the configuration at its start, made anew. */
#include "api/private.h"
#include "base/log.h"

static void reload_access(struct api *a)
{
    struct access_rules *rules = NULL;
    struct err err = {0};

    if (access_is_of(a->access, a->config))
        return;
    if (access_has_names(a->config)) {
        /* Looking them up may take longer than a lease. */
        log_warning("restapi.allowlist: names are only looked up at the start of pgtether, keeping the old list");
        return;
    }
    if (access_new(a->config, &rules, &err) < 0) {
        log_error("keeping the old restapi.allowlist: %s", err.msg);
        return;
    }
    (void)access_free(a->access);
    a->access = rules;
}

static void reload_certificates(struct api *a)
{
    const struct tls_config *tls = &a->config->restapi.tls;
    struct tls_files files;
    struct err err = {0};

    if (!a->tls_files.certificate || !tls_is_on(tls))
        return;
    if (!a->oldest)
        tls_credentials_forget_older(a->credentials);
    if (tls_files_load(&files, tls, &err) < 0) {
        log_error("keeping the old certificate of the REST API: %s", err.msg);
        tls_files_done(&files);
        return;
    }
    if (tls_files_equal(&files, &a->tls_files)) {
        tls_files_done(&files);
        return;
    }
    if (tls_credentials_new(&files, tls->keyfile_password, a->credentials, &a->credentials, &err) < 0) {
        log_error("keeping the old certificate of the REST API, \"%s\" cannot be used: %s", tls->certfile, err.msg);
        tls_files_done(&files);
        return;
    }
    tls_files_done(&a->tls_files);
    a->tls_files = files;
    log_info("the REST API uses the new certificate in \"%s\"", tls->certfile);
}

void api_reload(struct api *a)
{
    reload_access(a);
    reload_certificates(a);
}
