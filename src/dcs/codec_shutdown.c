/* What a leader that was shut down leaves in the status key for its successor. */
#include <jansson.h>
#include <string.h>
#include "dcs/codec.h"
#include "dcs/codec_internal.h"

char *codec_print_shutdown_status(const char *previous, uint64_t lsn, uint32_t timeline, uint64_t session)
{
    json_auto_t *status = NULL;

    /* The positions of slots are kept, as the reference keeps them. */
    if (!previous || codec_json(previous, strlen(previous), &status) < 0 || !json_is_object(status)) {
        json_decref(status);
        status = json_object();
    }
    if (json_object_set_new(status, "optime", json_integer((json_int_t)lsn)) < 0 ||
        json_object_set_new(status, CODEC_SHUTDOWN_LSN, json_integer((json_int_t)lsn)) < 0 ||
        json_object_set_new(status, CODEC_SHUTDOWN_TIMELINE, json_integer((json_int_t)timeline)) < 0 ||
        json_object_set_new(status, CODEC_SHUTDOWN_SESSION, json_integer((json_int_t)session)) < 0)
        return NULL;
    return json_dumps(status, JSON_COMPACT | JSON_ENSURE_ASCII);
}
