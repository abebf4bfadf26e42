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
    struct command *command; /* the last one, if it was not answered at once */
    unsigned commands;       /* how many there were */
    enum command_kind kind;  /* of the last one */
    char body[256];          /* its body, "" if there was none */
    bool answer_at_once;
};

/* A healthy primary with a lease that does not end. */
void api_server_init(struct api_server *s);
/* Returns what api_new() does. */
int api_server_start(struct api_server *s, struct err *err);
void api_server_done(struct api_server *s);

/* The two as cmocka wants them: *state is a server that runs. */
int api_server_set_up(void **state);
int api_server_tear_down(void **state);

/* One turn of the loop; fails the test when the server keeps the loop to itself. */
void api_server_turn(struct api_server *s);
/* A connection to it. */
int api_server_dial(const struct api_server *s);
void api_server_say(int fd, const char *text);
/* Everything until the server closes; "" when it closes without a word. The caller frees. */
char *api_server_hear(struct api_server *s, int fd);

/* All of it for one request: the answer, which the caller frees. */
char *api_server_ask(struct api_server *s, const char *request);
/* Fails the test unless the answer begins with `start` and has `part` in it. */
void api_server_expect(struct api_server *s, const char *request, const char *start, const char *part);
