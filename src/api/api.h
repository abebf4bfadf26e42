/* The REST server (libmicrohttpd on our event loop): Patroni's endpoints, codes and JSON; a status page for people. */
#pragma once
#include <systemd/sd-event.h>
#include "base/core.h"
#include "config/config.h"
#include "model/node.h"

struct api;

struct api_hooks {
    /* Fills *ret as of now; pointers in it stay valid until control returns to the event loop. */
    void (*status)(void *userdata, struct node_status *ret);
    void *userdata;
};

int api_new(sd_event *loop, const struct config *config, const struct api_hooks *hooks, struct api **ret,
            struct err *err);
struct api *api_free(struct api *a);
DEFINE_CLEANUP(struct api, api_free)
