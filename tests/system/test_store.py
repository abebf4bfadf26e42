"""What may happen to the store, and what becomes of the cluster: the table in ARCHITECTURE.md, row by row."""

import json
import time

import pytest

from lab import etcd, storekit, testing
from lab.cluster import Cluster, Timing
from lab.sysproc import now_us
from lab.watch import Watch

TTL = 10


@pytest.fixture(scope="module")
def shared_store_cluster():
    shared = testing.Shared(lambda: Cluster.create(timing=Timing(ttl=TTL, loop_wait=1, retry_timeout=2),
                                                   label="test-store"))
    yield shared
    shared.drop()


@pytest.fixture
def cluster(shared_store_cluster):
    return shared_store_cluster.whole()


class Trial:
    """Writers on all nodes while something is done to the store; the verdict at the end."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.leader = cluster.leader()
        self.timeline = self.timeline_of(self.leader)
        self.sysid = cluster.keys()["initialize"]
        self.watch = Watch(cluster)

    def timeline_of(self, node):
        return self.cluster.query(node, "SELECT timeline_id FROM pg_control_checkpoint()")[0][0]

    def __enter__(self):
        self.watch.__enter__()
        self.watch.strike(self.leader)
        return self

    def __exit__(self, *exc):
        self.watch.__exit__(*exc)

    def goes_on(self, ttls=1.2):
        """The leader's writes are acknowledged all the time."""
        begin, last = time.monotonic(), now_us()
        while time.monotonic() < begin + ttls * self.cluster.timing.ttl:
            self.cluster.wait(lambda: self.watch.writes_since(last) > 0, 4, "writes are acknowledged")
            last = now_us()
            time.sleep(0.1)

    def verdict(self, same_leader=True, lost=0):
        """same_leader: False where the store may have been away for too long for its lease."""
        self.cluster.wait_whole(60 + 4 * TTL)
        since = now_us()
        self.cluster.wait(lambda: self.watch.writes_since(since) > 20, 30, "writes are accepted")
        outcome = self.watch.outcome()
        print(outcome.line())
        assert outcome.window_ms <= 0, "two primaries"
        if lost is not None:
            assert outcome.lost == lost
        if same_leader:
            assert self.cluster.leader() is self.leader
            assert self.timeline_of(self.leader) == self.timeline
        assert self.cluster.keys()["initialize"] == self.sysid
        return outcome


def agent_log(node):
    with open(f"{node.dir}/agent.log", errors="replace") as f:
        return f.read()


def change_config(cluster, **settings):
    config = json.loads(cluster.keys()["config"])
    config.update(settings)
    storekit.etcdctl(cluster, "put", storekit.path(cluster, "config"), json.dumps(config))


# --- keys deleted by hand ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["leader", "initialize", "config", "status"])
def test_key_that_is_deleted_by_hand_is_written_again_and_the_leader_stays(cluster, key):
    with Trial(cluster) as trial:
        before = cluster.keys()[key]
        storekit.delete(cluster, key)
        cluster.wait(lambda: key in (cluster.keys() or {}), 2 * TTL, f"{key} is back")
        trial.goes_on()
        trial.verdict()
    if key != "status":
        assert cluster.keys()[key] == before


@pytest.mark.long
def test_history_that_is_deleted_by_hand_is_written_again(cluster):
    """Needs a history: a failover first."""
    leader = cluster.leader()
    leader.kill_all()
    cluster.wait(lambda: cluster.leader() not in (None, leader), 60, "another leads")
    leader.start()
    cluster.wait_whole(90)
    cluster.wait(lambda: "history" in (cluster.keys() or {}), 20, "there is a history")
    with Trial(cluster) as trial:
        before = json.loads(cluster.keys()["history"])
        storekit.delete(cluster, "history")
        cluster.wait(lambda: "history" in (cluster.keys() or {}), 2 * TTL, "it is back")
        trial.verdict()
    assert [line[:2] for line in json.loads(cluster.keys()["history"])] == [line[:2] for line in before]


def test_members_that_are_deleted_by_hand_come_back(cluster):
    with Trial(cluster) as trial:
        for n in cluster.nodes:
            storekit.delete(cluster, f"members/{n.name}")
        cluster.wait(lambda: all(f"members/{n.name}" in (cluster.keys() or {}) for n in cluster.nodes), 2 * TTL,
                     "all members are back")
        trial.verdict()


def test_all_keys_deleted_by_hand_come_back_and_the_leader_stays(cluster):
    with Trial(cluster) as trial:
        before = cluster.keys()
        storekit.delete_all(cluster)
        cluster.wait(lambda: {"leader", "initialize", "config"} <= set(cluster.keys() or {}), 2 * TTL, "keys are back")
        trial.goes_on()
        trial.verdict()
    assert json.loads(cluster.keys()["config"]) == json.loads(before["config"])


def test_lease_that_is_revoked_by_hand_does_not_end_the_leader(cluster):
    answer = json.loads(storekit.etcdctl(cluster, "get", storekit.path(cluster, "leader"), "-w", "json"))
    with Trial(cluster) as trial:
        storekit.etcdctl(cluster, "lease", "revoke", f"{answer['kvs'][0]['lease']:x}")
        cluster.wait(lambda: (cluster.keys() or {}).get("leader") == trial.leader.name, 2 * TTL, "the key is back")
        trial.goes_on()
        trial.verdict()


def test_leader_key_of_a_stranger_put_by_hand_ends_the_leader_before_its_lease_does(cluster):
    """Whoever overwrites the key wants that: the leader is not to argue, as it may be somebody who leads."""
    with Trial(cluster) as trial:
        storekit.etcdctl(cluster, "put", storekit.path(cluster, "leader"), "stranger")
        cluster.wait(lambda: not cluster.accepts_writes(trial.leader), TTL, "it is no primary any more")
        storekit.delete(cluster, "leader")
        trial.verdict(same_leader=False)


# --- the store's own trouble ------------------------------------------------------------------------------------------


@pytest.mark.long
def test_compaction_loses_no_change(cluster):
    with Trial(cluster) as trial:
        revision = json.loads(storekit.etcdctl(cluster, "get", "x", "-w", "json"))["header"]["revision"]
        storekit.etcdctl(cluster, "compaction", str(revision))
        seen = {n: len(agent_log(n)) for n in cluster.nodes}
        change_config(cluster, maximum_lag_on_failover=1048577 + revision % 1000)
        news = "dynamic configuration: maximum_lag_on_failover"
        cluster.wait(lambda: all(news in agent_log(n)[seen[n]:] for n in cluster.nodes), TTL,
                     "all have seen the new configuration")
        trial.verdict()


def test_store_that_is_full_keeps_the_leader(cluster):
    """NOSPACE: etcd refuses writes, but keeps leases alive."""
    with Trial(cluster) as trial:
        etcd._call(cluster.net.client, cluster.store[0].address, "/v3/maintenance/alarm",
                   {"action": "ACTIVATE", "memberID": "0", "alarm": "NOSPACE"}, 5)
        try:
            with pytest.raises(OSError):
                storekit.etcdctl(cluster, "put", "x", "y")
            trial.goes_on(2)
        finally:
            storekit.etcdctl(cluster, "alarm", "disarm")
        trial.verdict()


def test_store_that_loses_everything_gets_it_again_and_the_leader_stays(cluster):
    """The data of all members is gone, the cluster's identity is not."""
    with Trial(cluster) as trial:
        before = cluster.keys()
        begin = time.monotonic()
        storekit.stop(cluster)
        storekit.wipe(cluster)
        storekit.start(cluster)
        in_time = time.monotonic() - begin < TTL / 3
        cluster.wait(lambda: {"leader", "initialize", "config"} <= set(cluster.keys() or {}), 5 * TTL, "keys are back")
        trial.verdict(same_leader=in_time)
    assert json.loads(cluster.keys()["config"]) == json.loads(before["config"])


@pytest.mark.long
def test_etcd_cluster_that_is_built_anew_is_taken_over(cluster):
    """Another cluster id, while we run."""
    with Trial(cluster) as trial:
        begin = time.monotonic()
        storekit.stop(cluster)
        storekit.wipe(cluster)
        cluster.etcd_token = f"lab-{time.monotonic_ns()}"
        storekit.start(cluster)
        in_time = time.monotonic() - begin < TTL / 3
        cluster.wait(lambda: {"leader", "initialize", "config"} <= set(cluster.keys() or {}), 5 * TTL, "keys are back")
        trial.verdict(same_leader=in_time)
    assert any("the store was built anew or restored" in agent_log(n) for n in cluster.nodes)


@pytest.mark.long
def test_snapshot_of_this_leadership_costs_nothing(cluster, tmp_path):
    file = str(tmp_path / "snapshot")
    storekit.save(cluster, file)
    with Trial(cluster) as trial:
        trial.goes_on(0.5)
        begin = time.monotonic()
        storekit.stop(cluster)
        storekit.restore(cluster, file, cluster.etcd_token)
        storekit.start(cluster)
        in_time = time.monotonic() - begin < TTL / 3
        trial.verdict(same_leader=in_time)


@pytest.mark.long
def test_snapshot_with_another_leader_is_waited_for_and_the_newest_leads(cluster, tmp_path):
    """An old leader key of somebody who leads no more, an old configuration, a history that ends too early."""
    file = str(tmp_path / "snapshot")
    first = cluster.leader()
    storekit.save(cluster, file)
    first.kill_all()
    cluster.wait(lambda: cluster.leader() not in (None, first), 60, "another leads")
    first.start()
    cluster.wait_whole(90)
    with Trial(cluster) as trial:
        trial.goes_on(0.3)
        storekit.stop(cluster)
        storekit.restore(cluster, file, cluster.etcd_token)
        storekit.start(cluster)
        # Its old lease has its whole time again, and nobody renews it: the leader cannot stay.
        trial.verdict(same_leader=False, lost=None)
        assert trial.timeline_of(cluster.leader()) > trial.timeline
    cluster.wait(lambda: (n := cluster.leader())
                 and len(json.loads(cluster.keys().get("history", "[]"))) == trial.timeline_of(n) - 1,
                 2 * TTL, "the history is complete")


# --- users ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def guarded_cluster(new_cluster):
    c = new_cluster(timing=Timing(ttl=TTL, loop_wait=1, retry_timeout=2), label="test-store-auth",
                    etcd_options=["--auth-token-ttl", "15"], etcd_user=["root", "secret"],
                    dcs_settings={"failsafe_mode": True})
    c.wait_whole(120)
    storekit.etcdctl(c, "user", "add", "root:secret")
    storekit.etcdctl(c, "user", "grant-role", "root", "root")
    storekit.etcdctl(c, "auth", "enable")
    etcd.credentials = ("root", "secret")
    yield c
    etcd.credentials = None


@pytest.mark.long
def test_tokens_that_end_and_a_password_that_changes(guarded_cluster):
    c = guarded_cluster
    c.wait(lambda: c.leader() and len(json.loads(c.keys().get("failsafe", "{}"))) == 3, 60, "the failsafe list is there")
    with Trial(c) as trial:
        trial.goes_on(2.5)  # more than the life of a token
        set_password(c, "secret", "other")
        # Nobody gets in any more; failsafe_mode holds the leader.
        trial.goes_on(2)
        set_password(c, "other", "secret")
        trial.verdict()


def ask_store(cluster, path, body):
    try:
        return etcd._call(cluster.net.client, cluster.store[0].address, path, body, 10)
    except OSError:
        return None  # refused, or too slow: checking a password is work for a busy machine


def set_password(cluster, old, new):
    def done():
        if ask_store(cluster, "/v3/auth/user/changepw", {"name": "root", "password": new}):
            return True
        # It may have been done although the answer did not come in time.
        etcd.credentials = ("root", new)
        if ask_store(cluster, "/v3/kv/range", {"key": "eA=="}):
            return True
        etcd.credentials = ("root", old)
        return False
    etcd.credentials = ("root", old)
    cluster.wait(done, 90, "the password is changed")
    etcd.credentials = ("root", new)
