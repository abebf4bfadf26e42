/* The physical replication slots a node keeps for the other members, so that nobody finds its WAL removed. */
#pragma once
#include "model/cluster.h"
#include "pg/probe.h"

/*
 * SQL that brings the slots into line, "" when nothing is to be done; the caller frees, NULL when memory ran out. Every
 * node keeps a slot for every other streaming member (facts sheet 5.3): on the primary they are created reserving WAL
 * and move by streaming; on a standby, where nobody streams from them, they are advanced to what the member has
 * replayed.
 */
char *pg_slots_sql(const struct pg_facts *facts, const struct cluster *cluster, const char *own_name);
