"""Starts, stops and failures in a row: what a node does with a PostgreSQL that is frozen, slow or gone."""

import json
import os
import signal
import time

import psycopg2
import pytest

from lab import etcd, sysproc
from lab.cluster import Timing


def freeze_postgres(node):
    """The postmaster first, so that nothing is forked behind our back."""
    stopped = [node.postmaster_pid()]
    sysproc.send(stopped[0], signal.SIGSTOP)
    while True:
        more = [pid for pid in node.postgres_pids() if pid not in stopped]
        if not more:
            return stopped
        for pid in more:
            sysproc.send(pid, signal.SIGSTOP)
        stopped += more


def test_frozen_postgres_adopted_by_a_new_agent_loses_the_leader_key(cluster):
    """What is left after a service manager has replaced a keeper whose host had stood still."""
    leader = cluster.wait_whole()
    agent = leader.agent_pid()
    struck = time.monotonic()
    stopped = freeze_postgres(leader)
    sysproc.send(agent, signal.SIGKILL)
    cluster.wait(lambda: leader.agent_pid() not in (None, agent), 10, "the keeper starts a new agent")
    # It counts as hung after 15 s without an answer; then a stop, a proof and an election, which the node itself may win.
    cluster.wait(lambda: cluster.accepts_writes(cluster.leader()), 60, "somebody accepts writes")
    print(f"writes again after {time.monotonic() - struck:.1f} s")
    assert not [pid for pid in stopped if sysproc.Process(pid).alive], "the frozen PostgreSQL was proven dead before"
    cluster.wait_whole()


def kill_postmaster(node):
    sysproc.send(node.postmaster_pid(), signal.SIGKILL)


def kill_daemon(node):
    """Keeper, agent and PostgreSQL, as a power cut would; the member of the store beside them lives on."""
    for p in node.processes():
        if p.comm != "etcd":
            sysproc.send(p.pid, signal.SIGKILL)


def replicated_row(cluster, leader, number):
    """Written on the leader and confirmed by both standbys: no failover may lose it."""
    cluster.query(leader, "INSERT INTO flaps VALUES (%s)", (number,))
    lsn = cluster.query(leader, "SELECT pg_current_wal_lsn()")[0][0]

    def confirmed():
        try:
            return cluster.query(leader, "SELECT count(*) FROM pg_stat_replication WHERE replay_lsn >= %s",
                                 (lsn,))[0][0] == 2
        except psycopg2.Error:
            return False
    cluster.wait(confirmed, 60, f"both standbys have row {number}")


def set_aside(node):
    return [e for e in os.listdir(node.dir)
            if e.startswith("data.") and not e.endswith((".conf", ".pgtether-id", ".pgtether-standby"))]


def sysid(cluster, node):
    return cluster.query(node, "SELECT system_identifier FROM pg_control_system()")[0][0]


def timeline_of(cluster, node):
    return json.loads(cluster.keys().get(f"members/{node.name}", "{}")).get("timeline", 0)


def leads_on_a_later_timeline(cluster, before):
    leader = cluster.leader()
    return leader and timeline_of(cluster, leader) > before and cluster.accepts_writes(leader)


def flap(cluster, times, kill):
    leader = cluster.wait_whole()
    identifiers = {n.name: sysid(cluster, n) for n in cluster.nodes}
    cluster.query(leader, "CREATE TABLE IF NOT EXISTS flaps (number int)")
    cluster.query(leader, "TRUNCATE flaps")
    first = timeline_of(cluster, leader)
    for number in range(times):
        leader = cluster.wait_whole(60)
        replicated_row(cluster, leader, number)
        before = timeline_of(cluster, leader)
        kill(leader)
        # Another node, or the same one again if it is back as a standby in time: it has the most WAL.
        cluster.wait(lambda: leads_on_a_later_timeline(cluster, before), 30, f"flap {number}: a new timeline is led")
        if not leader.keeper_pid():
            leader.start_agent()
    leader = cluster.wait_whole(60)
    assert [n for n, in cluster.query(leader, "SELECT number FROM flaps ORDER BY number")] == list(range(times))
    assert {n.name: sysid(cluster, n) for n in cluster.nodes} == identifiers
    for n in cluster.nodes:
        assert set_aside(n) == [], f"nothing of {n.name} is deleted, set aside or left half-done"
        assert cluster.query(n, "SELECT count(*) FROM flaps")[0][0] == times
    return first


def check_history(cluster, first, times):
    """All members are on one timeline, whose history is in order; its number was reserved, and nobody's before."""
    keys = cluster.keys()
    last = {timeline_of(cluster, n) for n in cluster.nodes}
    assert len(last) == 1
    assert last == {int(keys["timeline"])}
    assert max(last) >= first + times
    history = json.loads(keys["history"])
    numbers = [line[0] for line in history]
    assert numbers == sorted(set(numbers)) and numbers[-1] < max(last)
    assert len(numbers) >= times
    assert [line[1] for line in history] == sorted(line[1] for line in history)


@pytest.fixture(scope="module")
def flapping():
    """A cluster in which a primary that dies is not started again, but succeeded."""
    from lab import testing
    from lab.cluster import Cluster

    c = testing.adopt(Cluster.create(timing=Timing(ttl=5, loop_wait=1, retry_timeout=1), label="flaps",
                                     dcs_settings={"primary_start_timeout": 0}))
    c.wait_whole(180)
    yield c
    testing.drop(c)


@pytest.mark.parametrize("times", [4, pytest.param(40, marks=pytest.mark.long)])
def test_leader_killed_again_and_again_leaves_consistent_timelines(flapping, times):
    first = flap(flapping, times, kill_postmaster)
    check_history(flapping, first, times)


@pytest.mark.long
def test_leader_whose_host_dies_again_and_again_leaves_everything_there(flapping):
    first = flap(flapping, 12, kill_daemon)
    check_history(flapping, first, 12)


def test_new_leader_that_dies_right_after_its_promotion_is_succeeded_by_the_third(flapping):
    """Cascading failure: the second leader has led for no longer than its promotion took."""
    first = flapping.wait_whole()
    timeline = timeline_of(flapping, first)
    replicas = [n for n in flapping.nodes if n is not first]
    flapping.query(first, "CREATE TABLE IF NOT EXISTS flaps (number int)")
    replicated_row(flapping, first, -1)
    kill_daemon(first)
    flapping.wait(lambda: any(flapping.accepts_writes(n) for n in replicas), 30, "a second leader is promoted",
                  interval=0.01)
    second = next(n for n in replicas if flapping.accepts_writes(n))
    third = next(n for n in replicas if n is not second)
    kill_daemon(second)
    flapping.wait(lambda: flapping.leader() is third and flapping.accepts_writes(third), 40, "the third one leads")
    assert flapping.query(third, "SELECT count(*) FROM flaps WHERE number = -1")[0][0] == 1
    for n in (second, first):
        n.start_agent()
    flapping.wait_whole()
    assert flapping.leader() is third
    for n in flapping.nodes:
        assert set_aside(n) == [], n.name
        assert timeline_of(flapping, n) > timeline + 1, "the second leader's timeline is nobody else's"
    flapping.query(third, "DELETE FROM flaps WHERE number = -1")


def test_timeline_that_another_leader_has_reserved_is_not_used_again(flapping):
    """As if a leader had been promoted and died before anybody heard of it."""
    leader = flapping.wait_whole()
    before = timeline_of(flapping, leader)
    key = f"/service/{flapping.scope}/timeline"
    flapping.wait(lambda: flapping.keys().get("timeline") == str(before), 10, "the key says the leader's timeline")
    assert etcd.put(flapping.net.client, [n.address for n in flapping.store], key, str(before + 3))
    kill_daemon(leader)
    flapping.wait(lambda: leads_on_a_later_timeline(flapping, before), 30, "a successor leads")
    successor = flapping.leader()
    assert timeline_of(flapping, successor) == before + 4
    leader.start_agent()
    flapping.wait_whole()
    assert {timeline_of(flapping, n) for n in flapping.nodes} == {before + 4}
    assert flapping.keys()["timeline"] == str(before + 4)
    for n in flapping.nodes:
        assert set_aside(n) == []
    # And once more from there: the histories of the timelines that were skipped confuse nobody.
    kill_postmaster(flapping.wait_whole())
    flapping.wait(lambda: flapping.leader() and leads_on_a_later_timeline(flapping, before + 4), 30, "the next one")
    flapping.wait_whole()
    assert {timeline_of(flapping, n) for n in flapping.nodes} == {before + 5}


def test_history_is_cut_to_its_newest_lines(flapping):
    leader = flapping.wait_whole()
    status, _ = flapping.rest(leader, "/config", "PATCH", json.dumps({"max_timelines_history": 2}))
    assert status == 200
    try:
        for _ in range(3):
            leader = flapping.wait_whole()
            before = timeline_of(flapping, leader)
            kill_postmaster(leader)
            flapping.wait(lambda before=before: leads_on_a_later_timeline(flapping, before), 30, "a new timeline")
        now = timeline_of(flapping, flapping.wait_whole())
        flapping.wait(lambda: [line[0] for line in json.loads(flapping.keys()["history"])] == [now - 2, now - 1], 15,
                      "the last two lines")
    finally:
        flapping.rest(flapping.wait_whole(), "/config", "PATCH", json.dumps({"max_timelines_history": None}))
