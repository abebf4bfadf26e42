/* First line: method, space, target; the rest: the tags of the node that is asked. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "api/router.h"

static struct member member = {.name = "node0", .state = PG_STATE_RUNNING};

static struct node_status status_with(const char *tags, struct cluster *cluster)
{
    return (struct node_status){
        .scope = "demo",
        .name = "node0",
        .version = "4.1.4",
        .state = PG_STATE_RUNNING,
        .role = PG_ROLE_REPLICA,
        .sql_ok = true,
        .replay_lsn = 4000,
        .latest_end_lsn = 5000,
        .replication_state = "streaming",
        .tags_json = tags,
        .cluster = cluster,
        .cluster_valid_until_us = 2,
        .policy = POLICY_DEFAULT,
    };
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = strndup((const char *)data, size);
    char *tags = strchr(text, '\n'), *target = strchr(text, ' ');
    struct cluster cluster = {.members = &member, .n_members = 1};
    struct api_request req = {0};
    struct api_response answer;
    struct node_status status;

    if (tags)
        *tags++ = '\0';
    if (target && (!tags || target < tags)) {
        *target++ = '\0';
        req.method = api_method_from_text(text);
        req.accepts_html = size & 1;
        cluster.failsafe = cluster.history_text = cluster.config = (struct text_key){tags != NULL, tags, 1};
        member.data = tags;
        status = status_with(tags, &cluster);
        if (target_parse(target, &req.target) == 0) {
            router_answer(&req, &status, 1, &answer);
            if (answer.status < 200 || answer.status > 599)
                abort();
            api_response_done(&answer);
        }
    }
    free(text);
    return 0;
}
