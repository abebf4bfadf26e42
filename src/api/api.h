/*
 * The REST server (libmicrohttpd on our event loop): Patroni's endpoints, codes and JSON; a status page for people.
 *
 * It never waits for a client: sockets are non-blocking, the number of connections and the memory of each are limited,
 * and every connection is closed after ten seconds, however busy its client looks, unless it waits for us: for the
 * answer to a request that changes something. Its event sources have a lower priority than others, so that a flood of
 * requests does not delay the lease.
 */
#pragma once
#include <stdint.h>
#include <systemd/sd-event.h>
#include "base/core.h"
#include "config/config.h"
#include "model/command.h"
#include "model/node.h"

struct api;

struct api_hooks {
    /* Fills *ret as of now; pointers in it stay valid until control returns to the event loop. */
    void (*status)(void *userdata, struct node_status *ret);
    /*
     * Takes a request that changes something; whoever asks was found to be allowed to, and a body that is needed is
     * there and is a JSON object. The connection waits for the answer, however long it takes.
     */
    void (*command)(void *userdata, struct command *command);
    void *userdata;
};

/*
 * Listens and answers from now on. Returns 0 and gives *ret to the caller, or -errno: the address is in use, a
 * certificate cannot be used. `config` must outlive the server.
 */
int api_new(sd_event *loop, const struct config *config, const struct api_hooks *hooks, struct api **ret,
            struct err *err);
struct api *api_free(struct api *a);
DEFINE_CLEANUP(struct api, api_free)

/* The port in use; tells what the kernel chose when the configured one is 0. */
uint16_t api_port(const struct api *a);
