"""The power goes, for all hosts at once, and they come back one by one: who has most WAL leads, and nobody before that is known."""

import json
import re
import signal
import time

import psycopg2
import pytest

from lab import etcd, sysproc, testing
from lab.cluster import Cluster, Timing


@pytest.fixture(scope="module")
def shared():
    c = testing.adopt(Cluster.create(timing=Timing(ttl=5, loop_wait=1, retry_timeout=1), label="cold"))
    c.wait_whole(180)
    yield c
    testing.drop(c)


@pytest.fixture
def dark(shared):
    """Whole, whatever the test before has left."""
    for n in shared.nodes:
        n.start()
    shared.wait_whole()
    return shared


def known(cluster):
    return set(json.loads((cluster.keys() or {}).get("known_members", "{}")))


def kill_host(node):
    """All but the member of the store, which has power of its own."""
    for p in node.processes():
        if p.comm != "etcd":
            sysproc.send(p.pid, signal.SIGKILL)


def everybody_is_known(cluster):
    names = {n.name for n in cluster.nodes}
    cluster.wait(lambda: known(cluster) == names, 20, "the leader has written who the members are")


def power_off(cluster):
    for n in cluster.nodes:
        n.kill_all()


def power_on_store(cluster):
    for h in cluster.store:
        h.start_etcd()
    # An agent that is started in the time of its lease, on a host that has not been down, goes on with it.
    cluster.wait(lambda: "leader" not in (cluster.keys() or {"leader": ""}), 60,
                 "the store is back, and the lease of the leader before over")


def insert(cluster, leader, first, last):
    cluster.query(leader, "INSERT INTO acknowledged SELECT * FROM generate_series(%s, %s)", (first, last))


def has_all(cluster, leader, node):
    lsn = cluster.query(leader, "SELECT pg_current_wal_lsn()")[0][0]

    def caught_up():
        try:
            return cluster.query(leader, "SELECT count(*) FROM pg_stat_replication WHERE application_name = %s AND "
                                         "flush_lsn >= %s", (node.name, lsn))[0][0] == 1
        except psycopg2.Error:
            return False
    cluster.wait(caught_up, 20, f"{node.name} has all")


def outage(cluster):
    """One standby misses the last rows, the power goes. Returns (leader, full standby, standby with less)."""
    leader = cluster.wait_whole()
    everybody_is_known(cluster)
    full, less = [n for n in cluster.nodes if n is not leader]
    cluster.query(leader, "DROP TABLE IF EXISTS acknowledged")
    cluster.query(leader, "CREATE TABLE acknowledged (number int)")
    insert(cluster, leader, 1, 100)
    has_all(cluster, leader, full)
    has_all(cluster, leader, less)
    kill_host(less)
    insert(cluster, leader, 101, 200)
    has_all(cluster, leader, full)
    power_off(cluster)
    power_on_store(cluster)
    return leader, full, less


def rows(cluster, node):
    return [n for n, in cluster.query(node, "SELECT number FROM acknowledged ORDER BY number")]


def status(cluster, node):
    code, text = cluster.rest(node, "/patroni")
    return json.loads(text) if code == 200 else {}


def waits_for(cluster, node, names):
    """It says over REST that it waits for exactly these."""
    state = status(cluster, node).get("cold_start", {})
    return set(re.sub(r" \([^)]*\)", "", state.get("waiting_for") or "").split(", ")) == set(names)


def nobody_leads_for(cluster, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert not any(cluster.accepts_writes(n) for n in cluster.nodes), "somebody leads before all are back"
        time.sleep(0.2)


def test_member_with_less_wal_that_is_back_first_waits_for_the_best(dark):
    leader, full, less = outage(dark)
    less.start_agent()
    dark.wait(lambda: waits_for(dark, less, [leader.name, full.name]), 40, "it waits for the other two")
    state = status(dark, less)["cold_start"]
    command = f"pgtetherctl failover {dark.scope} --candidate {less.name} --force"
    assert state["command"] == command
    assert state["candidate"] == less.name
    assert isinstance(state["bytes_behind"], int)
    # Far longer than an election takes.
    nobody_leads_for(dark, 10)
    code, listing = dark.ctl("list")
    assert code == 0 and command in " ".join(listing.split()), listing
    with open(f"{less.dir}/agent.log") as f:
        log = f.read()
    assert f"waiting for {leader.name}" in log or f"waiting for {full.name}" in log
    assert command in log

    full.start_agent()
    dark.wait(lambda: waits_for(dark, less, [leader.name]) and waits_for(dark, full, [leader.name]), 40,
              "both wait for the leader before")
    assert status(dark, less)["cold_start"]["candidate"] == full.name, "the command names who has most"
    nobody_leads_for(dark, 4)
    leader.start_agent()
    now = dark.wait_whole()
    assert now in (leader, full)
    assert rows(dark, now) == list(range(1, 201))
    assert "cold_start" not in status(dark, less)


def test_wait_outlives_the_agent_and_the_list_in_the_store(dark):
    leader, full, less = outage(dark)
    assert etcd.delete(dark.net.client, [n.address for n in dark.store], f"/service/{dark.scope}/known_members")
    less.start_agent()
    dark.wait(lambda: waits_for(dark, less, [leader.name, full.name]), 40, "it knows them from its disk")
    postmaster, agent = less.postmaster_pid(), less.agent_pid()
    less.send(agent, 9)
    dark.wait(lambda: less.agent_pid() not in (None, agent), 20, "another agent is there")
    dark.wait(lambda: waits_for(dark, less, [leader.name, full.name]), 40, "it waits as the one before")
    assert less.postmaster_pid() == postmaster
    nobody_leads_for(dark, 4)
    full.start_agent()
    leader.start_agent()
    now = dark.wait_whole()
    assert rows(dark, now) == list(range(1, 201))
    everybody_is_known(dark)


def test_operator_who_gives_the_others_up_goes_on_with_one_member(dark):
    leader, full, less = outage(dark)
    less.start_agent()
    dark.wait(lambda: waits_for(dark, less, [leader.name, full.name]), 40, "it waits for the other two")
    command = status(dark, less)["cold_start"]["command"].split()
    assert command[0] == "pgtetherctl"
    code, output = dark.ctl(*command[1:])
    assert code == 0, output
    dark.wait(lambda: dark.accepts_writes(less), 30, "the one that the operator has named leads")
    assert rows(dark, less) == list(range(1, 101)), "the rows that only the others had are the price"
    # Who was given up comes back and follows; the list of members is the leader's again.
    dark.wait(lambda: known(dark) == {less.name}, 20, "the others are known no more a ttl after")
    full.start_agent()
    leader.start_agent()
    dark.wait_whole()
    everybody_is_known(dark)


def test_member_that_had_left_before_the_outage_is_not_waited_for(dark):
    leader = dark.wait_whole()
    everybody_is_known(dark)
    full, gone = [n for n in dark.nodes if n is not leader]
    dark.query(leader, "CREATE TABLE IF NOT EXISTS acknowledged (number int)")
    dark.query(leader, "TRUNCATE acknowledged")
    kill_host(gone)
    dark.wait(lambda: known(dark) == {leader.name, full.name}, 30, "the leader goes on without it")
    insert(dark, leader, 1, 10)
    has_all(dark, leader, full)
    power_off(dark)
    power_on_store(dark)
    leader.start_agent()
    dark.wait(lambda: waits_for(dark, leader, [full.name]), 40, "the two wait for each other, and for nobody else")
    full.start_agent()
    dark.wait(lambda: any(dark.accepts_writes(n) for n in (leader, full)), 40, "and then one leads")
    assert rows(dark, dark.leader()) == list(range(1, 11))
    gone.start_agent()
    dark.wait_whole()


def test_failover_with_standbys_that_run_waits_for_nobody(dark):
    """What the rule must not cost."""
    leader = dark.wait_whole()
    everybody_is_known(dark)
    standbys = [n for n in dark.nodes if n is not leader]
    began = time.monotonic()
    kill_host(leader)
    dark.wait(lambda: any(dark.accepts_writes(n) for n in standbys), 30, "a standby leads")
    took = time.monotonic() - began
    assert took < 5 + 10, f"{took:.1f} s with a ttl of 5 s"
    assert not any("cold_start" in status(dark, n) for n in standbys)
    leader.start()
    dark.wait_whole()


def test_standbys_that_have_just_come_up_succeed_a_leader_they_saw(dark):
    """All who are left are young, but they were there while it led: no outage of all."""
    leader = dark.wait_whole()
    everybody_is_known(dark)
    standbys = [n for n in dark.nodes if n is not leader]
    # That the key outlives a ttl shows it, too, but not so soon.
    assert dark.rest(leader, "/config", "PATCH", json.dumps({"ttl": 120}))[0] == 200
    try:
        for n in standbys:
            kill_host(n)
        for n in standbys:
            n.start_agent()
        dark.wait(lambda: all(status(dark, n).get("leader_seen") for n in standbys), 60, "they have seen it lead")
    finally:
        dark.rest(leader, "/config", "PATCH", json.dumps({"ttl": 5}))
    dark.wait_whole()
    kill_host(leader)
    dark.wait(lambda: any(dark.accepts_writes(n) for n in standbys), 150, "a standby leads")
    leader.start()
    dark.wait_whole()


def test_agent_that_is_started_anew_beside_its_postgres_has_seen_the_leader(dark):
    """An agent dies, and before it has seen anything the leader does: no outage of all, though all agents are young."""
    leader = dark.wait_whole()
    standbys = [n for n in dark.nodes if n is not leader]
    kill_host(leader)
    for n in standbys:
        n.send(n.agent_pid(), 9)
    dark.wait(lambda: any(dark.accepts_writes(n) for n in standbys), 40, "a standby leads")
    leader.start()
    dark.wait_whole()


def test_wait_that_is_limited_ends_with_whoever_is_there(dark):
    assert dark.rest(dark.wait_whole(), "/config", "PATCH", json.dumps({"cold_start_wait": 15}))[0] == 200
    try:
        leader, full, less = outage(dark)
        less.start_agent()
        began = time.monotonic()
        dark.wait(lambda: waits_for(dark, less, [leader.name, full.name]), 40, "it waits")
        assert 0 < status(dark, less)["cold_start"]["waits_at_most_seconds"] <= 15
        dark.wait(lambda: dark.accepts_writes(less), 40, "and then leads")
        assert time.monotonic() - began > 10
        full.start_agent()
        leader.start_agent()
        dark.wait_whole()
    finally:
        dark.rest(dark.wait_whole(), "/config", "PATCH", json.dumps({"cold_start_wait": None}))
