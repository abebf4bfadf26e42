"""The address for replicas: one healthy standby has it, and another takes it when that one cannot."""

import signal

import pytest

from lab import address, sysproc, testing
from lab.address import Prober
from lab.cluster import Cluster, Timing


@pytest.fixture(scope="module")
def shared_replica_cluster():
    shared = testing.Shared(lambda: Cluster.create(timing=Timing(ttl=5, loop_wait=1, retry_timeout=1),
                                                   label="test-replica-address", vips=("primary", "replica")))
    yield shared
    shared.drop()


def holder(cluster):
    """The one standby that has it; None while nobody has."""
    names = address.holders(cluster, cluster.vip("replica"))
    assert len(names) <= 1, f"{names} have it"
    return cluster.node(names[0]) if names else None


def standbys(cluster):
    return [n for n in cluster.nodes if n is not cluster.leader()]


@pytest.fixture
def cluster(shared_replica_cluster):
    c = shared_replica_cluster.whole()
    c.wait(lambda: holder(c) in standbys(c), 15, "a standby has the address")
    return c


@pytest.fixture
def prober(cluster, tmp_path):
    p = Prober(cluster, cluster.vip("replica"), str(tmp_path / "arp"))
    cluster.wait(lambda: len(p.answers()) > 20, 10, "somebody answers")
    yield p
    p.stop()


def tenures(prober):
    prober.stop()
    found = address.tenures_of(prober.answers())
    print([(t.node, (t.first_us - found[0].first_us) // 1000, (t.last_us - found[0].first_us) // 1000) for t in found])
    assert address.overlap_us(found) <= 0, f"two nodes answered: {found}"
    return found


def test_address_is_on_one_standby_and_clients_read_through_it(cluster, prober):
    node = holder(cluster)
    assert cluster.keys()["replica_address"] == node.name
    assert address.holders(cluster, cluster.vip()) == [cluster.leader().name]
    assert not cluster.accepts_writes(node)
    assert {t.node for t in tenures(prober)} == {node.name}
    assert "replica_address" not in cluster.patronictl("list")[1], "the reference ignores the key"


def test_other_standby_takes_it_when_its_host_is_killed(cluster, prober):
    node = holder(cluster)
    other = next(n for n in standbys(cluster) if n is not node)
    node.kill_all()
    cluster.wait(lambda: holder(cluster) is other, 20, "the other standby has it")
    node.start()
    cluster.wait_whole()
    assert [t.node for t in tenures(prober)] == [node.name, other.name]


def test_it_is_handed_over_at_once_when_its_holder_stops(cluster, prober):
    node = holder(cluster)
    other = next(n for n in standbys(cluster) if n is not node)
    sysproc.send(node.keeper_pid(), signal.SIGTERM)
    cluster.wait(lambda: holder(cluster) is other, 4, "the other standby has it, long before a ttl")
    cluster.wait(lambda: not node.keeper_pid(), 20, "the daemon ends")
    node.start_agent()
    cluster.wait_whole()
    found = tenures(prober)
    assert [t.node for t in found] == [node.name, other.name]
    assert found[1].first_us - found[0].last_us < 2_000_000


def test_it_moves_when_its_holder_is_promoted(cluster, prober):
    """There is one other standby, whether the holder or that one is elected."""
    old, node = cluster.leader(), holder(cluster)
    old.kill_all()
    cluster.wait(lambda: cluster.leader() not in (None, old) and cluster.accepts_writes(cluster.leader()), 20,
                 "somebody else leads")
    cluster.wait(lambda: holder(cluster) not in (None, cluster.leader(), old), 20, "the last standby has it")
    if cluster.leader() is not node:
        assert holder(cluster) is node, "no reason to move"
    old.start()
    cluster.wait_whole()
    tenures(prober)


@pytest.mark.long
def test_frozen_holder_loses_it_in_time(cluster, prober):
    node = holder(cluster)
    other = next(n for n in standbys(cluster) if n is not node)
    node.signal_all(signal.SIGSTOP)
    try:
        cluster.wait(lambda: holder(cluster) is other, 25, "the other standby has it")
    finally:
        node.signal_all(signal.SIGCONT)
    cluster.wait_whole()
    assert [t.node for t in tenures(prober)] == [node.name, other.name]


@pytest.mark.long
def test_changed_ttl_moves_it_without_two_holders(cluster, prober):
    import json

    from lab import etcd
    config = json.loads(cluster.keys()["config"])

    def put(ttl):
        assert etcd.put(cluster.net.client, [n.address for n in cluster.nodes], f"/service/{cluster.scope}/config",
                        json.dumps({**config, "ttl": ttl}))

    def holds_anew():
        return holder(cluster) and "replica_address" in cluster.keys()
    for ttl in (8, 5):
        put(ttl)
        cluster.wait(lambda: all(json.loads(cluster.rest(n, "/config")[1]).get("ttl") == ttl for n in cluster.nodes), 10,
                     "every node knows the ttl")
        cluster.wait(holds_anew, 15, "somebody has it again")
    tenures(prober)
