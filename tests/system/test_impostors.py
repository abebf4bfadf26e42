"""Duplicates and impostors: what somebody else does to our PostgreSQL, or in our name, is found, named and harmless."""

import json
import os
import pwd
import shutil
import signal
import subprocess
import time

import pytest

from lab import etcd, net, sysproc
from lab.node import PG_BIN, PG_PORT
from lab.watch import Watch

POSTGRES = pwd.getpwnam("postgres")


def as_postgres(node, *argv, timeout=60):
    """A command of an administrator on the host of the node."""
    with net.inside(node.namespace):
        return subprocess.run(["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", *argv],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=timeout, check=False, cwd="/", env=node.environment())


def log_of(node):
    with open(f"{node.dir}/agent.log", encoding="utf-8") as f:
        return f.read()


class LogFrom:
    """What a node logs from now on."""

    def __init__(self, node):
        self.node, self.begin = node, len(log_of(node))

    def text(self):
        return log_of(self.node)[self.begin:]


def stop_daemon(cluster, node):
    sysproc.send(node.keeper_pid(), signal.SIGTERM)
    cluster.wait(lambda: not node.keeper_pid() and not node.agent_pid() and not node.postgres_pids(), 30,
                 f"the daemon of {node.name} ends")


def metric(cluster, node, kind):
    text = cluster.rest(node, "/metrics")[1]
    line = next(x for x in text.splitlines() if x.startswith("pgtether_impostors_total") and f'kind="{kind}"' in x)
    return int(line.split()[-1])


def note_of(cluster, node):
    return json.loads((cluster.keys() or {}).get(f"members/{node.name}", "{}")).get("pgtether_note", "")


def replica_of(cluster):
    leader = cluster.wait_whole()
    return leader, next(n for n in cluster.nodes if n is not leader)


# -- a standby that is promoted by hand -------------------------------------------------------------------------------

@pytest.mark.parametrize("how", ["pg_ctl", "sql"])
def test_standby_promoted_by_hand_is_stopped_at_once_named_and_rewound(cluster, how):
    leader, replica = replica_of(cluster)
    before = metric(cluster, replica, "promoted")
    log = LogFrom(replica)
    timeline = json.loads(cluster.keys()[f"members/{leader.name}"])["timeline"]
    postmaster = replica.postmaster_pid()
    with Watch(cluster) as watch:
        watch.strike(replica)
        begun = time.monotonic()
        if how == "pg_ctl":
            done = as_postgres(replica, f"{PG_BIN}/pg_ctl", "promote", "-W", "-D", replica.data_dir)
            assert done.returncode == 0, done.stdout
        else:
            cluster.query(replica, "SELECT pg_promote(false)")
        cluster.wait(lambda: not sysproc.Process(postmaster).alive, 20, "the impostor is stopped", interval=0.01)
        stopped_s = time.monotonic() - begun
        cluster.wait_whole()
        outcome = watch.outcome()
    written = sum(r.writes for r in outcome.reigns if r.node == replica.name)
    print(f"stopped after {stopped_s * 1000:.0f} ms; it acknowledged {written} writes, for {outcome.window_ms:.0f} ms")
    assert stopped_s < 5 and outcome.window_ms < 3000
    cluster.wait_whole()
    assert cluster.leader() is leader
    assert json.loads(cluster.keys()[f"members/{leader.name}"])["timeline"] == timeline
    assert cluster.query(replica, "SELECT count(*) FROM lab_writes WHERE node = %s AND run = %s",
                         (replica.address, watch.run)) == [(0,)], "it was rewound"
    assert "was promoted to timeline" in log.text() and "by somebody else" in log.text()
    assert metric(cluster, replica, "promoted") == before + 1
    cluster.wait(lambda: "by somebody else" in note_of(cluster, replica), 10, "the member key names it")
    assert "by somebody else" in cluster.ctl("list")[1]
    assert "by somebody else" in json.loads(cluster.rest(replica, "/patroni")[1])["impostor"]
    assert cluster.patronictl("list")[0] == 0, "the reference's own tool reads our member key"


# -- servers that somebody else starts --------------------------------------------------------------------------------

def start_foreign(node, data_dir, port, more=""):
    done = as_postgres(node, f"{PG_BIN}/pg_ctl", "start", "-w", "-D", data_dir, "-l", f"{node.dir}/foreign.log", "-o",
                       f"-p {port} -k {node.dir} {more}")
    assert done.returncode == 0, done.stdout


def start_as_primary(node):
    """On the timeline it is on as a standby, on another port, where nobody would notice it. Returns the process."""
    os.rename(f"{node.data_dir}/standby.signal", f"{node.dir}/standby.signal.away")
    start_foreign(node, node.data_dir, 5999)
    return node.postmaster_pid()


def write_as_foreign(node, sql):
    done = as_postgres(node, f"{PG_BIN}/psql", "-X", "-v", "ON_ERROR_STOP=1", "-h", node.dir, "-p", "5999", "-c", sql,
                       "postgres")
    assert done.returncode == 0, done.stdout


def allow_new_copies(cluster, node, allowed):
    status, _ = cluster.rest(node, "/config", method="PATCH", body=json.dumps(
        {"postgresql": {"remove_data_directory_on_diverged_timelines": allowed}}))
    assert status == 200


def comes_back_by_a_new_copy(cluster, node, timeout=60):
    """Once that is allowed; the old directory is kept, with what the impostor wrote."""
    before = set(os.listdir(node.dir))
    allow_new_copies(cluster, cluster.leader(), True)
    try:
        cluster.wait_whole(timeout)
    finally:
        allow_new_copies(cluster, cluster.leader(), None)
    kept = [e for e in set(os.listdir(node.dir)) - before if e.startswith("data.diverged.")]
    assert len(kept) == 1
    shutil.rmtree(f"{node.dir}/{kept[0]}")


def is_not_started(cluster, node, log):
    cluster.wait(lambda: "as a primary on the leader's timeline: not starting it" in log.text(), 30, "it is named")
    for _ in range(30):
        assert not node.postgres_pids()
        time.sleep(0.1)


def test_server_that_somebody_else_starts_in_our_data_directory_is_stopped(cluster):
    """As a primary of the leader's timeline: what it has become is not started before there is a new copy."""
    leader, replica = replica_of(cluster)
    stop_daemon(cluster, replica)
    foreign = start_as_primary(replica)
    assert foreign
    log = LogFrom(replica)
    replica.start_agent()
    cluster.wait(lambda: not sysproc.Process(foreign).alive, 20, "the foreign server is stopped")
    is_not_started(cluster, replica, log)
    assert "somebody else has started PostgreSQL in our data directory" in log.text()
    assert metric(cluster, replica, "server") == 1
    comes_back_by_a_new_copy(cluster, replica)
    assert cluster.leader() is leader


@pytest.mark.parametrize("seen", ["running", "crashed", "stopped"])
def test_primary_made_by_hand_that_wrote_more_than_the_leader_never_leads(cluster, seen):
    """On the leader's timeline, with the agent down: in an election it would have most WAL, and not the commits."""
    leader, replica = replica_of(cluster)
    third = next(n for n in cluster.nodes if n not in (leader, replica))
    table = f"kept_{seen}"
    cluster.query(leader, f"CREATE TABLE {table} (n int)")
    stop_daemon(cluster, replica)
    foreign = start_as_primary(replica)
    write_as_foreign(replica, f"CREATE TABLE foreign_{seen} AS SELECT repeat('x', 500) FROM generate_series(1, 40000)")
    if seen == "crashed":
        os.kill(foreign, signal.SIGKILL)
        cluster.wait(lambda: not replica.postgres_pids(), 20, "the impostor is dead")
    elif seen == "stopped":
        done = as_postgres(replica, f"{PG_BIN}/pg_ctl", "stop", "-m", "fast", "-D", replica.data_dir)
        assert done.returncode == 0, done.stdout
    cluster.query(leader, f"INSERT INTO {table} SELECT generate_series(1, 100)")
    log = LogFrom(replica)
    replica.start_agent()
    is_not_started(cluster, replica, log)
    assert "somebody else" in note_of(cluster, replica)
    ended = cluster.query(leader, "SELECT pg_current_wal_lsn()")[0][0]
    cluster.wait(lambda: cluster.query(third, "SELECT pg_last_wal_replay_lsn() >= %s", (ended,))[0][0], 20,
                 "the other standby has it all")
    leader.kill_all()
    cluster.wait(lambda: cluster.leader() is third and cluster.accepts_writes(third), 60, "the other standby leads")
    assert cluster.query(third, f"SELECT count(*) FROM {table}") == [(100,)]
    assert "acquired the leader key" not in log.text()
    leader.start()
    comes_back_by_a_new_copy(cluster, replica, timeout=120)
    assert cluster.leader() is third
    for n in cluster.nodes:
        assert cluster.query(n, f"SELECT count(*) FROM {table}") == [(100,)]
        assert cluster.query(n, f"SELECT to_regclass('foreign_{seen}')") == [(None,)]


def test_mark_of_a_standby_ends_with_its_promotion_and_names_the_directory_it_is_of(cluster):
    leader, replica = replica_of(cluster)
    timeline = json.loads(cluster.keys()[f"members/{leader.name}"])["timeline"]

    def mark(node):
        try:
            with open(f"{node.dir}/data.pgtether-standby", encoding="ascii") as f:
                return f.read().split("\n")
        except FileNotFoundError:
            return None
    inode = os.stat(f"{replica.data_dir}/global").st_ino
    assert mark(replica)[1].split()[0] == str(inode) and mark(replica)[2] == str(timeline)
    assert mark(leader) is None
    code, out = cluster.ctl("switchover", "--candidate", replica.name, "--force")
    assert code == 0, out
    cluster.wait_whole()
    assert cluster.leader() is replica
    assert mark(replica) is None
    cluster.wait(lambda: mark(leader) and mark(leader)[2] == str(timeline + 1), 20, "the old leader is a standby")


def test_server_on_our_port_is_named(cluster):
    leader, replica = replica_of(cluster)
    stop_daemon(cluster, replica)
    other = f"{replica.dir}/other"
    done = as_postgres(replica, f"{PG_BIN}/initdb", "-D", other, "-A", "trust")
    assert done.returncode == 0, done.stdout
    start_foreign(replica, other, PG_PORT, f"-c listen_addresses={replica.address}")
    log = LogFrom(replica)
    replica.start_agent()
    cluster.wait(lambda: "in use" in note_of(cluster, replica), 30, "the member key names it")
    assert "in use" in cluster.ctl("list")[1]
    assert cluster.leader() is leader
    done = as_postgres(replica, f"{PG_BIN}/pg_ctl", "stop", "-m", "fast", "-D", other)
    assert done.returncode == 0, done.stdout
    shutil.rmtree(other)
    cluster.wait_whole()
    assert "in use" in log.text()


# -- two nodes of one name --------------------------------------------------------------------------------------------

@pytest.fixture
def spare(cluster):
    """A replica whose daemon is down, and which may be made into anything; afterwards it is what it was."""
    _, replica = replica_of(cluster)
    stop_daemon(cluster, replica)
    kept = {}
    for name in ("pgtether.conf", "data.pgtether-id"):
        with open(f"{replica.dir}/{name}", encoding="utf-8") as f:
            kept[name] = f.read()
    os.rename(replica.data_dir, f"{replica.dir}/kept")
    yield replica
    if replica.keeper_pid():
        stop_daemon(cluster, replica)
    shutil.rmtree(replica.data_dir, ignore_errors=True)
    os.rename(f"{replica.dir}/kept", replica.data_dir)
    for name, text in kept.items():
        replica.write_file(name, text, POSTGRES)
    replica.start_agent()
    cluster.wait_whole()


def others(cluster, spare):
    return [n for n in cluster.nodes if n is not spare]


def ends(cluster, node, timeout=60):
    """The whole daemon, and it is not started again."""
    cluster.wait(lambda: not node.keeper_pid() and not node.agent_pid() and not node.postgres_pids(), timeout,
                 f"{node.name} ends")


def undisturbed(cluster, nodes, leader):
    assert cluster.leader() is leader
    assert cluster.accepts_writes(leader)
    for n in nodes:
        assert n.keeper_pid() and n.agent_pid()


@pytest.mark.parametrize("role", ["leader", "replica"])
def test_node_with_the_name_of_another_is_refused(cluster, spare, role):
    leader = cluster.leader()
    victim = leader if role == "leader" else next(n for n in others(cluster, spare) if n is not leader)
    text = spare.config_text().replace(f'name = "{spare.name}";', f'name = "{victim.name}";')
    spare.write_file("pgtether.conf", text, POSTGRES)
    before = cluster.keys()[f"members/{victim.name}"]
    log = LogFrom(spare)
    spare.start_agent()
    ends(cluster, spare)
    assert f'there is already a node named "{victim.name}" running' in log.text()
    assert json.loads(cluster.keys()[f"members/{victim.name}"])["conn_url"] == json.loads(before)["conn_url"]
    undisturbed(cluster, others(cluster, spare), leader)


@pytest.mark.parametrize("role", ["leader", "replica"])
def test_cloned_machine_is_refused_although_it_claims_the_address_of_the_original(cluster, spare, role):
    """Its disk is a copy, identity and settings included; what it cannot have is the life of the original."""
    leader = cluster.leader()
    victim = leader if role == "leader" else next(n for n in others(cluster, spare) if n is not leader)
    text = victim.config_text().replace(victim.dir, spare.dir)
    text = text.replace(f'listen = "{victim.address}:', 'listen = "*:')
    assert f'connect_address = "{victim.address}:8008"' in text
    spare.write_file("pgtether.conf", text, POSTGRES)
    shutil.copyfile(f"{victim.dir}/data.pgtether-id", f"{spare.dir}/data.pgtether-id")
    subprocess.run(["cp", "-a", victim.data_dir, spare.data_dir], check=True)
    os.unlink(f"{spare.data_dir}/postmaster.pid")
    log = LogFrom(spare)
    spare.start_agent()
    cluster.wait(lambda: "waiting for its end" in log.text(), 20, "it finds the key of the original")
    ends(cluster, spare)
    assert f'there is another node with the name "{victim.name}"' in log.text()
    assert "copies of each other" in log.text()
    assert "acquired the leader key" not in log.text()
    undisturbed(cluster, others(cluster, spare), leader)
    node = json.loads(cluster.keys()[f"members/{victim.name}"])["pgtether_node"]
    with open(f"{victim.dir}/data.pgtether-id", encoding="ascii") as f:
        assert node.split(":")[0] == f.read().split("\n")[1]


def test_restarted_agent_is_the_same_node(cluster):
    leader, replica = replica_of(cluster)
    before = json.loads(cluster.keys()[f"members/{replica.name}"])["pgtether_node"]
    log = LogFrom(replica)
    replica.kill_all()
    replica.start()
    cluster.wait_whole()
    assert json.loads(cluster.keys()[f"members/{replica.name}"])["pgtether_node"] == before
    assert "waiting for its end" not in log.text(), "nobody waits for an earlier agent of the same life"


# -- two clusters of one scope ----------------------------------------------------------------------------------------

def test_node_of_another_cluster_with_the_same_scope_ends_and_says_why(cluster, spare):
    leader = cluster.leader()
    done = as_postgres(spare, f"{PG_BIN}/initdb", "-D", spare.data_dir, "-A", "trust")
    assert done.returncode == 0, done.stdout
    log = LogFrom(spare)
    spare.start_agent()
    ends(cluster, spare)
    assert "the data directory belongs to another cluster" in log.text()
    assert os.path.exists(f"{spare.data_dir}/PG_VERSION"), "it is left as it is"
    undisturbed(cluster, others(cluster, spare), leader)


def test_node_of_another_cluster_that_has_come_up_without_the_store_ends_when_it_can_be_read(cluster, spare):
    """Its PostgreSQL lets nobody in, as our users are not known there: what it is, the control file says."""
    leader = cluster.leader()
    done = as_postgres(spare, f"{PG_BIN}/initdb", "-D", spare.data_dir, "-A", "trust")
    assert done.returncode == 0, done.stdout
    log = LogFrom(spare)
    try:
        spare.cut_store()
        spare.start_agent()
        cluster.wait(lambda: "as a standby that streams from nobody" in log.text() and spare.postgres_pids(), 60,
                     "PostgreSQL is started without the store")
        spare.heal()
        ends(cluster, spare)
    finally:
        spare.heal()
    assert "the store knows another cluster of this scope" in log.text()
    assert "the data directory belongs to another cluster" in log.text()
    undisturbed(cluster, others(cluster, spare), leader)


def test_initialize_key_of_another_cluster_stops_the_standbys_and_is_named_by_the_leader(cluster):
    leader = cluster.wait_whole()
    replicas = [n for n in cluster.nodes if n is not leader]
    key = f"/service/{cluster.scope}/initialize"
    right = cluster.keys()["initialize"]
    wrong = str(int(right) + 1)
    logs = [LogFrom(n) for n in replicas]
    try:
        assert etcd.put(cluster.net.client, [n.address for n in cluster.nodes], key, wrong)
        for n in replicas:
            ends(cluster, n)
        for log in logs:
            assert "another cluster" in log.text()
        cluster.wait(lambda: "another cluster" in note_of(cluster, leader), 20, "the leader names it")
        assert metric(cluster, leader, "cluster") >= 1
        assert cluster.leader() is leader and cluster.accepts_writes(leader)
    finally:
        assert etcd.put(cluster.net.client, [n.address for n in cluster.nodes], key, right)
        for n in replicas:
            if not n.keeper_pid():
                n.start_agent()
    cluster.wait_whole()
    assert cluster.leader() is leader
