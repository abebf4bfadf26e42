/*
 * The stand-in for pgtether-agent that tests/unit/test_keeper.c runs under the real keeper. It does what the test says:
 * it connects to the test's socket (FAKE_AGENT_CONTROL), takes commands from there, and passes the keeper's answers on.
 * Started with --print-keeper-config it prints the configuration file, which holds the settings themselves.
 */
#pragma once
#include <stdint.h>
#include "fence/protocol.h"

enum fake_command {
    FAKE_ASK = 1,  /* send `request` to the keeper; POSTMASTER with the pidfd of `argument` */
    FAKE_SEND,     /* send the first `argument` bytes of `bytes` to the keeper, whatever they are */
    FAKE_EXIT,     /* exit with status `argument` */
    FAKE_POSTGRES, /* start a family of processes in the directory `bytes`, answer with its head */
    FAKE_HANG_UP,  /* close the keeper's socket and live on */
};

struct fake_order {
    uint32_t command; /* enum fake_command */
    uint32_t argument;
    struct keeper_request request;
    char bytes[256];
};

enum fake_event { FAKE_HELLO = 1, FAKE_ANSWER, FAKE_POSTGRES_RUNS, FAKE_SIGNAL, FAKE_KEEPER_GONE };

struct fake_report {
    uint32_t event; /* enum fake_event */
    uint32_t pid;   /* of the agent, for POSTGRES_RUNS of the postmaster; for SIGNAL its number */
    struct keeper_answer answer;
};
