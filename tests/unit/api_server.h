/* A REST server on an ephemeral port of the loopback, for tests that ask it from the loop it runs in. */
#pragma once
#include "api/api.h"

enum { API_PATIENCE_S = 30 };

struct api_server {
    sd_event *loop;
    struct config config; /* to be changed before api_server_start() */
    struct cluster cluster;
    struct node_status status;
    unsigned asked; /* how often the status was asked for */
    struct api *api;
};

/* A healthy primary with a lease that does not end. */
void api_server_init(struct api_server *s);
/* Returns what api_new() does. */
int api_server_start(struct api_server *s, struct err *err);
void api_server_done(struct api_server *s);

/* One turn of the loop; fails the test when the server keeps the loop to itself. */
void api_server_turn(struct api_server *s);
/* A connection to it. */
int api_server_dial(const struct api_server *s);
