"""Signals, stops and starts of the daemon."""

import json
import os
import shutil
import signal

import pytest

from lab import etcd, sysproc
from lab.watch import Watch


def stop_daemon(cluster, node):
    sysproc.send(node.keeper_pid(), signal.SIGTERM)
    cluster.wait(lambda: not node.keeper_pid() and not node.agent_pid() and not node.postgres_pids(), 30,
                 f"the daemon of {node.name} ends and takes PostgreSQL with it")


def test_stop_of_the_leader_hands_over_at_once_and_loses_nothing(cluster):
    leader = cluster.wait_whole()
    with Watch(cluster) as watch:
        watch.strike(leader)
        stop_daemon(cluster, leader)
        # Its key lives on for a ttl, and says what it left.
        assert json.loads(cluster.keys()[f"members/{leader.name}"])["state"] == "stopped"
        cluster.wait(lambda: cluster.leader() not in (None, leader), 10, "a successor leads")
        leader.start_agent()
        cluster.wait_whole()
        outcome = watch.outcome()
    print(outcome.line())
    assert outcome.window_ms == 0
    assert outcome.lost == 0
    assert outcome.gap_ms < 3000, "a clean stop must not wait for the lease to run out"


def test_stop_while_a_replica_is_created_is_prompt_and_the_next_start_creates_it(cluster):
    leader = cluster.wait_whole()
    node = next(n for n in cluster.nodes if n is not leader)
    stop_daemon(cluster, node)
    shutil.rmtree(node.data_dir)
    node.start_agent()
    cluster.wait(lambda: os.path.exists(node.data_dir) and os.listdir(node.data_dir), 20, "the copy has begun")
    stop_daemon(cluster, node)
    node.start_agent()
    cluster.wait_whole()
    assert cluster.leader() is leader


def test_agent_dies_and_postgres_runs_on_under_the_next_agent(cluster):
    leader = cluster.wait_whole()
    agent, postmaster = leader.agent_pid(), leader.postmaster_pid()
    sysproc.send(agent, signal.SIGKILL)
    cluster.wait(lambda: leader.agent_pid() not in (None, agent), 10, "the keeper starts a new agent")
    cluster.wait(lambda: cluster.rest(leader, "/primary")[0] == 200, 20, "the new agent knows it leads")
    assert leader.postmaster_pid() == postmaster
    assert cluster.leader() is leader


def proc_status(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)


def test_agent_and_postgres_have_no_privileges_and_a_filter(cluster):
    leader = cluster.wait_whole()
    pids = [leader.agent_pid(), *leader.postgres_pids(), *(p.pid for p in leader.named("pgtether-probe"))]
    assert len(pids) > 5
    for pid in pids:
        status = proc_status(pid)
        for capabilities in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            assert int(status[capabilities], 16) == 0, f"{status['Name']} has {capabilities} {status[capabilities]}"
        assert status["NoNewPrivs"] == "1", status["Name"]
        assert status["Seccomp"] == "2", status["Name"]
    # KILL, SETGID, SETUID, SETPCAP, NET_ADMIN, NET_RAW, IPC_LOCK, SYS_PTRACE
    few = sum(1 << n for n in (5, 6, 7, 8, 12, 13, 14, 19))
    assert int(proc_status(leader.keeper_pid())["CapEff"], 16) & ~few == 0


def test_disk_that_does_not_answer_is_shown_and_costs_nothing_by_default(cluster):
    leader = cluster.wait_whole()
    probes = [p.pid for p in leader.named("pgtether-probe")]
    assert len(probes) == 1, "the WAL is on the disk of the data"

    def state():
        return json.loads(cluster.rest(leader, "/patroni")[1])["storage"]["data"]["state"]

    cluster.wait(lambda: state() == "ok", 10, "the disk answers")
    sysproc.send(probes[0], signal.SIGSTOP)
    try:
        cluster.wait(lambda: state() == "expired", 45, "its silence is noticed")
        assert cluster.leader() is leader
    finally:
        sysproc.send(probes[0], signal.SIGCONT)
    cluster.wait(lambda: state() == "ok", 30, "it is trusted again")


def put_config(cluster, config):
    assert etcd.put(cluster.net.client, [n.address for n in cluster.nodes], f"/service/{cluster.scope}/config",
                    json.dumps(config))


def test_sighup_reloads_postgresql_and_disturbs_nobody(cluster):
    node = cluster.leader()
    agent, postmaster = node.agent_pid(), node.postmaster_pid()
    before = cluster.query(node, "SELECT pg_conf_load_time()")
    sysproc.send(node.keeper_pid(), signal.SIGHUP)
    cluster.wait(lambda: cluster.query(node, "SELECT pg_conf_load_time()") != before, 15, "PostgreSQL has reloaded")
    assert (node.agent_pid(), node.postmaster_pid()) == (agent, postmaster)
    assert cluster.what_is_missing() is None


def test_changed_parameter_in_the_store_is_applied_on_every_node(cluster):
    config = json.loads(cluster.keys()["config"])
    changed = json.loads(json.dumps(config))
    changed["postgresql"]["parameters"]["work_mem"] = "7MB"
    put_config(cluster, changed)
    try:
        for n in cluster.nodes:
            cluster.wait(lambda: cluster.query(n, "SHOW work_mem") == [("7MB",)], 15, f"work_mem is 7MB on {n.name}")
    finally:
        put_config(cluster, config)
    for n in cluster.nodes:
        cluster.wait(lambda: cluster.query(n, "SHOW work_mem") == [("4MB",)], 15, f"work_mem is back on {n.name}")


def test_changed_ttl_in_the_store_is_used_by_everybody(cluster):
    config = json.loads(cluster.keys()["config"])
    put_config(cluster, {**config, "ttl": 8})
    try:
        cluster.wait(lambda: all(json.loads(cluster.rest(n, "/config")[1]).get("ttl") == 8 for n in cluster.nodes), 10,
                     "every node knows ttl 8")
        assert cluster.what_is_missing() is None
    finally:
        put_config(cluster, config)


@pytest.mark.parametrize("role", ["leader", "replica"])
def test_whole_node_restart_keeps_its_data(cluster, role):
    leader = cluster.wait_whole()
    node = leader if role == "leader" else next(n for n in cluster.nodes if n is not leader)
    before = cluster.query(node, "SELECT system_identifier FROM pg_control_system()")
    node.kill_all()
    node.start()
    cluster.wait_whole()
    assert cluster.query(node, "SELECT system_identifier FROM pg_control_system()") == before


def test_cold_start_of_everything_keeps_every_acknowledged_write(cluster):
    """A power cut of the whole site."""
    cluster.wait_whole()
    with Watch(cluster) as watch:
        for n in cluster.nodes:
            n.kill_all()
        for n in cluster.nodes:
            n.start()
        cluster.wait_whole()
        outcome = watch.outcome()
    print(outcome.line())
    assert outcome.window_ms == 0
    # The old primary has them all; another may lead only if it has them too, or lags within the limit.
    assert outcome.lost <= 50
