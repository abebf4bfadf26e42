"""A standby cluster: its first copy, who leads it, what becomes of it when the cluster it follows fails over, and how
a cluster becomes one and stands for itself again."""

import json

import psycopg2
import pytest

from lab import address, testing
from lab.cluster import Timing
from lab.remote import SLOT, RemoteLab

TIMING = Timing(ttl=5, loop_wait=1, retry_timeout=1)


@pytest.fixture(scope="module")
def shared_lab():
    lab = testing.adopt(RemoteLab.create(timing=TIMING, label="standby-cluster", vips=["primary"]))
    lab.wait_following(90)
    yield lab
    testing.drop(lab)


@pytest.fixture
def lab(shared_lab):
    shared_lab.wait_following()
    return shared_lab


@pytest.fixture
def new_lab():
    mine = []

    def build(**options):
        mine.append(testing.adopt(RemoteLab.create(timing=TIMING, label="standby-cluster-own", **options)))
        return mine[-1]
    yield build
    for lab in mine:
        testing.drop(lab)


def log(node):
    with open(f"{node.dir}/agent.log", errors="replace") as f:
        return f.read()


def others(lab):
    return [n for n in lab.nodes if n is not lab.leader()]


def rows(lab, node):
    try:
        return {n for n, in lab.query(node, "SELECT n FROM of_remote")}
    except psycopg2.Error:
        return set()


def timeline(lab, node):
    return lab.member(node).get("timeline")


def test_the_first_member_copies_the_other_cluster_and_the_rest_follow_it(lab):
    leader = lab.leader()
    sysid = lab.query(lab.remotes[0], "SELECT system_identifier FROM pg_control_system()")[0][0]
    assert lab.keys()["initialize"] == str(sysid)
    assert "copy of the cluster that is followed is complete" in "".join(log(n) for n in lab.nodes)
    lab.wait_replayed(lab.remotes[0].write(1))
    assert all(rows(lab, n) == {1} for n in lab.nodes)
    active, = lab.query(lab.remotes[0], "SELECT active FROM pg_replication_slots WHERE slot_name = %s", (SLOT,))[0]
    assert active, "it uses the slot that was agreed on"
    names = {s for s, in lab.query(leader, "SELECT slot_name FROM pg_replication_slots WHERE active")}
    assert names == {n.name for n in others(lab)}, "and keeps one for each of its own standbys"


def test_words_and_health_checks_are_those_of_the_reference(lab):
    leader, other = lab.leader(), others(lab)[0]

    def status(node, path):
        return lab.rest(node, path)[0]
    assert {p: status(leader, p) for p in ("/standby-leader", "/leader", "/primary", "/replica", "/read-only", "/health")} \
        == {"/standby-leader": 200, "/leader": 200, "/primary": 503, "/replica": 503, "/read-only": 200, "/health": 200}
    assert {p: status(other, p) for p in ("/standby-leader", "/leader", "/primary", "/replica", "/async")} \
        == {"/standby-leader": 503, "/leader": 503, "/primary": 503, "/replica": 200, "/async": 200}
    assert json.loads(lab.rest(leader, "/patroni")[1])["role"] == "standby_leader"
    assert [m["role"] for m in json.loads(lab.rest(leader, "/cluster")[1])["members"]].count("standby_leader") == 1
    metrics = lab.rest(leader, "/metrics")[1]
    assert f'patroni_standby_leader{{scope="{lab.scope}",name="{leader.name}"}} 1' in metrics
    assert f'patroni_primary{{scope="{lab.scope}",name="{leader.name}"}} 0' in metrics
    for code, text in (lab.ctl("list"), lab.patronictl("list")):
        assert code == 0, text
        assert text.count("Standby Leader") == 1 and text.count("Replica") == 2, text
    assert "history" not in lab.keys() or lab.keys()["history"] == "[]", "a standby leader writes none"


def test_the_virtual_address_is_the_standby_leaders(lab):
    vip = lab.vip()
    lab.wait(lambda: (n := lab.leader()) and address.holders(lab, vip) == [n.name], 10, "the standby leader has the address")
    new = others(lab)[0]
    code, text = lab.ctl("switchover", lab.scope, "--leader", lab.leader().name, "--candidate", new.name, "--force")
    assert code == 0, text
    lab.wait(lambda: address.holders(lab, vip) == [new.name], 10, "its successor has it")
    lab.wait_following()


def test_a_section_that_cannot_be_used_is_refused(lab):
    for section, why in (({"host": "h", "port": "many"}, "number of a port"),
                         ({"create_replica_methods": ["wal_e"]}, "there is no method"),
                         ({"primary_slot_name": "No-Slot"}, "no name of a slot"),
                         ({"recovery_min_apply_delay": "soon"}, "expected a time"),
                         ({"hosts": "h"}, "is not known here")):
        status, text = lab.rest(lab.leader(), "/config", "PATCH", json.dumps({"standby_cluster": section}))
        assert status == 400 and why in text, text
    lab.wait_following(5)


def test_another_member_follows_the_other_cluster_when_the_leader_is_gone(lab):
    old = lab.leader()
    old.kill_all()
    lab.wait(lambda: lab.leader() not in (None, old), 20, "somebody else leads")
    new = lab.leader()
    lab.wait(lambda: lab.member(new).get("role") == "standby_leader", 10, "as the standby leader")
    lab.wait_replayed(lab.remotes[0].write(2), [n for n in lab.nodes if n is not old])
    old.start()
    lab.wait_following()
    assert lab.leader() is new
    assert all(timeline(lab, n) == 1 for n in lab.nodes), "nobody was promoted"


def test_a_switchover_changes_who_streams_and_restarts_nobody(lab):
    old, new = lab.leader(), others(lab)[1]
    before = {n: n.postmaster_pid() for n in lab.nodes}
    code, text = lab.ctl("switchover", lab.scope, "--leader", old.name, "--candidate", new.name, "--force")
    assert code == 0 and "Successfully switched over" in text, text
    assert lab.wait_following() is new
    assert {n: n.postmaster_pid() for n in lab.nodes} == before
    lab.wait_replayed(lab.remotes[0].write(3))


def test_all_follow_the_other_cluster_to_its_new_timeline(lab):
    first, second = lab.remotes
    lab.wait_replayed(first.write(4), [*lab.nodes, second])
    lab.query(second, "SELECT pg_create_physical_replication_slot(%s)", (SLOT,))
    first.stop("immediate")
    second.promote()
    lab.wait_replayed(second.write(5))
    lab.wait_following()
    lab.wait(lambda: all(timeline(lab, n) == 2 for n in lab.nodes), 20, "all are on the new timeline")
    assert all(5 in rows(lab, n) for n in lab.nodes)
    first.copy(second)
    lab.remotes.reverse()


def test_the_cluster_is_promoted_and_demoted_again(lab):
    leader = lab.leader()
    code, text = lab.ctl("promote-cluster", "--force", lab.scope)
    assert code == 0 and "cluster is successfully promoted" in text, text
    assert lab.leader() is leader and lab.accepts_writes(leader)
    lab.wait_whole(60)
    assert lab.rest(leader, "/primary")[0] == 200 and lab.rest(leader, "/standby-leader")[0] == 503
    lab.query(leader, "INSERT INTO of_remote VALUES (100)")
    lab.remotes[0].write(6)

    host = lab.section()["host"]
    code, text = lab.ctl("demote-cluster", "--host", host, "--port", "5432", "--primary-slot-name", SLOT, "--force", lab.scope,
                         timeout=120)
    assert code == 0 and "cluster is successfully demoted" in text, text
    lab.wait_following(90)
    assert lab.leader() is leader, "it kept the leader key"
    lab.wait_replayed(lab.remotes[0].write(7))
    for n in lab.nodes:
        assert {6, 7} <= rows(lab, n) and 100 not in rows(lab, n), "rewound to the cluster that is followed"


def test_failover_restart_and_a_new_copy_are_as_in_any_cluster(lab):
    leader, (one, two) = lab.leader(), others(lab)
    before = leader.postmaster_pid()
    code, text = lab.ctl("restart", lab.scope, leader.name, "--force")
    assert code == 0 and f"Success: restart on member {leader.name}" in text, text
    lab.wait_following()
    assert lab.leader() is leader and leader.postmaster_pid() != before
    code, text = lab.ctl("failover", lab.scope, "--candidate", one.name, "--force")
    assert code == 0 and "Successfully failed over" in text, text
    assert lab.wait_following() is one
    code, text = lab.ctl("reinit", lab.scope, two.name, "--wait", "--force")
    assert code == 0, text
    lab.wait_following()
    lab.wait_replayed(lab.remotes[0].write(8))


def test_an_agent_that_dies_stops_nothing(lab):
    leader = lab.leader()
    before = leader.postmaster_pid()
    leader.send(leader.agent_pid(), 9)
    lab.wait(lambda: leader.agent_pid() and lab.why_not_following() is None, 30, "all follow again")
    assert leader.postmaster_pid() == before
    lab.wait_replayed(lab.remotes[0].write(9))


def test_who_has_more_than_the_other_cluster_after_its_failover_is_rewound(lab):
    """The cluster that is followed fails over to a standby that lacks what was streamed to here."""
    first, second = lab.remotes
    lab.wait_replayed(first.write(10), [*lab.nodes, second])
    second.stop()
    lab.wait_replayed(first.write(11))
    first.stop("immediate")
    second.start()
    second.promote()
    lab.query(second, "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots")
    lab.query(second, "SELECT pg_create_physical_replication_slot(%s)", (SLOT,))
    lab.query(second, "INSERT INTO of_remote SELECT generate_series(1000, 20000)")
    lsn = second.write(12)
    lab.wait_following(90)
    lab.wait_replayed(lsn)
    for n in lab.nodes:
        assert 12 in rows(lab, n) and 11 not in rows(lab, n), "on the way of the other cluster"
    first.copy(second)
    lab.remotes.reverse()


def test_nobody_is_promoted_while_the_other_cluster_is_gone_until_somebody_says_so(lab):
    first, second = lab.remotes
    lab.wait_replayed(first.write(13))
    first.stop()
    second.stop()
    old = lab.leader()
    old.kill_all()
    lab.wait(lambda: lab.leader() not in (None, old), 20, "somebody else leads")
    old.start()
    lab.wait(lambda: all(lab.member(n).get("state") in ("running", "streaming") for n in lab.nodes), 30, "all run")
    assert not any(lab.accepts_writes(n) for n in lab.nodes)
    lab.change(standby_cluster=None)
    lab.wait(lambda: lab.accepts_writes(lab.leader()), 30, "a primary")
    lab.wait_whole(60)
    assert 13 in rows(lab, lab.leader())


@pytest.mark.long
def test_cluster_of_its_own_becomes_a_standby_cluster_of_a_copy_of_itself(new_lab):
    """A migration: the other cluster was made from this one, was promoted, and is followed from then on."""
    lab = new_lab(dcs_settings={"alone": True, "synchronous_mode": True})
    leader = lab.wait_whole(90)
    remote = lab.remotes[0]
    lab.query(leader, "CREATE TABLE of_remote (n int)")
    remote.stop()
    remote.copy(leader)
    lab.query(leader, "INSERT INTO of_remote VALUES (1)")
    remote.promote()
    lab.query(leader, "INSERT INTO of_remote VALUES (2)")
    lab.change(standby_cluster={"host": remote.address})
    lab.wait_following(90)
    assert lab.leader() is leader
    lab.wait_replayed(remote.write(3))
    for n in lab.nodes:
        assert 2 not in rows(lab, n) and 3 in rows(lab, n)
    text = lab.ctl("list")[1]
    assert "Sync Standby" not in text, text
    lab.change(standby_cluster=None)
    lab.wait_whole(60)
    lab.wait(lambda: "Sync Standby" in lab.ctl("list")[1], 30, "synchronous again")


@pytest.mark.long
def test_an_archive_is_enough_for_who_has_a_copy(new_lab):
    lab = new_lab()
    lab.wait_following(90)
    remote = lab.remotes[0]
    remote.run("mkdir", "-p", f"{remote.dir}/archive")
    remote.run("psql", "-h", remote.dir, "-U", "postgres", "-c", "ALTER SYSTEM SET archive_mode = on", "-c",
               f"ALTER SYSTEM SET archive_command = 'cp %p {remote.dir}/archive/%f'")
    remote.stop()
    remote.start()
    lab.wait_following(60)
    lab.change(standby_cluster={"host": None, "primary_slot_name": None,
                                "restore_command": f"cp {remote.dir}/archive/%f %p"})
    lsn = remote.write(1)
    lab.query(remote, "SELECT pg_switch_wal()")
    lab.wait_replayed(lsn, timeout=60)
    assert lab.member(lab.leader())["role"] == "standby_leader"
