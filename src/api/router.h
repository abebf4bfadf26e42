/*
 * From a request to its answer. No sockets here: the server hands over the parsed request and sends what comes back,
 * so that everything below can be tested as a table.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "api/target.h"
#include "model/command.h"
#include "model/node.h"

enum api_method { API_GET, API_HEAD, API_OPTIONS, API_POST, API_PUT, API_PATCH, API_DELETE, API_OTHER };

enum api_method api_method_from_text(const char *text);

struct api_request {
    enum api_method method;
    struct target target;
    bool accepts_html; /* a browser asks */
};

struct api_response {
    unsigned status;
    const char *content_type; /* static; NULL = there is no body */
    char *body;               /* owned; NULL = there is no body */
};
void api_response_done(struct api_response *r);

/*
 * Routes are found by method and first part of the path. Who may call one is part of the table: what changes something
 * is ROUTE_PROTECTED, and the server must not call the router for it before the access rules have been passed.
 */
enum route_access { ROUTE_OPEN, ROUTE_PROTECTED };
enum route_access router_access(const struct api_request *req);

/* What the request asks of the agent, which answers it; COMMAND_NONE: router_answer() does. */
enum command_kind router_command(const struct api_request *req);

/* Whether such a request makes sense only with a JSON object in its body. */
bool router_needs_body(const struct api_request *req);

/* Always fills *ret with an answer; 500 when memory ran out. */
void router_answer(const struct api_request *req, const struct node_status *n, uint64_t now_us,
                   struct api_response *ret);
