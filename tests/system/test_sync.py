"""Synchronous replication on real servers: what was acknowledged survives, and everybody can see who is synchronous.

One cluster for all of it; each test says by the store's /config which mode it wants, while nothing stops for that.
"""

import json
import signal
import threading
import time

import psycopg2
import pytest

from lab import etcd, faults
from lab.node import PG_PORT
from lab.sysproc import now_us
from lab.watch import Watch

OFF = {"synchronous_mode": False, "synchronous_mode_strict": False, "synchronous_node_count": 1}
ON = {**OFF, "synchronous_mode": True}
STRICT = {**ON, "synchronous_mode_strict": True}
QUORUM = {**OFF, "synchronous_mode": "quorum"}
MODES = {"on": ON, "on-two": {**ON, "synchronous_node_count": 2}, "strict": STRICT, "quorum": QUORUM,
         "quorum-two": {**QUORUM, "synchronous_node_count": 2}, "quorum-strict": {**QUORUM, "synchronous_mode_strict": True}}


def configure(cluster, **settings):
    """As edit-config would: the given settings, all others as they are."""
    config = {**json.loads(cluster.keys()["config"]), **settings}
    assert etcd.put(cluster.net.client, [h.address for h in cluster.store], f"/service/{cluster.scope}/config",
                    json.dumps(config))


def sync_key(cluster):
    key = (cluster.keys() or {}).get("sync")
    return json.loads(key) if key else None


def standbys(cluster):
    key = sync_key(cluster)
    return sorted((key["sync_standby"] or "").split(",")) if key and key["sync_standby"] else []


def names_setting(cluster, node):
    return cluster.query(node, "SHOW synchronous_standby_names")[0][0]


def is_settled(cluster, settings):
    """/sync and PostgreSQL are where these settings want them, with three members that are well."""
    leader, key = cluster.leader(), sync_key(cluster)
    if not leader or not key or key["leader"] != leader.name:
        return False
    count, others = settings["synchronous_node_count"], len(cluster.nodes) - 1
    if settings["synchronous_mode"] == "quorum":
        names = f"ANY {count} ({','.join(standbys(cluster))})"
        wanted = (others, others - count)
    else:
        names = standbys(cluster)[0] if count == 1 and standbys(cluster) else f"{count} ({','.join(standbys(cluster))})"
        wanted = (count, 0)
    try:
        return (len(standbys(cluster)), key["quorum"]) == wanted and names_setting(cluster, leader) == names
    except psycopg2.Error:
        return False


def wait_settled(cluster, settings, timeout=60):
    cluster.wait(lambda: is_settled(cluster, settings), timeout, f"synchronous replication as {settings}")


@pytest.fixture(scope="module")
def shared(shared_sync_cluster):
    return shared_sync_cluster


@pytest.fixture
def mode(shared, request):
    """A function: the shared cluster, whole and settled in this mode."""
    def enter(settings):
        cluster = shared.whole()
        configure(cluster, **settings)
        if settings["synchronous_mode"]:
            wait_settled(cluster, settings)
        return cluster
    return enter


# -- what is acknowledged survives -----------------------------------------------------------------------------------

@pytest.mark.parametrize("name", MODES)
def test_host_of_the_leader_dies_and_nothing_acknowledged_is_lost(mode, name):
    cluster = mode(MODES[name])
    result = faults.run(cluster, faults.BY_NAME["host-kill"])
    print(result.line())
    assert result.outcome.lost == 0
    assert result.outcome.window_ms == 0
    assert result.outcome.leader_after != result.outcome.leader_before
    wait_settled(cluster, MODES[name])


@pytest.mark.long
@pytest.mark.parametrize("fault", ["cut-off", "both-stop", "host-stop"])
@pytest.mark.parametrize("name", ["strict", "quorum"])
def test_leader_out_of_reach_loses_nothing_acknowledged(mode, name, fault):
    """In these a primary may live on for a while; but nobody acknowledges for it any more."""
    cluster = mode(MODES[name])
    result = faults.run(cluster, faults.BY_NAME[fault])
    print(result.line())
    assert result.outcome.lost == 0
    assert result.outcome.window_ms == 0
    wait_settled(cluster, MODES[name])


@pytest.mark.long
def test_new_leader_dies_right_after_its_promotion(mode):
    """Two hosts in a row: the second while its standby has just begun to follow it."""
    cluster = mode(QUORUM)
    first = cluster.wait_whole()
    with Watch(cluster) as watch:
        watch.strike(first)
        first.kill_all()
        cluster.wait(lambda: (cluster.leader() or first) is not first, 60, "another leader")
        second = cluster.leader()
        since = now_us()
        cluster.wait(lambda: watch.writes_since(since) > 0, 60, "the new leader writes")
        second.send(second.postmaster_pid(), faults.KILL)
        first.start()
        cluster.wait_whole()
        outcome = watch.outcome()
    print(outcome.line())
    assert outcome.lost == 0
    assert outcome.window_ms == 0


def test_modes_change_while_clients_write_and_the_leader_dies_in_between(mode):
    cluster = mode(ON)
    with Watch(cluster) as watch:
        for settings in (MODES["quorum-two"], MODES["on-two"], QUORUM, STRICT, MODES["quorum-strict"], ON):
            configure(cluster, **settings)
            wait_settled(cluster, settings)
            since = now_us()
            cluster.wait(lambda: watch.writes_since(since) > 20, 30, f"writes in {settings}")
        watch.strike(cluster.leader())
        configure(cluster, **QUORUM)
        victim = cluster.leader()
        victim.kill_all()
        cluster.wait(lambda: (cluster.leader() or victim) is not victim, 60, "another leader")
        victim.start()
        cluster.wait_whole()
        wait_settled(cluster, QUORUM)
        outcome = watch.outcome()
    print(outcome.line())
    assert outcome.lost == 0


def kill_node(node):
    """All of it but its member of the store."""
    for pid in (node.keeper_pid(), node.agent_pid(), *node.postgres_pids()):
        node.send(pid, faults.KILL)


def strand(cluster, watch):
    """Leaves only the standby that has not got the latest commits: (it, the one that has them, the leader)."""
    leader = cluster.leader()
    others = [n for n in cluster.nodes if n is not leader]
    behind = next((n for n in others if n.name not in standbys(cluster)), others[0])
    other, = [n for n in others if n is not behind]
    cluster.net.cut_ports(behind.name, [PG_PORT], itself=False)
    since = now_us()
    cluster.wait(lambda: watch.writes_since(since) > 200, 60, "writes that it does not get")
    watch.strike(leader)
    for n in (leader, other):
        kill_node(n)
    return behind, other, leader


@pytest.mark.long
@pytest.mark.parametrize("name", ["on", "strict", "quorum", "quorum-strict"])
def test_standby_that_lacks_acknowledged_commits_never_leads(mode, name):
    cluster = mode(MODES[name])
    with Watch(cluster) as watch:
        behind, other, leader = strand(cluster, watch)
        cluster.wait(lambda: cluster.leader() is None, 30, "the leader key is gone")
        end = time.monotonic() + 3 * cluster.timing.ttl
        cluster.wait(lambda: time.monotonic() > end or cluster.leader(), 60, "an election")
        assert cluster.leader() is None
        behind.heal()
        other.start()
        cluster.wait(lambda: cluster.leader() is other, 60, f"{other.name} leads, which has everything")
        leader.start()
        cluster.wait_whole()
        outcome = watch.outcome()
    print(outcome.line())
    assert outcome.lost == 0


def test_asynchronous_replication_would_lose_them(mode):
    """The same without a synchronous mode: a test that has never seen a loss would prove nothing."""
    cluster = mode(OFF)
    cluster.wait(lambda: sync_key(cluster) is None, 30, "no /sync")
    with Watch(cluster) as watch:
        behind, other, leader = strand(cluster, watch)
        cluster.wait(lambda: cluster.leader() is behind, 60, "the one that is left leads")
        # Not sooner: the others would hand it what it lacks before it leaves recovery.
        cluster.wait(lambda: json.loads(cluster.rest(behind, "/patroni")[1]).get("role") == "primary", 60,
                     "it is a primary")
        behind.heal()
        other.start()
        leader.start()
        cluster.wait_whole()
        outcome = watch.outcome()
    print(outcome.line())
    assert outcome.lost > 0


@pytest.mark.parametrize("name", ["on", "quorum-two"])
def test_switchovers_under_load_lose_nothing_and_stay_synchronous(mode, name):
    cluster = mode(MODES[name])
    with Watch(cluster) as watch:
        watch.strike(cluster.leader())
        for _ in range(3):
            to = cluster.node(standbys(cluster)[-1])
            status, text = cluster.rest(cluster.leader(), "/switchover", "POST",
                                        json.dumps({"leader": cluster.leader().name, "candidate": to.name}), timeout=60)
            assert (status, text) == (200, f'Successfully switched over to "{to.name}"')
            cluster.wait_whole()
            wait_settled(cluster, MODES[name])
        outcome = watch.outcome()
    print(outcome.line())
    assert outcome.lost == 0 and outcome.window_ms <= 0


def test_switchover_to_an_asynchronous_standby_is_refused(mode):
    cluster = mode(ON)
    leader = cluster.leader()
    candidate = next(n for n in cluster.nodes if n is not leader and n.name not in standbys(cluster))
    status, text = cluster.rest(leader, "/switchover", "POST",
                                json.dumps({"leader": leader.name, "candidate": candidate.name}), timeout=60)
    assert status == 412 and "sync_standby" in text
    assert cluster.leader() is leader


# -- standbys that come and go ---------------------------------------------------------------------------------------

@pytest.mark.parametrize("settings", [ON, QUORUM], ids=["on", "quorum"])
def test_last_synchronous_standby_is_lost_and_writes_go_on(mode, settings):
    """Not strict: first /sync says that nobody else may lead, then commits wait for nobody."""
    cluster = mode(settings)
    leader = cluster.leader()
    others = [n for n in cluster.nodes if n is not leader]
    try:
        for n in others:
            kill_node(n)
        cluster.wait(lambda: standbys(cluster) == [] and names_setting(cluster, leader) == "", 60, "asynchronous")
        assert sync_key(cluster)["leader"] == leader.name
        assert write(cluster, leader)
    finally:
        for n in others:
            n.start()
    cluster.wait_whole()
    wait_settled(cluster, settings)


@pytest.mark.parametrize("settings", [STRICT, MODES["quorum-strict"]], ids=["on", "quorum"])
def test_strict_mode_acknowledges_nothing_without_a_standby(mode, settings):
    cluster = mode(settings)
    leader = cluster.leader()
    others = [n for n in cluster.nodes if n is not leader]
    before = standbys(cluster)
    try:
        for n in others:
            kill_node(n)
        cluster.wait(lambda: cluster.query(leader, "SELECT count(*) FROM pg_stat_replication")[0][0] == 0, 30,
                     "the leader is alone")
        assert not write(cluster, leader), "a commit was acknowledged by the leader alone"
        # As long as the members' keys live and longer.
        cluster.wait(lambda: not any(f"members/{n.name}" in cluster.keys() for n in others), 60, "the keys are gone")
        assert not write(cluster, leader)
        assert set(standbys(cluster)) <= set(before)
    finally:
        for n in others:
            n.start()
    cluster.wait_whole()
    wait_settled(cluster, settings)
    assert write(cluster, cluster.leader())


def write(cluster, node, patience=3):
    """Whether a commit is acknowledged. One that waits is cancelled: that is an answer too, but not this one.

    (A statement_timeout would not do: PostgreSQL switches it off before it commits.)
    """
    conn = cluster.connect(node)
    try:
        with conn.cursor() as cursor:
            for sql in ("SET synchronous_commit = local", "CREATE TABLE IF NOT EXISTS sync_probe (at timestamptz)",
                        "SET synchronous_commit = on"):
                cursor.execute(sql)
            insert = threading.Thread(target=cursor.execute, args=("INSERT INTO sync_probe VALUES (now())",))
            insert.start()
            insert.join(patience)
            if not insert.is_alive():
                return True
            cluster.query(node, "SELECT pg_cancel_backend(%s)", (conn.info.backend_pid,))
            insert.join()
            return False
    finally:
        conn.close()


def test_synchronous_standby_is_replaced_by_another(mode):
    cluster = mode(ON)
    gone, = standbys(cluster)
    node, leader = cluster.node(gone), cluster.leader()
    other, = [n.name for n in cluster.nodes if n not in (node, leader)]
    kill_node(node)
    try:
        cluster.wait(lambda: standbys(cluster) == [other] and names_setting(cluster, leader) == other, 60,
                     f"{other} is synchronous instead")
    finally:
        node.start()
    cluster.wait_whole()


def test_synchronous_standby_that_is_stopped_in_order_holds_nobody_up(mode):
    cluster = mode(QUORUM)
    node = next(n for n in cluster.nodes if n is not cluster.leader())
    with Watch(cluster) as watch:
        watch.strike(node)
        keeper = node.keeper_pid()
        node.send(keeper, signal.SIGTERM)
        cluster.wait(lambda: not node.postgres_pids(), 30, "it has stopped")
        assert node.name not in standbys(cluster)
        since = now_us()
        cluster.wait(lambda: watch.writes_since(since) > 50, 30, "writes go on")
        outcome = watch.outcome()
    node.start()
    print(outcome.line())
    assert outcome.lost == 0 and outcome.gap_ms < 1500
    cluster.wait_whole()


def test_restart_of_a_synchronous_standby_holds_nobody_up(mode):
    """It leaves /sync before it stops, and comes back into it."""
    cluster = mode(ON)
    name, = standbys(cluster)
    node, left = cluster.node(name), []
    with Watch(cluster) as watch:
        watch.strike(node)
        asking = threading.Thread(target=lambda: left.append(cluster.rest(node, "/restart", "POST", timeout=60)))
        asking.start()
        cluster.wait(lambda: not node.postmaster_pid() or name not in standbys(cluster), 30, "one or the other",
                     interval=0.02)
        assert node.postmaster_pid() and name not in standbys(cluster), "it leaves before it stops"
        asking.join(60)
        assert left == [(200, "restarted successfully")]
        since = now_us()
        cluster.wait(lambda: watch.writes_since(since) > 50, 30, "writes go on")
        outcome = watch.outcome()
    print(outcome.line())
    assert outcome.lost == 0 and outcome.gap_ms < 1000
    cluster.wait(lambda: "nosync" not in json.loads(cluster.keys()[f"members/{name}"]).get("tags", {}), 15,
                 "it is a candidate again")
    wait_settled(cluster, ON)


def test_mode_off_leaves_the_users_own_names_in_force(mode):
    cluster = mode(QUORUM)
    leader = cluster.leader()
    config = json.loads(cluster.keys()["config"])
    parameters = {**config["postgresql"]["parameters"], "synchronous_standby_names": "somebody"}
    configure(cluster, postgresql={**config["postgresql"], "parameters": parameters})
    try:
        wait_settled(cluster, QUORUM)  # the user's are ignored
        configure(cluster, **OFF)
        cluster.wait(lambda: names_setting(cluster, leader) == "somebody" and sync_key(cluster) is None, 30,
                     "the user's own names")
    finally:
        configure(cluster, postgresql=config["postgresql"])
    cluster.wait(lambda: names_setting(cluster, leader) == "", 30, "no names")


def test_standby_promoted_by_hand_acknowledges_nothing(mode):
    """Whoever makes it a primary: it waits for somebody who cannot come, until it is stopped."""
    cluster = mode(QUORUM)
    leader = cluster.leader()
    for n in cluster.nodes:
        if n is not leader:
            assert names_setting(cluster, n) == "__patroni_strict_sync_replica_placeholder__"


# -- what is seen ----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("settings, word", [(ON, "sync"), (QUORUM, "quorum")], ids=["on", "quorum"])
def test_everybody_sees_who_is_synchronous(mode, settings, word):
    cluster = mode(settings)
    other = {"sync": "quorum", "quorum": "sync"}[word]
    title = f"{word.title()} Standby"
    leader = cluster.leader()

    def seen():
        return {n.name: cluster.rest(n, f"/{word}")[0] for n in cluster.nodes}
    expected = {n.name: 200 if n.name in standbys(cluster) else 503 for n in cluster.nodes}
    cluster.wait(lambda: seen() == expected, 20, f"/{word} says {expected}, not {seen()}")
    for n in cluster.nodes:
        is_listed = n.name in standbys(cluster)
        document = json.loads(cluster.rest(n, "/patroni")[1])
        assert document.get(f"{word}_standby", False) == is_listed
        assert f"{other}_standby" not in document
        assert cluster.rest(n, f"/{other}")[0] == 503
        assert cluster.rest(n, f"/read-only-{word}")[0] == (200 if is_listed or n is leader else 503)
        assert cluster.rest(n, "/asynchronous")[0] == (503 if is_listed or n is leader else 200)
        metric = f"patroni_{word}_standby"
        assert any(line.startswith(metric + "{") and line.endswith(f" {int(is_listed)}")
                   for line in cluster.rest(n, "/metrics")[1].splitlines())
    code, text = cluster.ctl("list", "-f", "json")
    assert code == 0
    assert {m["Member"] for m in json.loads(text) if m["Role"] == title} == set(standbys(cluster))


def test_the_references_list_shows_the_synchronous_standby(mode):
    cluster = mode(ON)
    code, text = cluster.patronictl("list", "-f", "json")
    assert code == 0, text
    assert {m["Member"] for m in json.loads(text) if m["Role"] == "Sync Standby"} == set(standbys(cluster))
