"""failsafe_mode: the store goes away, and the leader stays as long as all others promise not to lead."""

import http.client
import json
import time

import pytest

from lab import net, sysproc, testing
from lab.cluster import Cluster, Timing
from lab.node import AGENTS, CONT, KILL, REST_PORT, STOP
from lab.sysproc import now_us
from lab.watch import Watch

TTL = 10


@pytest.fixture(scope="module")
def shared_failsafe_cluster():
    shared = testing.Shared(lambda: Cluster.create(timing=Timing(ttl=TTL, loop_wait=1, retry_timeout=2),
                                                   label="test-failsafe", dcs_settings={"failsafe_mode": True}))
    yield shared
    shared.drop()


def listed(cluster):
    return set(json.loads((cluster.keys() or {}).get("failsafe", "{}")))


@pytest.fixture
def cluster(shared_failsafe_cluster):
    c = shared_failsafe_cluster.whole()
    c.wait(lambda: listed(c) == {n.name for n in c.nodes}, 30, "all members are in the failsafe list")
    return c


def stop_store(cluster):
    for h in cluster.store:
        sysproc.send(h.etcd_pid(), KILL)
    cluster.wait(lambda: not any(h.etcd_pid() for h in cluster.store), 10, "etcd is gone")


def start_store(cluster):
    for h in cluster.store:
        h.start_etcd()


@pytest.fixture
def outage(cluster):
    """A store that is away; it is back at the end, whatever happens."""
    yield lambda: stop_store(cluster)
    start_store(cluster)


def others(cluster, leader):
    return [n for n in cluster.nodes if n is not leader]


def hold(cluster, watch, ttls):
    """Lets that much time pass, as long as writes are acknowledged."""
    begin, last, seen = time.monotonic(), now_us(), 0
    while time.monotonic() < begin + ttls * cluster.timing.ttl:
        cluster.wait(lambda: watch.writes_since(last) > 0, 3, "writes are acknowledged")
        last, seen = now_us(), seen + 1
        time.sleep(0.1)
    assert seen > 10


def timeline(cluster, node):
    return cluster.query(node, "SELECT timeline_id FROM pg_control_checkpoint()")[0][0]


def agent_log(node):
    with open(f"{node.dir}/agent.log", errors="replace") as f:
        return f.read()


def is_active(cluster, node):
    return "failsafe_mode_is_active" in json.loads(cluster.rest(node, "/patroni")[1])


def nobody_writes(cluster):
    return not any(cluster.accepts_writes(n) for n in cluster.nodes)


def test_leader_writes_through_an_outage_of_the_whole_store(cluster, outage):
    leader = cluster.leader()
    before, one, other = timeline(cluster, leader), *others(cluster, leader)
    with Watch(cluster) as watch:
        watch.strike(leader)
        outage()
        hold(cluster, watch, 1)
        here = cluster.query(leader, "SELECT pg_current_wal_lsn()")[0][0]
        hold(cluster, watch, 2)
        assert cluster.query(one, "SELECT restart_lsn >= %s FROM pg_replication_slots WHERE slot_name = %s",
                             (here, other.name)) == [(True,)], "a slot that nobody uses holds back no WAL of the outage"
        assert cluster.accepts_writes(leader)
        assert cluster.rest(leader, "/primary")[0] == 200
        assert is_active(cluster, leader)
        assert all(is_active(cluster, n) for n in others(cluster, leader))
        assert set(json.loads(cluster.rest(leader, "/failsafe")[1])) == {n.name for n in cluster.nodes}
        start_store(cluster)
        cluster.wait_whole(60)
        outcome = watch.outcome()
    print(outcome.line())
    assert outcome.window_ms <= 0 and outcome.lost == 0
    assert outcome.gap_ms < 1000 * cluster.timing.ttl / 2
    assert cluster.leader() is leader and timeline(cluster, leader) == before


@pytest.mark.long
def test_leader_stays_when_its_agent_is_started_in_the_outage(cluster, outage):
    leader = cluster.leader()
    with Watch(cluster) as watch:
        watch.strike(leader)
        outage()
        hold(cluster, watch, 1.2)
        leader.send(leader.agent_pid(), KILL)
        hold(cluster, watch, 1.5)
        start_store(cluster)
        cluster.wait_whole(60)
        outcome = watch.outcome()
    print(outcome.line())
    assert outcome.window_ms <= 0 and outcome.lost == 0
    assert cluster.leader() is leader


@pytest.mark.long
def test_leader_stays_when_the_agent_of_another_is_started_in_the_outage(cluster, outage):
    leader = cluster.leader()
    other = others(cluster, leader)[0]
    with Watch(cluster) as watch:
        watch.strike(leader)
        outage()
        hold(cluster, watch, 1.2)
        logged = len(agent_log(other))
        other.send(other.agent_pid(), KILL)
        cluster.wait(lambda: "as was promised" in agent_log(other)[logged:], 10, "the promise is remembered")
        hold(cluster, watch, 1.5)
        start_store(cluster)
        cluster.wait_whole(60)
        outcome = watch.outcome()
    assert outcome.window_ms <= 0 and outcome.lost == 0
    assert cluster.leader() is leader


def test_leader_demotes_in_time_when_one_member_is_silent(cluster, outage):
    leader = cluster.leader()
    silent = others(cluster, leader)[0]
    with Watch(cluster) as watch:
        watch.strike(leader)
        silent.send(silent.agent_pid(), STOP)
        try:
            outage()
            gone_us = now_us()
            cluster.wait(lambda: nobody_writes(cluster), 3 * TTL, "the leader is no primary any more")
            # The last renewal was before the store went: with its time the primary is over.
            last_us = max(a.acked_us for a in watch.acks())
            assert last_us - gone_us < TTL * 1_000_000
            assert f'"{silent.name}" does not answer' in agent_log(leader)
        finally:
            silent.send(silent.agent_pid(), CONT)
            start_store(cluster)
        cluster.wait_whole(60 + 3 * TTL)
        outcome = watch.outcome()
    print(outcome.line())
    assert outcome.window_ms <= 0 and outcome.lost == 0


@pytest.mark.long
def test_nobody_is_promoted_without_store_and_a_replica_when_it_is_back(cluster, outage):
    leader = cluster.leader()
    rest = others(cluster, leader)
    with Watch(cluster) as watch:
        watch.strike(leader)
        outage()
        hold(cluster, watch, 1.2)
        leader.kill_all()
        end = time.monotonic() + 2 * TTL
        cluster.wait(lambda: time.monotonic() > end or any(cluster.accepts_writes(n) for n in rest), 2 * TTL + 5,
                     "time passes")
        assert not any(cluster.accepts_writes(n) for n in rest)
        for h in cluster.store:
            if h is not leader:
                h.start_etcd()
        cluster.wait(lambda: any(cluster.accepts_writes(n) for n in rest), 60 + 3 * TTL, "a replica leads")
        leader.start()
        cluster.wait_whole(60 + 3 * TTL)
        outcome = watch.outcome()
    print(outcome.line())
    assert outcome.window_ms <= 0 and cluster.leader() in rest


@pytest.mark.long
def test_promise_keeps_a_replica_from_leading_although_it_reaches_the_store(cluster):
    """The leader alone is cut off from the store: its key runs out there, and nobody takes it."""
    leader = cluster.leader()
    with Watch(cluster) as watch:
        watch.strike(leader)
        leader.cut_store()
        try:
            hold(cluster, watch, 3)
            assert not (cluster.keys() or {}).get("leader")
            assert any("has promised not to lead" in agent_log(n) for n in others(cluster, leader))
        finally:
            leader.heal()
        cluster.wait_whole(60)
        outcome = watch.outcome()
    print(outcome.line())
    assert outcome.window_ms <= 0 and outcome.lost == 0
    assert cluster.leader() is leader


def post(cluster, node, body):
    with net.inside(cluster.net.client):
        connection = http.client.HTTPConnection(node.address, REST_PORT, timeout=3)
        connection.request("POST", "/failsafe", json.dumps(body))
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
    return answer.status, text, answer.getheader("lsn")


def test_question_of_the_reference_is_answered_as_it_wants(cluster):
    leader = cluster.leader()
    body = {"name": leader.name, "conn_url": f"postgres://{leader.address}:5432/postgres",
            "api_url": f"http://{leader.address}:8008/patroni", "slots": {}}
    status, text, lsn = post(cluster, others(cluster, leader)[0], body)
    assert (status, text) == (200, "Accepted") and int(lsn) > 0
    assert post(cluster, leader, {**body, "name": "n9"})[:2] == (500, "Running as a leader")
    assert post(cluster, others(cluster, leader)[0], {**body, "name": "n9"})[0] == 503
    assert cluster.rest(leader, "/failsafe")[0] == 200


class MixedCluster(Cluster):
    """The third node runs the reference."""

    def _make_nodes(self):
        return [AGENTS["pgtether"](self, 1), AGENTS["pgtether"](self, 2), AGENTS["patroni"](self, 3)]


@pytest.fixture
def mixed_cluster():
    c = testing.adopt(MixedCluster.create(timing=Timing(ttl=20, loop_wait=2, retry_timeout=3), label="test-mixed",
                                          dcs_settings={"failsafe_mode": True}))
    yield c
    testing.drop(c)


@pytest.mark.long
def test_member_of_the_reference_agrees_but_holds_no_lease_of_ours(mixed_cluster):
    c = mixed_cluster
    reference = c.nodes[2]
    c.wait_whole(120)
    if c.leader() is reference:
        reference.kill_all()
        c.wait(lambda: c.leader() not in (None, reference), 90, "one of ours leads")
        reference.start()
        c.wait_whole(180)
    leader = c.leader()
    c.wait(lambda: listed(c) == {n.name for n in c.nodes}, 60, "all members are in the failsafe list")
    with Watch(c) as watch:
        watch.strike(leader)
        stop_store(c)
        gone_us = now_us()
        c.wait(lambda: nobody_writes(c), 60, "the leader is no primary any more")
        last_us = max(a.acked_us for a in watch.acks())
        start_store(c)
        c.wait_whole(180)
        outcome = watch.outcome()
    print(outcome.line())
    assert last_us - gone_us < 20_000_000
    assert f'"{reference.name}" agrees, but promises nothing in time' in agent_log(leader)
    assert outcome.window_ms <= 0
