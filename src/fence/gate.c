#include "fence/gate.h"
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include "base/clock.h"
#include "base/text.h"
#include "fence/netlink.h"
#include "fence/spawn.h"

/* The set of the table in src/pgtether-gate.c. */
#define SET_NAME "open"

enum { TRIES = 3 };

/* --- the messages ---------------------------------------------------------------------------------------------------
 */

static uint16_t nft_type(int message)
{
    return (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | message);
}

static size_t begin(struct netlink_buffer *b, int message, uint16_t flags, const char *table)
{
    const struct nfgenmsg body = {.nfgen_family = NFPROTO_INET, .version = NFNETLINK_V0};
    size_t at = netlink_begin(b, nft_type(message), flags, 0, &body, sizeof(body));

    netlink_put(b, NFTA_SET_ELEM_LIST_TABLE, table, strlen(table) + 1);
    netlink_put(b, NFTA_SET_ELEM_LIST_SET, SET_NAME, sizeof(SET_NAME));
    return at;
}

static void mark(struct netlink_buffer *b, uint16_t type)
{
    const struct nfgenmsg body = {.version = NFNETLINK_V0, .res_id = htons(NFNL_SUBSYS_NFTABLES)};

    netlink_end(b, netlink_begin(b, type, 0, 0, &body, sizeof(body)));
}

/* Without elements this empties the set, and succeeds also when it is empty. */
static size_t add_flush(struct netlink_buffer *b, uint16_t flags, const char *table)
{
    size_t at = begin(b, NFT_MSG_DELSETELEM, flags, table);

    netlink_end(b, at);
    return at;
}

static size_t add_element(struct netlink_buffer *b, const char *table, uint16_t port, size_t *ret_timeout_at)
{
    const uint64_t timeout_ms = 0; /* patched before every use */
    uint16_t key = htons(port);
    size_t at = begin(b, NFT_MSG_NEWSETELEM, NLM_F_CREATE | NLM_F_ACK, table);
    size_t list = netlink_nest(b, NFTA_SET_ELEM_LIST_ELEMENTS), element = netlink_nest(b, NFTA_LIST_ELEM), nest;

    nest = netlink_nest(b, NFTA_SET_ELEM_KEY);
    netlink_put(b, NFTA_DATA_VALUE, &key, sizeof(key));
    netlink_nest_end(b, nest);
    *ret_timeout_at = netlink_put(b, NFTA_SET_ELEM_TIMEOUT, &timeout_ms, sizeof(timeout_ms));
    netlink_nest_end(b, element);
    netlink_nest_end(b, list);
    netlink_end(b, at);
    return at;
}

/*
 * Emptying and filling in one transaction: packets see the old element or the new one. A timeout that is changed in
 * place would be shorter to send, but kernels before 6.12 ignore it.
 */
static int build(struct gate *g, struct err *err)
{
    struct netlink_buffer open = {.data = g->open.data, .size = sizeof(g->open.data)};
    struct netlink_buffer shut = {.data = g->shut.data, .size = sizeof(g->shut.data)};

    mark(&open, NFNL_MSG_BATCH_BEGIN);
    (void)add_flush(&open, 0, g->table);
    g->open.acked_at = add_element(&open, g->table, g->settings.port, &g->open.timeout_at);
    mark(&open, NFNL_MSG_BATCH_END);
    g->open.len = open.len;

    mark(&shut, NFNL_MSG_BATCH_BEGIN);
    g->shut.acked_at = add_flush(&shut, NLM_F_ACK, g->table);
    mark(&shut, NFNL_MSG_BATCH_END);
    g->shut.len = shut.len;
    return open.overflow || shut.overflow ? err_set(err, -EMSGSIZE, "the messages for the port gate are too long") : 0;
}

/* --- what the kernel has already ------------------------------------------------------------------------------------
 */

static void read_element(struct gate *g, const struct nlattr *element, uint64_t now_us)
{
    const void *inside = netlink_payload(element);
    size_t len = (size_t)element->nla_len - NLA_HDRLEN;
    const struct nlattr *key = netlink_find(inside, len, NFTA_SET_ELEM_KEY, 0);
    const struct nlattr *rest = netlink_find(inside, len, NFTA_SET_ELEM_EXPIRATION, sizeof(uint64_t));
    const struct nlattr *value =
        key ? netlink_find(netlink_payload(key), (size_t)key->nla_len - NLA_HDRLEN, NFTA_DATA_VALUE, sizeof(uint16_t))
            : NULL;
    uint16_t port;
    uint64_t rest_ms;

    if (!value)
        return;
    memcpy(&port, netlink_payload(value), sizeof(port));
    if (ntohs(port) != g->settings.port)
        return;
    g->open_until_us = UINT64_MAX; /* without a timeout: not ours, but open it is */
    if (!rest)
        return;
    memcpy(&rest_ms, netlink_payload(rest), sizeof(rest_ms));
    rest_ms = be64toh(rest_ms);
    if (rest_ms < (UINT64_MAX - now_us) / USEC_PER_MSEC)
        g->open_until_us = now_us + rest_ms * USEC_PER_MSEC;
}

static void read_elements(struct gate *g, const struct nlmsghdr *h, uint64_t now_us)
{
    const size_t fixed = NLMSG_SPACE(sizeof(struct nfgenmsg));
    const struct nlattr *list, *element;
    const char *p;
    size_t left, step;

    if (h->nlmsg_len < fixed)
        return;
    list = netlink_find((const char *)h + fixed, h->nlmsg_len - fixed, NFTA_SET_ELEM_LIST_ELEMENTS, 0);
    if (!list)
        return;
    p = netlink_payload(list);
    left = (size_t)list->nla_len - NLA_HDRLEN;
    /* All of one type: each search begins behind the last find. */
    while ((element = netlink_find(p, left, NFTA_LIST_ELEM, 0))) {
        read_element(g, element, now_us);
        step = (size_t)((const char *)element - p) + NLA_ALIGN((size_t)element->nla_len);
        if (step >= left)
            return;
        p += step;
        left -= step;
    }
}

/* Returns 1 at the end of the dump, 0 if more follows, or -errno. */
static int read_dump(struct gate *g, const char *data, int len, struct err *err)
{
    uint64_t now_us = clock_now_us();
    const struct nlmsghdr *h = (const void *)data;

    for (; netlink_ok(h, len); h = NLMSG_NEXT(h, len)) {
        if (h->nlmsg_type == NLMSG_DONE)
            return 1;
        if (h->nlmsg_type == NLMSG_ERROR)
            return err_sys(err, ((const struct nlmsgerr *)NLMSG_DATA(h))->error, "could not read the port gate's set");
        if (h->nlmsg_type == nft_type(NFT_MSG_NEWSETELEM))
            read_elements(g, h, now_us);
    }
    return 0;
}

/* Proves at the start that the way to the kernel works, and that the table is there. */
static int read_back(struct gate *g, struct err *err)
{
    _Alignas(struct nlmsghdr) char data[8192];
    struct netlink_buffer b = {.data = data, .size = sizeof(data)};
    int r;

    netlink_end(&b, begin(&b, NFT_MSG_GETSETELEM, NLM_F_DUMP, g->table));
    r = netlink_send(g->fd, data, b.len, err);
    while (r == 0) {
        r = netlink_receive(g->fd, data, sizeof(data), err);
        if (r == -EAGAIN)
            return err_set(err, r, "the kernel does not say what is in the port gate's set");
        if (r > 0)
            r = read_dump(g, data, r, err);
    }
    return r < 0 ? r : 0;
}

/* --- setting up and removing ----------------------------------------------------------------------------------------
 */

void gate_init(struct gate *g, const struct gate_settings *settings)
{
    *g = (struct gate){.settings = *settings, .fd = -1};
}

static int fail(struct gate *g, const struct err *why, struct err *err)
{
    g->failure = *why;
    if (err)
        *err = *why;
    return why->code;
}

/* Returns the program's pid or -errno. */
static pid_t start_program(const struct gate *g, const char *verb, struct err *err)
{
    char port[8];
    char *const argv[] = {(char *)(uintptr_t) "pgtether-gate", (char *)(uintptr_t)verb, (char *)(uintptr_t)g->table,
                          port, NULL};

    (void)text_print(port, sizeof(port), "%u", g->settings.port);
    return spawn_helper(g->program, argv, err);
}

static int run_program(const struct gate *g, const char *verb, struct err *err)
{
    pid_t pid = start_program(g, verb, err);

    return pid < 0 ? pid : spawn_wait(pid, g->program, err);
}

/* A crashed keeper's table would keep the port closed for ever, now that the gate is not wanted any more. */
static int remove_leftover(struct gate *g, struct err *err)
{
    int r;

    g->fd = netlink_open(NETLINK_NETFILTER, NULL);
    r = g->fd < 0 ? g->fd : read_back(g, NULL);
    closep(&g->fd);
    return r < 0 ? 0 : run_program(g, "remove", err); /* no such table, or no such right or kernel: nothing is left */
}

static int set_up(struct gate *g, struct err *err)
{
    int r = build(g, err);

    if (r == 0)
        r = g->fd = netlink_open(NETLINK_NETFILTER, err);
    if (r < 0)
        return r;
    /* Without the right there is no use in a program that fails, and in its library, which writes to stderr. */
    r = read_back(g, err);
    if (r != -EPERM)
        r = run_program(g, "setup", err);
    if (r == 0)
        r = read_back(g, err);
    if (r < 0)
        closep(&g->fd);
    return r;
}

int gate_setup(struct gate *g, const char *program, const char *scope, const char *name, struct err *err)
{
    struct err why = {0};
    int r;

    gate_table_name(g->table, sizeof(g->table), scope, name);
    if (!text_copy(g->program, sizeof(g->program), program))
        r = err_set(&why, -ENAMETOOLONG, "the path of pgtether-gate is too long");
    else
        r = g->settings.mode == GATE_MODE_OFF ? remove_leftover(g, &why) : set_up(g, &why);
    if (r == 0)
        return 0;
    (void)err_prefix(&why, "could not set up the port gate");
    return fail(g, &why, err);
}

void gate_abandon(struct gate *g)
{
    closep(&g->fd);
}

int gate_remove(struct gate *g, struct err *err)
{
    int r;

    if (g->fd < 0)
        return 0;
    closep(&g->fd);
    if (g->repair)
        (void)spawn_wait(g->repair, g->program, NULL); /* else it might bring back what we remove */
    g->repair = 0;
    r = run_program(g, "remove", err);
    return r < 0 ? err_prefix(err, "could not remove the port gate") : 0;
}

int gate_repair(struct gate *g, struct err *err)
{
    pid_t pid;

    if (g->fd < 0 || g->repair)
        return 0;
    pid = start_program(g, "setup", err);
    if (pid < 0)
        return pid;
    g->repair = pid;
    return 0;
}

bool gate_reaped(struct gate *g, pid_t pid, int wait_status)
{
    if (pid <= 0 || pid != g->repair)
        return false;
    g->repair = 0;
    if (WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 0) {
        g->failure = (struct err){0};
        g->open_until_us = 0;
    }
    return true;
}

/* --- at run time ----------------------------------------------------------------------------------------------------
 */

/* Takes in what the kernel has answered so far. */
static int settle(struct gate *g, struct err *err)
{
    struct err why = {0};
    unsigned acked = 0;

    if (netlink_results(g->fd, g->seq, &acked, &why) < 0) {
        (void)err_prefix(&why, "could not change the port gate");
        return fail(g, &why, err);
    }
    if (acked) {
        g->open_until_us = g->asked_until_us;
        g->failure = (struct err){0};
    }
    return 0;
}

static int apply(struct gate *g, struct gate_batch *batch, uint64_t until_us, struct err *err)
{
    struct err why = {0};

    g->seq++;
    g->asked_until_us = until_us;
    memcpy(batch->data + batch->acked_at + offsetof(struct nlmsghdr, nlmsg_seq), &g->seq, sizeof(g->seq));
    if (netlink_send(g->fd, batch->data, batch->len, &why) < 0) {
        (void)err_prefix(&why, "could not change the port gate");
        return fail(g, &why, err);
    }
    return settle(g, err);
}

int gate_shut(struct gate *g, struct err *err)
{
    return g->fd < 0 ? 0 : apply(g, &g->shut, 0, err);
}

int gate_until(struct gate *g, uint64_t deadline_us, struct err *err)
{
    for (int i = 0; g->fd >= 0 && i < TRIES; i++) {
        uint64_t now_us = clock_now_us(), rest_ms = clock_rest_us(now_us, deadline_us) / USEC_PER_MSEC, timeout_ms;
        int r;

        if (rest_ms < GATE_MARGIN_MS + GATE_LEAST_MS)
            return gate_shut(g, err);
        rest_ms -= GATE_MARGIN_MS;
        timeout_ms = htobe64(rest_ms);
        memcpy(g->open.data + g->open.timeout_at, &timeout_ms, sizeof(timeout_ms));
        r = apply(g, &g->open, now_us + rest_ms * USEC_PER_MSEC, err);
        if (r < 0)
            return r;
        /* Standing still after the clock was read makes the timeout end too late: once more, by a newer clock. */
        if (clock_now_us() - now_us <= GATE_MARGIN_MS * USEC_PER_MSEC)
            return 0;
    }
    return gate_shut(g, err); /* always late: better closed than open beyond the deadline */
}

int gate_fd(const struct gate *g)
{
    return g->fd;
}

int gate_on_event(struct gate *g, struct err *err)
{
    return g->fd < 0 ? 0 : settle(g, err);
}

/* --- what others see ------------------------------------------------------------------------------------------------
 */

enum gate_state gate_state(const struct gate *g, uint64_t now_us)
{
    if (g->failure.code)
        return GATE_FAILED;
    if (g->fd < 0)
        return GATE_OFF;
    return now_us < g->open_until_us ? GATE_OPEN : GATE_CLOSED;
}

const char *gate_failure(const struct gate *g)
{
    return g->failure.msg;
}

/* FNV-1a: short, and no secret is at stake. */
static uint64_t hash(uint64_t h, const char *s)
{
    for (;; s++) {
        h = (h ^ (unsigned char)*s) * UINT64_C(0x100000001b3);
        if (*s == '\0')
            return h; /* the end counts too: it divides the two names */
    }
}

/* Returns whether something had to be replaced. "_" itself counts: it divides scope and name. */
static bool make_plain(char *text)
{
    bool changed = false;

    for (char *c = text; *c; c++) {
        if ((*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9') || *c == '-' || *c == '.')
            continue;
        *c = '_';
        changed = true;
    }
    return changed;
}

void gate_table_name(char *dst, size_t size, const char *scope, const char *name)
{
    enum { PART = 41 };
    char s[PART], n[PART];
    bool differs = !text_copy(s, sizeof(s), scope);

    differs |= !text_copy(n, sizeof(n), name);
    differs |= make_plain(s);
    differs |= make_plain(n);
    if (differs)
        (void)text_print(dst, size, "pgtether_%s_%s_%016llx", s, n,
                         (unsigned long long)hash(hash(UINT64_C(0xcbf29ce484222325), scope), name));
    else
        (void)text_print(dst, size, "pgtether_%s_%s", s, n);
}

static const char *const mode_texts[] = {"off", "automatic", "nftables"};

const char *gate_mode_text(enum gate_mode mode)
{
    return mode_texts[mode];
}

bool gate_mode_from_text(const char *text, enum gate_mode *ret)
{
    for (size_t i = 0; i < ARRAY_LEN(mode_texts); i++) {
        if (text_equal(text, mode_texts[i])) {
            *ret = (enum gate_mode)i;
            return true;
        }
    }
    return false;
}

const char *gate_state_text(enum gate_state state)
{
    static const char *const texts[] = {"off", "closed", "open", "failed"};

    return texts[state];
}
