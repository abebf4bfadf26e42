"""pgtetherctl on a real cluster: what it says, and what becomes of it."""

import json
import os
import pwd
import re
import signal

import pytest

from lab import etcd, sysproc, testing
from lab.cluster import Cluster, Timing
from lab.node import Programs
from lab.watch import Watch


def ok(cluster, *arguments, **options):
    code, text = cluster.ctl(*arguments, **options)
    assert code == 0, text
    return text


def member(cluster, node):
    return json.loads(cluster.keys()[f"members/{node.name}"])


def replicas(cluster):
    leader = cluster.leader()
    return [n for n in cluster.nodes if n is not leader]


def on_one_timeline(cluster):
    """Whole, and the store says so, too: what pgtetherctl goes by may be a cycle behind."""
    def settled():
        members = [json.loads(v) for k, v in cluster.keys().items() if k.startswith("members/")]
        return len(members) == len(cluster.nodes) and len({m.get("timeline") for m in members}) == 1 and \
            not any("checkpoint_after_promote" in m for m in members)
    cluster.wait_whole()
    cluster.wait(settled, 30, "all members publish the leader's timeline")


def postmasters(cluster):
    return {n.name: n.postmaster_pid() for n in cluster.nodes}


# --- what changes nothing ---------------------------------------------------------------------------------------------

def test_query_runs_on_who_has_the_role_now(cluster):
    leader = cluster.leader()
    sql = "SELECT pg_is_in_recovery(), inet_server_addr()::text, NULL AS nothing"
    assert ok(cluster, "query", "-U", "postgres", "-c", sql).splitlines() == \
        ["pg_is_in_recovery\tinet_server_addr\tnothing", f"False\t{leader.address}/32\tNone"]
    rows = json.loads(ok(cluster, "query", "-U", "postgres", "-r", "replica", "--format", "json", "-c", sql))
    assert rows[0]["pg_is_in_recovery"] is True and rows[0]["nothing"] is None
    assert rows[0]["inet_server_addr"] in [f"{n.address}/32" for n in replicas(cluster)]
    assert "42601: syntax error" in ok(cluster, "query", "-U", "postgres", "-c", "SELEC 1")
    assert "CREATE TABLE" in ok(cluster, "query", "-U", "postgres", "-c", "CREATE TABLE IF NOT EXISTS lab_ctl (i int)")


def test_query_from_stdin_with_more_columns_than_a_member_table_has(cluster):
    columns = ", ".join(f"{i} AS c{i}" for i in range(100))
    text = ok(cluster, "query", "-U", "postgres", "-f", "-", "--delimiter", ";", answers=f"SELECT {columns}")
    assert text.splitlines()[1] == ";".join(map(str, range(100)))


def test_dsn_leads_to_who_has_the_role(cluster):
    assert ok(cluster, "dsn") == f"host={cluster.leader().address} port=5432\n"
    assert ok(cluster, "dsn", "-r", "replica") in [f"host={n.address} port=5432\n" for n in replicas(cluster)]
    for n in cluster.nodes:
        assert ok(cluster, "dsn", "-m", n.name) == f"host={n.address} port=5432\n"
    code, text = cluster.ctl("dsn", "-r", "standby-leader")
    assert code == 1 and "Can not find a suitable member" in text


def test_topology_shows_the_leader_first_and_the_others_below_it(cluster):
    names = re.findall(r"^\| (\+? ?n\d)", ok(cluster, "topology"), re.M)
    assert names[0] == cluster.leader().name
    assert sorted(names[1:]) == [f"+ {n.name}" for n in replicas(cluster)]


@pytest.mark.parametrize("answers", ["", "wrong\n", "{scope}\nYes\n", "{scope}\nYes I am aware\nnobody\n",
                                     "{scope}\nYes I am aware\n"])
def test_remove_with_a_wrong_answer_removes_nothing(cluster, answers):
    code, text = cluster.ctl("remove", cluster.scope, answers=answers.format(scope=cluster.scope))
    assert code == 1, text
    assert {"initialize", "config", "leader"} <= cluster.keys().keys()


def test_remove_with_the_right_answers_removes_that_cluster_and_no_other(cluster):
    addresses = [n.address for n in cluster.nodes]
    near = {f"/service/gone/{key}": "x" for key in ("config", "initialize", "members/old")}
    for key, value in {**near, "/service/gone2/config": "y"}.items():
        assert etcd.put(cluster.net.client, addresses, key, value)
    ok(cluster, "remove", "gone", answers="gone\nYes I am aware\n")
    assert etcd.read_prefix(cluster.net.client, addresses, "/service/gone/") == {}
    assert etcd.read_prefix(cluster.net.client, addresses, "/service/gone2/") == {"config": "y"}
    assert cluster.leader() is not None


def test_doctor_finds_nothing_bad_in_a_sound_cluster(cluster):
    text = ok(cluster, "doctor")
    assert "  BAD " not in text, text
    assert text.count("the REST API answers, PostgreSQL is ") == 3
    assert text.count("PostgreSQL takes connections at ") == 3
    assert text.count(" is etcd 3.") == 3


def test_doctor_names_what_is_broken(cluster):
    here, broken = cluster.nodes[0], next(n for n in replicas(cluster) if n is not cluster.nodes[0])
    cluster.net.refuse(broken.name, cluster.net.address(0), [8008, 5432])
    sysproc.send(broken.etcd_pid(), signal.SIGSTOP)
    os.chmod(here.data_dir, 0o777)
    try:
        code, text = cluster.ctl("doctor", node=here)
    finally:
        os.chmod(here.data_dir, 0o700)
        sysproc.send(broken.etcd_pid(), signal.SIGCONT)
        cluster.net.heal(broken.name)
    assert code == 1, text
    bad = [line for line in text.splitlines() if line.startswith("  BAD ")]
    assert len(bad) == 4, text
    assert f"http://{broken.address}:2379" in bad[0]
    assert f"could not reach {broken.name}'s REST API" in bad[1]
    assert f"{broken.name}: nobody answers as PostgreSQL at {broken.address}:5432" in bad[2]
    assert f'"{here.data_dir}" is open to others' in bad[3]


# --- what changes something -------------------------------------------------------------------------------------------

def test_pause_is_seen_by_all_and_resume_too(cluster):
    text = ok(cluster, "pause", "--wait")
    assert text.endswith("Success: cluster management is paused\n"), text
    assert all(member(cluster, n).get("pause") for n in cluster.nodes)
    assert "Maintenance mode: on" in ok(cluster, "list")
    assert cluster.ctl("pause") == (1, "pgtetherctl: error: Cluster is already paused\n")
    text = ok(cluster, "resume", "--wait")
    assert text.endswith("Success: cluster management is resumed\n"), text
    assert not any(member(cluster, n).get("pause") for n in cluster.nodes)


def test_switchover_answered_on_stdin_is_in_the_history(cluster):
    on_one_timeline(cluster)
    leader, candidate = cluster.leader(), replicas(cluster)[0]
    text = ok(cluster, "switchover", answers=f"\n{candidate.name}\n\ny\n")
    assert f"Primary [{leader.name}]: Candidate {[n.name for n in replicas_of(cluster, leader)]} []: " in text
    assert f'Successfully switched over to "{candidate.name}"' in text
    assert text.count("+ Cluster: ") == 2, "the members are shown before and after"
    cluster.wait_whole()
    assert cluster.leader() is candidate
    cluster.wait(lambda: json.loads(ok(cluster, "history", "-f", "json"))[-1]["New Leader"] == candidate.name, 20,
                 "the history names the new leader")


def replicas_of(cluster, leader):
    return [n for n in cluster.nodes if n is not leader]


def test_switchover_goes_through_the_store_when_the_leaders_rest_api_is_out_of_reach(cluster):
    on_one_timeline(cluster)
    leader, candidate = cluster.leader(), replicas(cluster)[-1]
    cluster.net.refuse(leader.name, cluster.net.address(0), [8008])
    try:
        text = ok(cluster, "switchover", "--force", "--candidate", candidate.name, node=candidate)
    finally:
        cluster.net.heal(leader.name)
    assert f"could not reach {leader.name}'s REST API" in text
    assert "falling back to the store" in text
    assert f'Successfully switched over to "{candidate.name}"' in text
    cluster.wait_whole()
    assert cluster.leader() is candidate


def test_scheduled_restart_and_switchover_are_shown_and_flushed(cluster):
    on_one_timeline(cluster)
    node = replicas(cluster)[0]
    text = ok(cluster, "restart", "--force", "--scheduled", "2035-01-01T00:00+00:00", cluster.scope, node.name)
    assert f"Success: restart scheduled on member {node.name}" in text
    assert "Failed: another restart is already scheduled" in \
        ok(cluster, "restart", "--scheduled", "2035-01-02T00:00Z", "--pg-version", "99.1", cluster.scope, node.name,
           answers="y\n")
    cluster.wait(lambda: "scheduled_restart" in member(cluster, node), 10, "the member publishes its scheduled restart")
    assert "2035-01-01T00:00:00+00:00" in ok(cluster, "list")
    assert f"Success: flush scheduled restart for member {node.name}" in \
        ok(cluster, "flush", cluster.scope, "restart", answers="y\n")
    assert "Switchover scheduled" in ok(cluster, "switchover", "--force", "--scheduled", "2035-01-01T00:00Z")
    assert "Switchover scheduled at: 2035-01-01T00:00:00+00:00" in ok(cluster, "list")
    assert ok(cluster, "flush", cluster.scope, "switchover") == "Success: scheduled switchover deleted\n"
    assert ok(cluster, "flush", cluster.scope, "switchover") == "No pending scheduled switchover\n"


def test_restart_restarts_the_named_member_and_no_other(cluster):
    before, node = postmasters(cluster), replicas(cluster)[0]
    text = ok(cluster, "restart", cluster.scope, node.name, answers="\ny\n\n")
    assert f"Success: restart on member {node.name}" in text
    after = postmasters(cluster)
    assert [name for name in before if before[name] != after[name]] == [node.name]


def test_reload_is_taken_by_all(cluster):
    text = ok(cluster, "reload", "--force", cluster.scope)
    for n in cluster.nodes:
        assert f"Reload request received for member {n.name} and will be processed within 1 seconds" in text


def test_reinit_makes_a_replica_anew(cluster):
    node = replicas(cluster)[0]
    witness = os.path.join(node.data_dir, "witness")
    with open(witness, "w", encoding="ascii") as f:
        f.write("of the data directory before")
    text = ok(cluster, "reinit", cluster.scope, "--wait", answers=f"{node.name}\ny\n")
    assert f"Which member do you want to reinitialize [{', '.join(n.name for n in replicas(cluster))}]? []: " in text
    assert f"Reinitialize is completed on: {node.name}" in text
    assert not os.path.exists(witness)
    cluster.wait_whole()


# --- rolling-restart --------------------------------------------------------------------------------------------------

def test_rolling_restart_restarts_all_and_loses_nothing(cluster):
    on_one_timeline(cluster)
    leader, before = cluster.leader(), postmasters(cluster)
    assert "Plan: restart 3 members" in ok(cluster, "rolling-restart", "--dry-run", cluster.scope)
    assert postmasters(cluster) == before
    with Watch(cluster) as watch:
        watch.strike(leader)
        text = ok(cluster, "rolling-restart", cluster.scope, answers="y\n", timeout=120)
        cluster.wait_whole()
        outcome = watch.outcome()
    print(text, outcome.line(), sep="\n")
    assert "Success: 3 members restarted" in text
    after = postmasters(cluster)
    assert all(before[name] != after[name] for name in before)
    assert cluster.leader() is not leader
    assert outcome.lost == 0 and outcome.window_ms == 0


def test_rolling_restart_in_place_keeps_the_leader(cluster):
    on_one_timeline(cluster)
    leader, before = cluster.leader(), postmasters(cluster)
    ok(cluster, "rolling-restart", "--in-place", "--force", cluster.scope, timeout=120)
    after = postmasters(cluster)
    assert all(before[name] != after[name] for name in before)
    assert cluster.leader() is leader


def test_rolling_restart_stops_at_the_member_that_does_not_come_back(cluster):
    on_one_timeline(cluster)
    leader, before = cluster.leader(), postmasters(cluster)
    first = replicas(cluster)[0]
    auto_conf = os.path.join(first.data_dir, "postgresql.auto.conf")
    with open(auto_conf, encoding="utf-8") as f:
        sound = f.read()
    with open(auto_conf, "a", encoding="utf-8") as f:
        f.write("work_mem = 'as much as there is'\n")
    try:
        code, text = cluster.ctl("rolling-restart", "--force", "--candidate", first.name, "--timeout", "5", cluster.scope)
    finally:
        with open(auto_conf, "w", encoding="utf-8") as f:
            f.write(sound)
    rest = [first.name] + [n.name for n in replicas_of(cluster, leader) if n is not first] + [leader.name]
    assert code == 1, text
    assert f"stopped at {first.name}, step 1 of 3" in text
    assert f"/pgtether.conf rolling-restart --candidate {first.name} {cluster.scope} {' '.join(rest)}\n" in text
    after = postmasters(cluster)
    assert [name for name in before if before[name] == after[name]] == [n for n in before if n != first.name]
    cluster.wait_whole()


# --- clusters of the reference ----------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def patroni():
    """Three nodes of the reference, and a configuration with which pgtetherctl finds them."""
    if not os.path.exists("/usr/bin/patronictl"):
        pytest.skip("patroni is not installed")
    cluster = testing.adopt(Cluster.create(agent="patroni", timing=Timing(ttl=20, loop_wait=1, retry_timeout=3),
                                           label="tests-patroni"))
    try:
        hosts = ", ".join(f'"{n.address}:2379"' for n in cluster.nodes)
        cluster.nodes[0].write_file("pgtether.conf", f"""scope = "{cluster.scope}"; name = "ctl";
restapi: {{ connect_address = "{cluster.nodes[0].address}:8009"; }};
etcd3: {{ hosts = [ {hosts} ]; }};
postgresql: {{ listen = "127.0.0.1:5432"; connect_address = "{cluster.nodes[0].address}:5432";
               data_dir = "/nowhere/data"; bin_dir = "/usr/lib/postgresql/15/bin";
               authentication: {{ replication: {{ username = "r"; password = "x"; }};
                                  superuser: {{ username = "postgres"; password = "x"; }}; }}; }};
""", pwd.getpwnam("root"))
        cluster.wait_whole()
        yield cluster
    finally:
        testing.drop(cluster)


def on_patroni(cluster, *arguments, answers="", timeout=120):
    program = Programs().find("pgtetherctl")
    code, text = cluster.command(program, "-c", f"{cluster.nodes[0].dir}/pgtether.conf", *arguments, answers=answers,
                                 timeout=timeout)
    assert code == 0, text
    return text


def test_patroni_pauses_and_resumes(patroni):
    assert on_patroni(patroni, "pause", "--wait").endswith("Success: cluster management is paused\n")
    assert on_patroni(patroni, "resume", "--wait").endswith("Success: cluster management is resumed\n")


def said(text):
    """Without the tables and the words that differ between releases, and without what tells whose error it is."""
    text = text.replace(" or is tagged as nofailover", "")
    text = re.sub(r"^[+|].*\n", "", text, flags=re.M).replace("pgtetherctl: error: ", "Error: ")
    text = re.sub(r"\(e\.g\. 2.*?\)", "(e.g. then)", text)
    # Members of one question come there in an order of chance.
    return re.sub(r" \[(n\d(, n\d)+)\]\?", lambda m: f" {sorted(m[1].split(', '))}?", text)


@pytest.mark.parametrize("arguments, answers", [
    (("switchover",), ""),
    (("switchover",), "\n\n\nn\n"),
    (("switchover", "--scheduled", "2035-01-01T00:00+02:00"), "\n\nno\n"),
    (("switchover", "--scheduled", "2035-01-01 00:00:30.5"), "\n\nperhaps\nno\n"),
    (("switchover", "--scheduled", "nonsense"), "\n\n"),
    (("switchover", "--candidate", "nobody"), "\n"),
    (("failover",), "\n"),
    (("failover", "--candidate", "nobody"), ""),
    (("restart", "{scope}"), "\nn\n"),
    (("restart", "{scope}", "--pg-version", "15", "--force"), ""),
    (("restart", "{scope}", "--scheduled", "2035-01-01T00:00Z"), "n\n"),
    (("reload", "{scope}"), "n\n"),
    (("reload", "{scope}", "--force"), ""),
    (("flush", "{scope}", "restart"), "y\n"),
    (("flush", "{scope}", "switchover"), ""),
    (("reinit", "{scope}"), "nobody\n"),
    (("resume",), ""),
    (("remove", "{scope}"), "no\n"),
    (("remove", "{scope}"), "{scope}\nyes\n"),
    (("remove", "{scope}"), "{scope}\nYes I am aware\nnobody\n"),
])
def test_patroni_is_spoken_to_as_by_its_own_program(patroni, arguments, answers):
    arguments = [a.format(scope=patroni.scope) for a in arguments]
    answers = answers.format(scope=patroni.scope)
    theirs = patroni.patronictl(*arguments, answers=answers)
    ours = patroni.command(Programs().find("pgtetherctl"), "-c", f"{patroni.nodes[0].dir}/pgtether.conf", *arguments,
                           answers=answers)
    assert (ours[0], said(ours[1])) == (theirs[0], said(theirs[1]))


@pytest.mark.long
def test_patroni_switches_over_and_restarts_one_by_one(patroni):
    leader = patroni.leader()
    candidate = replicas(patroni)[0]
    text = on_patroni(patroni, "switchover", answers=f"\n{candidate.name}\nnow\ny\n")
    assert f'Successfully switched over to "{candidate.name}"' in text
    patroni.wait_whole()
    assert patroni.leader() is candidate
    on_one_timeline(patroni)
    before = postmasters(patroni)
    text = on_patroni(patroni, "rolling-restart", "--force", "--candidate", leader.name, patroni.scope)
    assert "Success: 3 members restarted" in text, text
    patroni.wait_whole()
    after = postmasters(patroni)
    assert all(before[name] != after[name] for name in before)
    assert patroni.leader() is leader


@pytest.mark.long
def test_patroni_makes_a_replica_anew(patroni):
    node = replicas(patroni)[0]
    text = on_patroni(patroni, "reinit", "--wait", "--force", patroni.scope, node.name)
    assert f"Reinitialize is completed on: {node.name}" in text
    patroni.wait_whole()


@pytest.mark.long
def test_patroni_becomes_a_standby_cluster_and_a_cluster_of_its_own_again(patroni):
    on_one_timeline(patroni)
    text = on_patroni(patroni, "demote-cluster", "--restore-command", "false", answers="y\n")
    assert f"Are you sure you want to demote {patroni.scope} cluster? [y/N]: " in text
    assert "cluster is successfully demoted\n" in text
    assert "Standby Leader" in on_patroni(patroni, "list")
    assert on_patroni(patroni, "dsn", "-r", "standby-leader") == f"host={patroni.leader().address} port=5432\n"
    text = on_patroni(patroni, "promote-cluster", "--force")
    assert "cluster is successfully promoted\n" in text
    patroni.wait_whole()
