"""A bootstrap that is interrupted: given up before the cluster is made, finished afterwards."""

import json
import os
import signal

import pytest

from lab import etcd, sysproc
from lab.cluster import Timing
from lab.node import PgtetherNode

# Says that it has begun, and goes on once nobody holds it.
POST_BOOTSTRAP = """#!/bin/sh
dir=$(dirname "$0")
touch "$dir/run/began"
while [ -e "$dir/hold" ]; do sleep 0.05; done
"""


@pytest.fixture
def held(monkeypatch, new_cluster):
    """A cluster whose first node waits in post_bootstrap, and that node."""
    prepare, config_text = PgtetherNode.prepare, PgtetherNode.config_text

    def prepare_with_hook(node):
        prepare(node)
        with open(f"{node.dir}/post_bootstrap", "w", encoding="ascii") as f:
            f.write(POST_BOOTSTRAP)
        os.chmod(f"{node.dir}/post_bootstrap", 0o755)
        open(f"{node.dir}/hold", "w", encoding="ascii").close()

    def config_with_hook(node, *args):
        return config_text(node, *args).replace("bootstrap: {",
                                                f'bootstrap: {{ post_bootstrap = "{node.dir}/post_bootstrap";', 1)

    monkeypatch.setattr(PgtetherNode, "prepare", prepare_with_hook)
    monkeypatch.setattr(PgtetherNode, "config_text", config_with_hook)
    cluster = new_cluster(timing=Timing(ttl=5, loop_wait=1, retry_timeout=1), label="bootstrap")
    cluster.wait(lambda: makers(cluster), 60, "a node is in post_bootstrap")
    (node,) = makers(cluster)
    return cluster, node


def makers(cluster):
    return [n for n in cluster.nodes if os.path.exists(f"{n.dir}/run/began")]


def release(cluster):
    for n in cluster.nodes:
        os.unlink(f"{n.dir}/hold")


def set_aside(node):
    return [e for e in os.listdir(node.dir) if e.startswith("data.unfinished")]


def log_of(node):
    with open(f"{node.dir}/agent.log", encoding="utf-8") as f:
        return f.read()


def stop_store(cluster):
    for n in cluster.store:
        sysproc.send(n.etcd_pid(), signal.SIGKILL)
    cluster.wait(lambda: not any(n.etcd_pid() for n in cluster.store), 10, "the store is down")


def sysid(cluster, node):
    return str(cluster.query(node, "SELECT system_identifier FROM pg_control_system()")[0][0])


def test_half_made_cluster_of_a_dead_agent_is_set_aside_and_made_anew(held):
    cluster, node = held
    sysproc.send(node.agent_pid(), signal.SIGKILL)
    cluster.wait(lambda: set_aside(node), 60, "what was half made is set aside")
    assert "the bootstrap of this cluster was interrupted" in log_of(node)
    release(cluster)
    leader = cluster.wait_whole(120)
    assert cluster.keys()["initialize"] == sysid(cluster, leader)
    assert not os.path.exists(f"{leader.paths.data}/pgtether.bootstrap")


def test_half_made_cluster_is_given_up_in_pause_too(held):
    cluster, node = held
    key, stores = f"/service/{cluster.scope}/config", [n.address for n in cluster.store]
    paused = {"ttl": 5, "loop_wait": 1, "retry_timeout": 1, "pause": True}
    assert etcd.put(cluster.net.client, stores, key, json.dumps(paused))
    sysproc.send(node.agent_pid(), signal.SIGKILL)
    cluster.wait(lambda: set_aside(node), 60, "what was half made is set aside")
    release(cluster)
    cluster.wait(lambda: "paused, with an empty data directory" in log_of(node), 30, "nobody makes another one in pause")
    assert etcd.put(cluster.net.client, stores, key, json.dumps({**paused, "pause": False}))
    leader = cluster.wait_whole(120)
    assert cluster.keys()["initialize"] == sysid(cluster, leader)


def test_cluster_that_is_made_goes_on_where_only_the_store_did_not_hear_of_it(held):
    cluster, node = held
    made = sysid(cluster, node)
    stop_store(cluster)
    release(cluster)
    with_word = f"{node.paths.data}/pgtether.bootstrap"
    cluster.wait(lambda: "made" in open(with_word, encoding="ascii").read(), 30, "it is noted that it is made")
    sysproc.send(node.agent_pid(), signal.SIGKILL)
    for n in cluster.store:
        n.start_etcd()
    leader = cluster.wait_whole(120)
    assert leader is node
    assert sysid(cluster, node) == made and cluster.keys()["initialize"] == made
    assert "pause" not in json.loads(cluster.keys()["config"])
    assert not set_aside(node) and not os.path.exists(with_word)
