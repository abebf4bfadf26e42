/* The text of a configuration file: whatever it says, it is read or refused with a reason. */
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "config/load.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
const char *__lsan_default_suppressions(void);

/* libconfig 1.5 forgets the string it is reading when the syntax is wrong there. */
const char *__lsan_default_suppressions(void)
{
    return "leak:libconfig.so\n";
}

static void require(int condition)
{
    if (!condition)
        abort();
}

/* What a usable file brings into the store must be usable when it is read from there. */
static void check_bootstrap(const struct config *c)
{
    CLEANUP(dynamic_freep) struct dynamic *d = NULL;

    require(dynamic_parse(c->bootstrap.dcs_json, c, &d, NULL, NULL) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP(config_freep) struct config *c = NULL;
    struct config_problems problems;
    struct err err = {0};
    char *text = strndup((const char *)data, size);
    char *report;
    int r;

    /* A directory that does not exist: nothing this machine has is included. */
    r = config_load_text("/nonexistent/fuzz/fuzz.conf", text, &c, &problems, &err);
    require((r == 0) == (c != NULL));
    require(r != -EINVAL || (problems.has_errors && problems.n > 0));
    report = config_problems_text(&problems);
    require(report != NULL);
    if (c)
        check_bootstrap(c);
    free(report);
    config_problems_done(&problems);
    free(text);
    return 0;
}
