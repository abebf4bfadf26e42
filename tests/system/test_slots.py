"""Replication slots: for members, permanent ones, those of others; and standbys that stream from standbys."""

import json
import pwd
import re
import signal

import psycopg2
import pytest

from lab import etcd, testing
from lab.cluster import Cluster, Timing
from lab.node import PG_MAJOR

SLOTS = {"keep_phys": {"type": "physical"},
         "keep_logi": {"type": "logical", "database": "postgres", "plugin": "test_decoding"}}
TTL = 8


@pytest.fixture(scope="module")
def shared_slots_cluster():
    shared = testing.Shared(lambda: Cluster.create(
        timing=Timing(ttl=5, loop_wait=1, retry_timeout=1), label="test-slots", parameters={"wal_level": "logical"}))
    yield shared
    shared.drop()


@pytest.fixture
def cluster(shared_slots_cluster):
    c = shared_slots_cluster.whole()
    yield c
    configure(c, slots=None, ignore_slots=None, member_slots_ttl=None)


def configure(cluster, **settings):
    """Changes the dynamic configuration and waits until every node knows it; None removes a setting."""
    config = {**json.loads(cluster.keys()["config"]), **settings}
    config = {k: v for k, v in config.items() if v is not None}
    assert etcd.put(cluster.net.client, [n.address for n in cluster.store], f"/service/{cluster.scope}/config",
                    json.dumps(config))

    def known(n):
        status, text = cluster.rest(n, "/config")
        return status != 200 or json.loads(text) == config
    cluster.wait(lambda: all(known(n) for n in cluster.nodes), 15, "every node knows the configuration")


def slots(cluster, node):
    """{name: row} of a node; {} while it does not answer."""
    try:
        rows = cluster.query(node, "SELECT row_to_json(s) FROM pg_replication_slots s WHERE NOT temporary")
    except psycopg2.Error:
        return {}
    return {row["slot_name"]: row for row, in rows}


def status(cluster):
    return json.loads(cluster.keys().get("status", "{}"))


def standbys(cluster):
    return [n for n in cluster.nodes if n is not cluster.leader()]


def lsn(text):
    high, low = text.split("/")
    return (int(high, 16) << 32) + int(low, 16)


def current_lsn(cluster):
    return lsn(cluster.query(cluster.leader(), "SELECT pg_current_wal_lsn()")[0][0])


def log(node):
    with open(f"{node.dir}/agent.log", errors="replace") as f:
        return f.read()


def fail_over(cluster):
    old = cluster.leader()
    old.kill_all()
    cluster.wait(lambda: cluster.leader() not in (None, old) and cluster.accepts_writes(cluster.leader()), 30,
                 "somebody else leads")
    return old, cluster.leader()


def stop(cluster, node):
    node.send(node.keeper_pid(), signal.SIGTERM)
    cluster.wait(lambda: not node.keeper_pid(), 30, f"{node.name} has stopped")


def test_every_node_keeps_a_slot_for_every_other_also_after_a_failover(cluster):
    def complete():
        return all(set(slots(cluster, n)) == {m.name for m in cluster.nodes if m is not n} for n in cluster.nodes)
    cluster.wait(complete, 20, "each node has the others' slots")
    cluster.query(cluster.leader(), "CREATE TABLE IF NOT EXISTS filler AS SELECT generate_series(1, 20000)")
    here = current_lsn(cluster)
    cluster.wait(lambda: all(lsn(s["restart_lsn"]) >= here for n in cluster.nodes for s in slots(cluster, n).values()),
                 20, "nobody holds back WAL that all have")
    published = status(cluster)
    assert set(published["slots"]) == {n.name for n in cluster.nodes}
    assert published["retain_slots"] == sorted(n.name for n in standbys(cluster))

    old, new = fail_over(cluster)
    assert set(slots(cluster, new)) == {n.name for n in cluster.nodes if n is not new}
    assert old.name in slots(cluster, new), "kept for the one that is gone"
    old.start()
    cluster.wait_whole()
    cluster.wait(complete, 20, "the same as before")


def test_slot_of_a_member_that_left_is_kept_for_a_while_and_then_dropped_everywhere(cluster):
    configure(cluster, member_slots_ttl=TTL)
    node, other = standbys(cluster)
    leader = cluster.leader()
    cluster.wait(lambda: node.name in slots(cluster, other), 20, "the other standby has its slot")
    stop(cluster, node)
    cluster.wait(lambda: f"members/{node.name}" not in cluster.keys(), 15, "its key is gone")
    assert node.name in status(cluster)["retain_slots"]
    assert node.name in slots(cluster, leader) and node.name in slots(cluster, other), "kept"
    cluster.wait(lambda: node.name not in slots(cluster, leader), TTL + 10, "the leader has dropped it")
    cluster.wait(lambda: node.name not in slots(cluster, other), 15, "the other standby, too")
    assert node.name not in status(cluster).get("retain_slots", [])
    assert re.search(f'replication slot "{node.name}": dropping it', log(leader))
    node.start_agent()
    cluster.wait_whole()
    assert node.name in slots(cluster, cluster.leader())


def consume(cluster, node):
    """The values that the slot delivers, in order, as its consumer would confirm them."""
    rows = cluster.query(node, "SELECT data FROM pg_logical_slot_get_changes('keep_logi', NULL, NULL)")
    return [int(m.group(1)) for data, in rows for m in [re.search(r"table public\.changes: INSERT: id\[integer\]:(\d+)", data)]
            if m]


def wait_for_copies(cluster):
    def safe(node):
        return log(node).rfind('"keep_logi": this copy can be used') > log(node).rfind('"keep_logi": copied from')
    cluster.wait(lambda: all("keep_logi" in slots(cluster, n) and safe(n) for n in standbys(cluster)), 60,
                 "every standby has a copy that can be used", tick=lambda: cluster.query(
                     cluster.leader(), "SELECT txid_current()"))


def test_permanent_slots_survive_a_failover_and_the_logical_one_has_no_gap(cluster):
    leader = cluster.leader()
    cluster.query(leader, "DROP TABLE IF EXISTS changes; CREATE TABLE changes (id int PRIMARY KEY)")
    configure(cluster, slots=SLOTS)
    cluster.wait(lambda: set(SLOTS) <= set(slots(cluster, leader)), 20, "the leader has them")
    wait_for_copies(cluster)
    cluster.wait(lambda: all("keep_phys" in slots(cluster, n) for n in cluster.nodes), 20, "all have the physical one")
    assert set(SLOTS) <= set(status(cluster)["slots"])
    for n in standbys(cluster):
        assert cluster.query(n, "SHOW hot_standby_feedback") == [("on",)]
    cluster.wait_whole()

    seen = []
    for i in range(1, 400):
        cluster.query(leader, "INSERT INTO changes VALUES (%s)", (i,))
        if i % 100 == 0:
            seen += consume(cluster, leader)
    assert seen == list(range(1, 301))
    confirmed = lsn(slots(cluster, leader)["keep_logi"]["confirmed_flush_lsn"])
    cluster.wait(lambda: all(lsn(slots(cluster, n)["keep_logi"]["confirmed_flush_lsn"]) >= confirmed
                             for n in standbys(cluster) if "keep_logi" in slots(cluster, n)), 20,
                 "the copies have followed")

    old, new = fail_over(cluster)
    assert set(SLOTS) <= set(slots(cluster, new)), "they are there from the beginning"
    there = [i for i, in cluster.query(new, "SELECT id FROM changes ORDER BY id")]
    after = consume(cluster, new)
    assert sorted(set(seen + after)) == there, "no change is missing"
    assert min(after) > 200, "what was confirmed is not delivered all again"
    cluster.query(new, "INSERT INTO changes VALUES (1000)")
    assert consume(cluster, new) == [1000]
    old.start()
    cluster.wait_whole()
    cluster.wait(lambda: all("keep_logi" in slots(cluster, n) for n in cluster.nodes), 40, "all have it")


def test_copy_that_is_not_known_to_be_complete_is_dropped_at_a_promotion(cluster):
    """An agent that starts anew and finds the marker of a copy, and no primary that it could compare with."""
    configure(cluster, slots={"keep_logi": SLOTS["keep_logi"]})
    cluster.wait(lambda: all("keep_logi" in slots(cluster, n) for n in cluster.nodes), 40, "all have it")
    others = standbys(cluster)
    old = cluster.leader()
    old.kill_all()
    for n in others:
        with open(f"{n.data_dir}.pgtether-slot-copy", "w"):
            pass
        n.send(n.agent_pid(), signal.SIGKILL)
    cluster.wait(lambda: cluster.leader() in others and cluster.accepts_writes(cluster.leader()), 30, "somebody leads")
    new = cluster.leader()
    cluster.wait(lambda: "it is lost and begins anew" in log(new), 20, "it is made anew, and that is said")
    assert "it was copied from the old primary and is not known to be complete" in log(new)
    cluster.wait(lambda: "keep_logi" in slots(cluster, new), 20, "it is there again")
    old.start()
    cluster.wait_whole()


@pytest.mark.skipif(PG_MAJOR < 17, reason="PostgreSQL synchronizes slots since version 17")
def test_slot_that_postgresql_synchronizes_is_left_to_it_also_a_permanent_one(cluster):
    """Made by hand with failover = true: no copy of ours, and no restart for one."""
    leader, others = cluster.leader(), standbys(cluster)
    postgresql = json.loads(cluster.keys()["config"])["postgresql"]
    parameters = {**postgresql["parameters"], "sync_replication_slots": "on", "hot_standby_feedback": "on"}
    copied = {n.name: log(n).count('"keep_logi": copied from') for n in cluster.nodes}

    def synchronized(node):
        slot = slots(cluster, node).get("keep_logi")
        return slot and slot["synced"] and lsn(slot["confirmed_flush_lsn"]) >= \
            lsn(slots(cluster, cluster.leader())["keep_logi"]["confirmed_flush_lsn"])

    def caught_up(node):
        return lsn(cluster.query(node, "SELECT pg_last_wal_replay_lsn()")[0][0]) >= current_lsn(cluster)

    def move():
        """A slot that stands still is not taken over."""
        cluster.query(cluster.leader(), "SELECT pg_log_standby_snapshot()")
        assert consume(cluster, cluster.leader()) == []
    try:
        configure(cluster, postgresql={**postgresql, "parameters": parameters})
        cluster.query(leader, "DROP TABLE IF EXISTS changes; CREATE TABLE changes (id int PRIMARY KEY)")
        cluster.query(leader, "SELECT pg_create_logical_replication_slot('keep_logi', 'test_decoding', false, false, true)")
        configure(cluster, slots={"keep_logi": SLOTS["keep_logi"]})
        cluster.query(leader, "INSERT INTO changes VALUES (1)")
        assert consume(cluster, leader) == [1]
        cluster.wait(lambda: all(synchronized(n) for n in others), 90, "the standbys have it", move, 0.5)
        cluster.query(leader, "INSERT INTO changes VALUES (2)")
        cluster.wait_whole()
        cluster.wait(lambda: all(caught_up(n) for n in others), 20, "the standbys have it all")

        new = others[0]
        code, text = cluster.ctl("switchover", "--leader", leader.name, "--candidate", new.name, "--force")
        assert code == 0, text
        cluster.wait(lambda: cluster.accepts_writes(new), 20, "it is promoted")
        assert consume(cluster, new) == [2], "it goes on where it was"
        cluster.wait_whole()
        cluster.wait(lambda: all(synchronized(n) for n in standbys(cluster)), 90, "the old leader, too, has it", move, 0.5)
        assert "in the way of PostgreSQL's own synchronization" in log(leader), "the one made by hand"
        cluster.query(new, "INSERT INTO changes VALUES (3)")
        cluster.wait(lambda: all(caught_up(n) for n in standbys(cluster)), 20, "the standbys have it all")

        old, new = fail_over(cluster)
        assert consume(cluster, new) == [3], "it goes on where it was"
        old.start()
        cluster.wait_whole()
        assert copied == {n.name: log(n).count('"keep_logi": copied from') for n in cluster.nodes}
    finally:
        configure(cluster, slots=None)
        cluster.query(cluster.leader(), "SELECT pg_drop_replication_slot('keep_logi')")
        cluster.wait(lambda: not any("keep_logi" in slots(cluster, n) for n in cluster.nodes), 60, "it is gone")
        configure(cluster, postgresql=postgresql)


def test_stray_slot_is_dropped_but_not_what_others_use_or_look_after(cluster):
    configure(cluster, ignore_slots=[{"name": "theirs", "type": "physical"}, {"plugin": "test_decoding"}])
    leader = cluster.leader()
    cluster.query(leader, "SELECT pg_create_physical_replication_slot('theirs', true)")
    cluster.query(leader, "SELECT pg_create_logical_replication_slot('also_theirs', 'test_decoding')")
    cluster.query(leader, "SELECT pg_create_physical_replication_slot('stray', true)")
    cluster.wait(lambda: "stray" not in slots(cluster, leader), 20, "the stray one is dropped")
    assert {"theirs", "also_theirs"} <= set(slots(cluster, leader))
    assert 'replication slot "stray": dropping it' in log(leader)
    configure(cluster, ignore_slots=None)
    cluster.wait(lambda: not {"theirs", "also_theirs"} & set(slots(cluster, leader)), 20, "nobody looks after them now")


def test_logical_slot_that_lost_its_wal_is_told_and_not_made_anew_by_itself(cluster):
    leader = cluster.leader()
    configure(cluster, slots={"keep_logi": SLOTS["keep_logi"]})
    cluster.wait(lambda: "keep_logi" in slots(cluster, leader), 20, "it is there")
    wait_for_copies(cluster)
    cluster.wait_whole()
    try:
        cluster.query(leader, "ALTER SYSTEM SET max_slot_wal_keep_size = '32MB'")
        cluster.query(leader, "ALTER SYSTEM SET wal_keep_size = '0'")
        cluster.query(leader, "SELECT pg_reload_conf()")
        cluster.query(leader, "DROP TABLE IF EXISTS filler; CREATE TABLE filler (t text)")

        def lost():
            cluster.query(leader, "INSERT INTO filler SELECT repeat('x', 1000) FROM generate_series(1, 20000)")
            cluster.query(leader, "SELECT pg_switch_wal()")
            cluster.query(leader, "CHECKPOINT")
            return slots(cluster, leader)["keep_logi"]["wal_status"] == "lost"
        cluster.wait(lost, 90, "its WAL is gone")
        cluster.wait(lambda: "lost its WAL" in json.loads(cluster.keys()[f"members/{leader.name}"]).get("pgtether_note", ""),
                     15, "the member's note says so")
        answer = json.loads(cluster.rest(leader, "/patroni")[1])
        assert "keep_logi" in answer["slots_problem"]
        assert answer["max_slot_wal_keep_size"] == 32 << 20
        assert {s["name"]: s["wal_status"] for s in answer["slots"]}["keep_logi"] == "lost"
        assert re.search(r'pgtether_slot_lost\{[^}]*slot_name="keep_logi"[^}]*\} 1', cluster.rest(leader, "/metrics")[1])
        assert slots(cluster, leader)["keep_logi"]["wal_status"] == "lost", "not dropped"
    finally:
        cluster.query(leader, "ALTER SYSTEM RESET max_slot_wal_keep_size")
        cluster.query(leader, "ALTER SYSTEM RESET wal_keep_size")
        cluster.query(leader, "SELECT pg_reload_conf()")
        cluster.query(leader, "DROP TABLE filler")
    cluster.query(leader, "SELECT pg_drop_replication_slot('keep_logi')")
    cluster.wait(lambda: slots(cluster, leader).get("keep_logi", {}).get("wal_status") == "reserved", 20, "made anew")


def streams_from(cluster, node, upstream):
    try:
        return node.name in [name for name, in cluster.query(
            upstream, "SELECT application_name FROM pg_stat_replication WHERE state = 'streaming'")]
    except psycopg2.Error:
        return False


def reconfigure(cluster, node, text):
    stop(cluster, node)
    node.own_config = text
    node.write_config(pwd.getpwnam("postgres"))
    node.start_agent()


def test_cascading_standby_moves_to_the_leader_when_its_upstream_dies_and_back(cluster):
    upstream, node = standbys(cluster)
    leader = cluster.leader()
    try:
        reconfigure(cluster, node, f'tags: {{ replicatefrom = "{upstream.name}"; }};\n')
        cluster.wait(lambda: streams_from(cluster, node, upstream), 30, "it streams from the other standby")
        cluster.wait(lambda: slots(cluster, upstream)[node.name]["active"], 10, "with its slot there")
        here = current_lsn(cluster)
        cluster.query(leader, "CREATE TABLE IF NOT EXISTS filler2 AS SELECT generate_series(1, 20000)")
        cluster.wait(lambda: lsn(slots(cluster, leader)[node.name]["restart_lsn"]) > here, 20,
                     "its spare slot on the leader holds nothing back")
        assert not slots(cluster, leader)[node.name]["active"]
        upstream.kill_all()
        cluster.wait(lambda: streams_from(cluster, node, leader), 30, "it streams from the leader")
        upstream.start()
        cluster.wait(lambda: streams_from(cluster, node, upstream), 40, "and from its upstream again")
    finally:
        if not upstream.agent_pid():
            upstream.start()
        reconfigure(cluster, node, "")
    cluster.wait_whole()


def test_standby_that_does_not_stream_has_no_slot_anywhere(cluster):
    node, other = standbys(cluster)
    leader = cluster.leader()
    cluster.wait(lambda: node.name in slots(cluster, other), 20, "the other standby has its slot")
    try:
        reconfigure(cluster, node, "tags: { nostream = true; };\n")
        cluster.wait(lambda: slots(cluster, node), 30, "it is up")
        cluster.wait(lambda: node.name not in slots(cluster, leader) and node.name not in slots(cluster, other), 30,
                     "its slots are dropped")
        assert not streams_from(cluster, node, leader)
    finally:
        reconfigure(cluster, node, "")
    cluster.wait_whole()
    assert node.name in slots(cluster, leader)
