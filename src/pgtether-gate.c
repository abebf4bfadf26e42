/*
 * pgtether-gate: sets up and removes the nftables table of the port gate (fence/gate.h). Run by pgtether-net
 * when it begins and ends, and when somebody has removed the table in between; by hand it is for cleaning up.
 *
 * A program of its own because libnftables brings a JSON parser along, which nothing resident and privileged links.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>
#include <nftables/libnftables.h>
#include "base/log.h"
#include "base/text.h"

enum { EXIT_USAGE = 64, RULES_SIZE = 2048, TABLE_MAX = 127 };

#define TABLE_PREFIX "pgtether_"

struct arguments {
    bool setup; /* else remove */
    const char *table;
    uint32_t port;
    bool drop; /* the tests' choice: as on a kernel that cannot reset */
};

static void print_usage(FILE *out)
{
    (void)fputs("Usage: pgtether-gate setup TABLE PORT [drop]\n"
                "       pgtether-gate remove TABLE\n"
                "Sets up, or removes, the nftables table that lets packets from PORT leave this host only while its\n"
                "set \"open\" holds PORT. TABLE begins with \"" TABLE_PREFIX "\". Started by pgtetherd.\n",
                out);
}

/* The name becomes part of nft's language, and no table of others may be touched. */
static bool is_ours(const char *table)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._";

    return text_starts_with(table, TABLE_PREFIX) && strlen(table) <= TABLE_MAX && table[strspn(table, plain)] == '\0';
}

/* Further arguments of "remove" are ignored, so that the keeper may give the same to both. */
static bool parse(int argc, char *argv[], struct arguments *ret)
{
    if (argc < 3 || argc > 5 || !is_ours(argv[2]))
        return false;
    ret->table = argv[2];
    if (text_equal(argv[1], "remove"))
        return true;
    ret->setup = true;
    ret->drop = argc == 5;
    return text_equal(argv[1], "setup") && argc >= 4 && text_to_u32(argv[3], &ret->port) && ret->port >= 1 &&
           ret->port <= 65535 && (!ret->drop || text_equal(argv[4], "drop"));
}

/*
 * Adding what exists changes nothing, so a predecessor's set keeps its element and timeout; the chain is emptied and
 * filled in the same transaction. Packets with RST are let through: they acknowledge nothing, and tell the clients of
 * a dead primary that it is dead.
 */
static bool print_setup(const struct arguments *a, const char *verdict, char *dst, size_t size)
{
    const char *t = a->table;

    return text_print(dst, size,
                      "add table inet %s\n"
                      "add set inet %s open { type inet_service; flags timeout; }\n"
                      "add chain inet %s output { type filter hook output priority filter; policy accept; }\n"
                      "flush chain inet %s output\n"
                      "add rule inet %s output oif != \"lo\" tcp sport %u tcp sport != @open tcp flags & rst != rst"
                      " counter %s\n",
                      t, t, t, t, t, a->port, verdict);
}

/* To delete what does not exist is an error; it does exist after adding it. */
static bool print_remove(const struct arguments *a, char *dst, size_t size)
{
    return text_print(dst, size, "add table inet %s\ndelete table inet %s\n", a->table, a->table);
}

/* All or nothing. Returns whether the kernel took it; what it did not like is in the context's error buffer. */
static bool apply(struct nft_ctx *nft, const char *rules)
{
    return nft_run_cmd_from_buffer(nft, rules) == 0;
}

static bool setup(struct nft_ctx *nft, const struct arguments *a)
{
    char rules[RULES_SIZE];

    if (!a->drop && print_setup(a, "reject with tcp reset", rules, sizeof(rules)) && apply(nft, rules))
        return true;
    if (!print_setup(a, "drop", rules, sizeof(rules)) || !apply(nft, rules))
        return false;
    if (!a->drop)
        log_info("this kernel cannot reset local senders: the port gate drops their packets");
    return true;
}

static bool work(struct nft_ctx *nft, const struct arguments *a)
{
    char rules[RULES_SIZE];

    return a->setup ? setup(nft, a) : print_remove(a, rules, sizeof(rules)) && apply(nft, rules);
}

int main(int argc, char *argv[])
{
    struct arguments arguments = {0};
    struct nft_ctx *nft;
    const char *why;
    bool done;

    if (argc == 2 && text_equal(argv[1], "--help")) {
        print_usage(stdout);
        return 0;
    }
    if (!parse(argc, argv, &arguments)) {
        print_usage(stderr);
        return EXIT_USAGE;
    }
    log_open(STDERR_FILENO, log_format_of_stderr(), LOG_LEVEL_INFO);
    nft = nft_ctx_new(NFT_CTX_DEFAULT);
    if (!nft || nft_ctx_buffer_error(nft) != 0) {
        log_error("could not initialize libnftables");
        return 1;
    }
    done = work(nft, &arguments);
    why = nft_ctx_get_error_buffer(nft);
    if (!done)
        log_error("could not %s table \"%s\": %.*s", arguments.setup ? "set up" : "remove", arguments.table,
                  (int)strcspn(why ? why : "", "\n"), why ? why : "");
    nft_ctx_free(nft);
    return done ? 0 : 1;
}
