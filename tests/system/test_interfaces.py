"""What users and tools see: command line, REST API, and the reference's own tools on our store."""

import json

import pytest

from lab.node import PG_MAJOR


def members(text):
    return {m["Member"]: m for m in json.loads(text)}


def test_list_agrees_with_the_references_list(cluster):
    code, ours = cluster.ctl("list", "-f", "json")
    assert code == 0, ours
    code, theirs = cluster.patronictl("list", "-f", "json")
    assert code == 0, theirs
    ours, theirs = members(ours), members(theirs)
    assert set(ours) == {"n1", "n2", "n3"}
    for name in ours:
        for column in ("Cluster", "Member", "Host", "Role", "State", "TL"):
            # 3.0.2 calls a streaming replica "running"; newer releases say "streaming" as we do.
            if column == "State":
                assert {ours[name][column], theirs[name][column]} <= {"running", "streaming"}
            else:
                assert ours[name][column] == theirs[name][column]


@pytest.mark.parametrize("form", ["pretty", "tsv", "json", "yaml"])
def test_list_prints_every_member_in_every_format(cluster, form):
    code, text = cluster.ctl("list", "-f", form)
    assert code == 0
    for n in cluster.nodes:
        assert n.name in text and n.address in text


def test_show_config_prints_what_the_store_holds(cluster):
    code, text = cluster.ctl("show-config")
    assert code == 0
    assert "ttl: 5" in text and "loop_wait: 1" in text


def test_version_is_printed(cluster):
    code, text = cluster.ctl("version")
    assert code == 0 and "0." in text


LEADER = {"/": 200, "/primary": 200, "/master": 200, "/leader": 200, "/read-write": 200, "/replica": 503,
          "/health": 200, "/liveness": 200, "/readiness": 200, "/patroni": 200, "/cluster": 200, "/history": 200,
          "/config": 200, "/nonsense": 404}
REPLICA = {**LEADER, "/": 503, "/primary": 503, "/master": 503, "/leader": 503, "/read-write": 503, "/replica": 200}


def test_rest_status_of_the_leader(cluster):
    got = {path: cluster.rest(cluster.leader(), path)[0] for path in LEADER if path != "/nonsense"}
    assert got == {path: code for path, code in LEADER.items() if path != "/nonsense"}


def test_rest_status_of_a_replica(cluster):
    leader = cluster.leader()
    replica = next(n for n in cluster.nodes if n is not leader)
    got = {path: cluster.rest(replica, path)[0] for path in REPLICA if path != "/nonsense"}
    assert got == {path: code for path, code in REPLICA.items() if path != "/nonsense"}


def test_rest_patroni_document_has_the_references_fields(cluster):
    leader = cluster.leader()
    others = {n.name for n in cluster.nodes if n is not leader}
    document = {}

    def all_stream():
        """As the leader's last look at its PostgreSQL has it, which may be older than what the standbys say."""
        status, text = cluster.rest(leader, "/patroni")
        assert status == 200
        document.update(json.loads(text))
        return {r["application_name"] for r in document.get("replication", [])} == others
    cluster.wait(all_stream, 30, "the leader shows its standbys")
    assert document["role"] in ("master", "primary") and document["state"] == "running"
    assert document["patroni"]["scope"] == cluster.scope
    assert document["server_version"] // 10000 == PG_MAJOR


def test_rest_cluster_document_lists_every_member(cluster):
    status, text = cluster.rest(cluster.nodes[0], "/cluster")
    assert status == 200
    document = json.loads(text)
    assert {m["name"] for m in document["members"]} == {n.name for n in cluster.nodes}
    assert sum(m["role"] == "leader" for m in document["members"]) == 1
