"""Who could lead if the leader's host died now: asked before it does, and compared with what then happens."""

import json
import pwd
import time

import pytest

from lab import testing
from lab.cluster import Cluster, Timing


@pytest.fixture(scope="module")
def shared():
    c = testing.adopt(Cluster.create(timing=Timing(ttl=5, loop_wait=1, retry_timeout=1), label="why"))
    c.wait_whole(180)
    yield c
    testing.drop(c)


@pytest.fixture
def asked(shared):
    shared.wait_whole()
    return shared


def why(cluster, node=None):
    """{name: what is said of it}, and the whole answer."""
    code, text = cluster.rest(node or cluster.leader(), "/why", timeout=10)
    assert code == 200, text
    answer = json.loads(text)
    return {m["name"]: m for m in answer["members"]}, answer


def wait_for_verdict(cluster, name, node, **want):
    last = [None]

    def says():
        last[0] = why(cluster, node)[0].get(name)
        return last[0] and all(last[0].get(key) == value for key, value in want.items())
    cluster.wait(says, 30, f"{name}: {want}")
    return last[0]


def configure(node, text):
    node.own_config = text
    node.write_config(pwd.getpwnam("postgres"))
    assert node.cluster.rest(node, "/reload", "POST")[0] == 202


def test_standbys_of_a_healthy_cluster_could_lead(asked):
    leader = asked.leader()
    for node in asked.nodes:
        members, answer = why(asked, node)
        assert answer["leader"] == leader.name and answer["asked"] == node.name
        assert answer["leader_position_is"] == "now" and answer["leader_position"] > 0
        assert list(members) == [n.name for n in asked.nodes]
        assert members[leader.name]["verdict"] == "leads"
        for standby in [n for n in asked.nodes if n is not leader]:
            m = members[standby.name]
            assert (m["verdict"], m["rule"], m["obstacle"], m["note"]) == ("could lead", None, None, None), m
            assert 0 <= m["bytes_lost"] < 1 << 20 and m["bytes_to_replay"] >= 0
            assert m["failover_seconds"] == 6, "ttl 5, and a second for the election"


def test_each_of_those_asked_alone_says_the_same(asked):
    for node in asked.nodes:
        one = json.loads(asked.rest(node, "/why?self=1")[1])
        assert one["name"] == node.name and one["verdict"] in ("leads", "could lead")


def test_nofailover_is_said_and_holds(asked):
    leader = asked.leader()
    barred, other = [n for n in asked.nodes if n is not leader]
    configure(barred, "tags: { nofailover = true; };")
    try:
        m = wait_for_verdict(asked, barred.name, leader, verdict="cannot lead", rule="nofailover")
        assert "nofailover" in m["obstacle"] and m["failover_seconds"] is None
        assert why(asked)[0][other.name]["verdict"] == "could lead"
        code, output = asked.ctl("why")
        assert code == 0 and f"{barred.name}: the tag nofailover" in output, output
        # What was said is what happens, and in the time that was said.
        began = time.monotonic()
        for p in leader.processes():
            if p.comm != "etcd":
                leader.send(p.pid, 9)
        asked.wait(lambda: asked.accepts_writes(other), 30, "the other one leads")
        assert time.monotonic() - began < 6 + 2
        leader.start()
        asked.wait_whole()
    finally:
        configure(barred, "")


def test_member_that_is_cut_off_is_unreachable_and_its_own_word_is_another(asked):
    leader = asked.leader()
    away = next(n for n in asked.nodes if n is not leader)
    away.cut_off()
    try:
        m = wait_for_verdict(asked, away.name, leader, verdict="cannot lead", rule="unreachable")
        assert m["obstacle"] and m["bytes_lost"] is None
        # Asked itself it cannot read the store, and would not lead for that.
        asked.wait(lambda: json.loads(asked.rest(away, "/why?self=1")[1])["rule"] == "state", 30, "it says so itself")
        assert "store" in json.loads(asked.rest(away, "/why?self=1")[1])["obstacle"]
        # Even when its member key is gone it is shown, as long as the leader knows it.
        code, output = asked.ctl("why", "-f", "json")
        assert code == 0, output
        rows = {r["Member"]: r for r in json.loads(output)}
        assert rows[away.name]["Rule"] == "unreachable"
    finally:
        away.heal()
    asked.wait_whole()
    wait_for_verdict(asked, away.name, leader, verdict="could lead")


def test_asynchronous_standby_in_synchronous_mode_may_lack_commits(asked):
    assert asked.rest(asked.leader(), "/config", "PATCH", json.dumps({"synchronous_mode": True}))[0] == 200
    try:
        def sync():
            key = json.loads((asked.keys() or {}).get("sync") or "{}")
            return [n for n in (key.get("sync_standby") or "").split(",") if n]
        asked.wait(lambda: len(sync()) == 1, 30, "one standby is synchronous")
        leader, name = asked.leader(), sync()[0]
        asynchronous = next(n.name for n in asked.nodes if n is not leader and n.name != name)
        m = wait_for_verdict(asked, asynchronous, leader, verdict="cannot lead", rule="sync")
        assert "/sync" in m["obstacle"]
        wait_for_verdict(asked, name, leader, verdict="could lead")
    finally:
        asked.rest(asked.leader(), "/config", "PATCH", json.dumps({"synchronous_mode": None}))


def test_pause_and_lag_are_said(asked):
    leader = asked.leader()
    standby = next(n for n in asked.nodes if n is not leader)
    assert asked.rest(leader, "/config", "PATCH", json.dumps({"pause": True}))[0] == 200
    try:
        wait_for_verdict(asked, standby.name, leader, verdict="cannot lead", rule="pause")
    finally:
        asked.rest(leader, "/config", "PATCH", json.dumps({"pause": None}))
    # From the leader's host alone: the store and the REST APIs are reached.
    asked.net.cut_from(standby.name, [leader.address])
    try:
        asked.query(leader, "CREATE TABLE IF NOT EXISTS much (text text)")
        asked.query(leader, "INSERT INTO much SELECT repeat(md5(i::text), 20) FROM generate_series(1, 8000) i")
        asker = next(n for n in asked.nodes if n not in (leader, standby))
        m = wait_for_verdict(asked, standby.name, asker, verdict="cannot lead", rule="lag")
        assert m["bytes_lost"] > 1 << 20
    finally:
        asked.net.heal(standby.name)
    asked.wait_whole()


def test_output_for_people_and_programs(asked):
    code, output = asked.ctl("why")
    assert code == 0 and "could lead" in output and "| leads" in output and "Bytes lost" in output, output
    for form in ("tsv", "yaml", "json"):
        code, output = asked.ctl("why", "-f", form)
        assert code == 0 and "Verdict" in output and "could lead" in output, output
    assert asked.ctl("why", "-f", "topology")[0] == 2
