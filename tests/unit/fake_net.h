/*
 * The stand-in for pgtether-net under the real keeper, for test_keeper_net.c: it answers as the test wants and shows
 * what it was told, in a file which both map (FAKE_NET names it).
 */
#pragma once
#include <stdint.h>
#include "fence/net.h"

enum { FAKE_NET_HISTORY = 64 };

struct fake_net {
    /* what the test wants */
    uint32_t gate;      /* enum keeper_gate that is reported */
    uint32_t not_shut;  /* it cannot take away what it is told to */
    uint32_t held;      /* addresses_held, of one */
    uint32_t says_junk; /* the next report is none */
    /* what has happened */
    uint32_t pid, starts, n_orders;
    struct net_order orders[FAKE_NET_HISTORY]; /* of all its lives; the last one is n_orders - 1 */
};
