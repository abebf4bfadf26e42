"""The dynamic configuration on real clusters: PATCH, PUT, edit-config, what PostgreSQL makes of it, reloads, and the
order in which members are restarted for parameters that WAL is bound to."""

import json
import os
import re
import signal
import subprocess
import threading

import psycopg2
import pytest

from lab import etcd, net
from lab.cluster import Timing
from lab.node import PG_MAJOR

PATIENCE_S = 30


def config(cluster):
    return json.loads(cluster.keys()["config"])


def change(cluster, patch, node=None, method="PATCH"):
    status, text = cluster.rest(node or cluster.nodes[0], "/config", method, json.dumps(patch), timeout=PATIENCE_S)
    return status, json.loads(text) if text.startswith("{") else text


def parameters(**values):
    return {"postgresql": {"parameters": values}}


def show(cluster, node, name):
    return cluster.query(node, f"SHOW {name}")[0][0]


def status(cluster, node):
    return json.loads(cluster.rest(node, "/patroni")[1])


def pending(cluster, node):
    return status(cluster, node).get("pending_restart_reason", {})


def log_of(node):
    with open(f"{node.dir}/agent.log", errors="replace") as f:
        return f.read()


def restart(cluster, node, **filters):
    return cluster.rest(node, "/restart", "POST", json.dumps(filters), timeout=60)


def wait(cluster, condition, what):
    def met():
        try:
            return condition()
        except (psycopg2.Error, ValueError):  # it is being restarted
            return False
    cluster.wait(met, PATIENCE_S, what)


@pytest.fixture
def tuned(cluster):
    """The cluster; what a test changed in the store is taken back, and what waits for a restart is restarted."""
    before = cluster.keys()["config"]
    yield cluster
    status_code, _ = change(cluster, json.loads(before), cluster.leader(), "PUT")
    assert status_code == 200
    for n in cluster.nodes:
        if pending(cluster, n):
            assert restart(cluster, n)[0] == 200


# -- PATCH and PUT ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", ["leader", "standby"])
def test_a_patch_reaches_every_member_at_once(tuned, asked):
    leader = tuned.leader()
    node = leader if asked == "leader" else next(n for n in tuned.nodes if n is not leader)
    value = "7MB" if asked == "leader" else "9MB"
    code, now = change(tuned, parameters(work_mem=value), node)
    assert code == 200 and now["postgresql"]["parameters"]["work_mem"] == value
    assert now == config(tuned)
    for n in tuned.nodes:
        wait(tuned, lambda n=n: show(tuned, n, "work_mem") == value, f"work_mem on {n.name}")
    assert not any(pending(tuned, n) for n in tuned.nodes)


def test_null_removes_and_the_default_comes_back(tuned):
    change(tuned, parameters(work_mem="11MB"))
    wait(tuned, lambda: all(show(tuned, n, "work_mem") == "11MB" for n in tuned.nodes), "work_mem is set")
    code, now = change(tuned, parameters(work_mem=None))
    assert code == 200 and "work_mem" not in now["postgresql"]["parameters"]
    wait(tuned, lambda: all(show(tuned, n, "work_mem") == "4MB" for n in tuned.nodes), "work_mem has its default")


def test_put_replaces_the_whole_and_the_same_is_no_write(tuned):
    wanted = config(tuned)
    wanted["postgresql"]["parameters"]["work_mem"] = "13MB"
    assert change(tuned, wanted, method="PUT") == (200, wanted)
    assert config(tuned) == wanted
    wait(tuned, lambda: all(show(tuned, n, "work_mem") == "13MB" for n in tuned.nodes), "work_mem on all")
    said = log_of(tuned.nodes[0]).count("was changed over the REST API")
    assert change(tuned, wanted, method="PUT") == (200, wanted)
    assert change(tuned, parameters(work_mem="13MB")) == (200, wanted)
    assert log_of(tuned.nodes[0]).count("was changed over the REST API") == said


@pytest.mark.parametrize("patch, message", [
    (parameters(work_mem="lots"), 'work_mem: "lots" is no number'),
    (parameters(work_mem="1kB"), "out of range"),
    (parameters(wal_level="minimal"), "wal_level"),
    (parameters(synchronous_commit="perhaps"), "is not one of"),
    (parameters(block_size=4096), "cannot be set"),
    (parameters(max_connections=5), "at least 25"),
    ({"ttl": "soon"}, "ttl: expected a number of seconds"),
    ({"check_timeline": 5}, "check_timeline: expected true or false"),
    ({}, "not empty"),
])
def test_what_members_would_refuse_is_not_written(tuned, patch, message):
    before = tuned.keys()["config"]
    code, text = change(tuned, patch)
    assert code == 400 and message in text
    assert tuned.keys()["config"] == before


def test_no_change_is_lost_when_many_write_at_once(tuned):
    """Ten writers on three nodes, each with a setting of its own: compared and set, and again."""
    answers = []

    def write(i):
        answers.append(change(tuned, {"our": {f"key{i}": i}}, tuned.nodes[i % 3])[0])
    threads = [threading.Thread(target=write, args=(i,)) for i in range(10)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    written = config(tuned)["our"]
    assert answers.count(200) == len(written), (answers, written)
    assert set(answers) <= {200, 409} and len(written) >= 8


def test_a_configuration_that_nobody_can_read_changes_nothing(tuned):
    """Written past every check: each member says so and goes on with what it had, also if it has to fail over."""
    leader, before = tuned.leader(), tuned.keys()["config"]
    hosts, key = [h.address for h in tuned.store], f"/service/{tuned.scope}/config"
    said = {n.name: log_of(n).count("dynamic configuration: ttl") for n in tuned.nodes}
    wrong = {**json.loads(before), "ttl": "soon"}
    wrong["postgresql"]["parameters"]["work_mem"] = "27MB"
    assert etcd.put(tuned.net.client, hosts, key, json.dumps(wrong))
    try:
        for n in tuned.nodes:
            wait(tuned, lambda n=n: log_of(n).count("dynamic configuration: ttl") > said[n.name], f"{n.name} refuses it")
            assert show(tuned, n, "work_mem") == "4MB"
        assert tuned.what_is_missing() is None and tuned.leader() is leader
        leader.kill_all()
        tuned.wait(lambda: tuned.leader() not in (None, leader) and tuned.accepts_writes(tuned.leader()), 30,
                   "another leads by the old configuration")
    finally:
        assert etcd.put(tuned.net.client, hosts, key, before)
        if not leader.keeper_pid():
            leader.start()
    tuned.wait_whole(60)


# -- what PostgreSQL does not accept ------------------------------------------------------------------------------------


def test_a_value_that_postgresql_does_not_accept_never_stops_it(tuned):
    """Written past every check, as another program would: left out, said, and PostgreSQL still starts."""
    code, text = tuned.patronictl("edit-config", tuned.scope, "--force", "-p", "work_mem=lots", "-p", "work_memm=4MB",
                                  "-p", "max_parallel_workers=99999", "-p", "timezone=Mars/Olympus",
                                  "-p", "maintenance_work_mem=80MB")
    assert code == 0, text
    for n in tuned.nodes:
        wait(tuned, lambda n=n: show(tuned, n, "maintenance_work_mem") == "80MB", "the valid one is applied")
        wait(tuned, lambda n=n: '"timezone" is left out: PostgreSQL does not accept' in log_of(n), "timezone is refused")
        text = log_of(n)
        assert 'parameter "work_mem" is left out: "lots" is no number' in text
        assert 'parameter "work_memm" is left out: there is none of that name' in text
        assert 'parameter "max_parallel_workers" is 1024: "99999" is out of range (0 to 1024)' in text
        wait(tuned, lambda n=n: show(tuned, n, "max_parallel_workers") == "1024", "the limit is used")
        wait(tuned, lambda n=n: "Mars" not in open(f"{n.data_dir}/postgresql.conf").read(), "the file has it no more")
        assert "parameters_problem" in status(tuned, n)
    standby = next(n for n in tuned.nodes if n is not tuned.leader())
    assert restart(tuned, standby) == (200, "restarted successfully")
    assert show(tuned, standby, "work_mem") == "4MB"
    assert f"Note on {standby.name}: parameter" in tuned.ctl("list")[1]


def test_pg_ident_of_the_store_is_written_and_local_pg_hba_wins(tuned):
    change(tuned, {"postgresql": {"pg_ident": ["mymap root postgres"], "pg_hba": ["host all all all reject"]}})
    for n in tuned.nodes:
        wait(tuned, lambda n=n: "mymap root postgres" in open(f"{n.data_dir}/pg_ident.conf").read(), "pg_ident.conf")
        assert "reject" not in open(f"{n.data_dir}/pg_hba.conf").read()
    assert all(show(tuned, n, "work_mem") for n in tuned.nodes)


# -- restarts -----------------------------------------------------------------------------------------------------------


def test_pending_restart_comes_with_its_reason_and_goes_with_the_restart(tuned):
    standby = next(n for n in tuned.nodes if n is not tuned.leader())
    change(tuned, parameters(shared_buffers="24MB"))
    for n in tuned.nodes:
        wait(tuned, lambda n=n: pending(tuned, n) == {"shared_buffers": {"old_value": "16MB", "new_value": "24MB"}},
             f"the reason on {n.name}")
        wait(tuned, lambda n=n: json.loads(tuned.keys()[f"members/{n.name}"]).get("pending_restart") is True, "in the store")
    assert restart(tuned, standby, restart_pending=True)[0] == 200
    wait(tuned, lambda: not pending(tuned, standby) and show(tuned, standby, "shared_buffers") == "24MB", "applied")
    # The same amount in other words is no change.
    change(tuned, parameters(shared_buffers="16384kB"))
    for n in tuned.nodes:
        if n is not standby:
            wait(tuned, lambda n=n: not pending(tuned, n), f"nothing is due on {n.name}")


def test_raised_on_the_standbys_first_and_lowered_on_the_primary_first(new_cluster):
    cluster = new_cluster(label="config-order")
    leader = cluster.wait_whole(120)
    standbys = [n for n in cluster.nodes if n is not leader]
    raised = {"max_connections": {"old_value": "60", "new_value": "80"}}

    assert change(cluster, parameters(max_connections=80))[0] == 200
    for n in standbys:
        wait(cluster, lambda n=n: pending(cluster, n) == raised, f"{n.name} is to be restarted")
    wait(cluster, lambda: "all standbys must be restarted for first" in log_of(leader), "the leader waits")
    assert restart(cluster, leader, restart_pending=True) == (503, "restart conditions are not satisfied")
    assert restart(cluster, standbys[0], restart_pending=True)[0] == 200
    wait(cluster, lambda: show(cluster, standbys[0], "max_connections") == "80", "raised on the first")
    assert not pending(cluster, leader)

    # A crash is no decision to raise it: the second standby could not replay what such a primary writes.
    os.kill(leader.postmaster_pid(), signal.SIGQUIT)
    wait(cluster, lambda: leader.postmaster_pid() and cluster.accepts_writes(leader), "the leader is back")
    assert show(cluster, leader, "max_connections") == "60"
    cluster.wait_whole(60)
    assert restart(cluster, standbys[1], restart_pending=True)[0] == 200
    wait(cluster, lambda: pending(cluster, leader) == raised, "now it is the leader's turn")
    assert restart(cluster, leader, restart_pending=True)[0] == 200
    wait(cluster, lambda: show(cluster, leader, "max_connections") == "80" and not pending(cluster, leader), "raised")
    cluster.wait_whole(60)

    lowered = {"max_connections": {"old_value": "80", "new_value": "50"}}
    assert change(cluster, parameters(max_connections=50))[0] == 200
    wait(cluster, lambda: pending(cluster, leader) == lowered, "the leader is first")
    wait(cluster, lambda: all("the primary must be restarted for first" in log_of(n) for n in standbys), "they wait")
    # Restarted nevertheless it takes what its WAL needs, and runs.
    assert restart(cluster, standbys[0])[0] == 200
    wait(cluster, lambda: show(cluster, standbys[0], "max_connections") == "80", "no less than its WAL needs")
    assert not any(pending(cluster, n) for n in standbys)
    assert restart(cluster, leader, restart_pending=True)[0] == 200
    for n in standbys:
        wait(cluster, lambda n=n: pending(cluster, n) == lowered, f"now {n.name}")
        assert restart(cluster, n, restart_pending=True)[0] == 200
        wait(cluster, lambda n=n: show(cluster, n, "max_connections") == "50" and not pending(cluster, n), "lowered")
    cluster.wait_whole(60)


def test_standby_whose_replay_stands_still_for_a_parameter_is_restarted(new_cluster):
    """The leader is raised first, against what is offered: its standbys could not replay for ever."""
    cluster = new_cluster(label="config-starved", timing=Timing(ttl=5, loop_wait=1, retry_timeout=1))
    leader = cluster.wait_whole(120)
    standbys = [n for n in cluster.nodes if n is not leader]
    assert change(cluster, parameters(max_connections=90))[0] == 200
    wait(cluster, lambda: "all standbys must be restarted for first" in log_of(leader), "the leader waits")
    # What a person has paused stays paused.
    cluster.query(standbys[1], "SELECT pg_wal_replay_pause()")
    assert restart(cluster, leader) == (200, "restarted successfully")
    cluster.query(leader, "CREATE TABLE after_restart AS SELECT 1")
    wait(cluster, lambda: show(cluster, standbys[0], "max_connections") == "90", f"{standbys[0].name} is restarted")
    wait(cluster, lambda: cluster.query(standbys[0], "SELECT count(*) FROM after_restart") == [(1,)], "it replays")
    # PostgreSQL 13 ends a standby that could not go on.
    assert PG_MAJOR < 14 or "replay stands still" in log_of(standbys[0])
    assert show(cluster, standbys[1], "max_connections") == "60"
    assert cluster.query(standbys[1], "SELECT pg_is_wal_replay_paused()") == [(True,)]
    cluster.query(standbys[1], "SELECT pg_wal_replay_resume()")
    wait(cluster, lambda: show(cluster, standbys[1], "max_connections") == "90", f"{standbys[1].name} is restarted")
    cluster.wait_whole(60)
    assert not any(pending(cluster, n) for n in cluster.nodes)
    assert cluster.leader() is leader


# -- the local file -------------------------------------------------------------------------------------------------------


def rewrite(node, pattern, replacement):
    path = f"{node.dir}/pgtether.conf"
    with open(path) as f:
        old = f.read()
    new = re.sub(pattern, replacement, old)
    assert new != old
    with open(path, "w") as f:
        f.write(new)
    return old


@pytest.fixture
def edited(cluster):
    """A standby whose file is put back at the end."""
    node = next(n for n in cluster.nodes if n is not cluster.leader())
    with open(f"{node.dir}/pgtether.conf") as f:
        old = f.read()
    yield node
    with open(f"{node.dir}/pgtether.conf", "w") as f:
        f.write(old)
    cluster.rest(node, "/reload", "POST", "{}")


@pytest.mark.parametrize("how", ["REST", "SIGHUP"])
def test_a_reload_applies_tags_parameters_and_pg_hba(cluster, edited, how):
    node, zone = edited, f"cellar-{how}"
    pid = node.agent_pid()
    rewrite(node, r"parameters: \{", 'parameters: { work_mem = "17MB"; ')
    rewrite(node, r"\Z", f'tags: {{ zone = "{zone}"; }};\n')
    rewrite(node, r"pg_hba = \[", f'pg_hba = [ "# {zone}",')
    rewrite(node, r'listen = "([^"]*):5432"', r'listen = "\1:5433"')
    if how == "REST":
        assert cluster.rest(node, "/reload", "POST", "{}") == (202, "reload scheduled")
    else:
        os.kill(pid, signal.SIGHUP)
    wait(cluster, lambda: show(cluster, node, "work_mem") == "17MB", "the parameter")
    wait(cluster, lambda: status(cluster, node).get("tags") == {"zone": zone}, "the tag")
    wait(cluster, lambda: json.loads(cluster.keys()[f"members/{node.name}"]).get("tags") == {"zone": zone}, "in the store")
    assert f"# {zone}" in open(f"{node.data_dir}/pg_hba.conf").read()
    text = log_of(node)
    assert "configuration: postgresql.parameters.work_mem: (not set) -> 17MB (pgtether.conf:" in text
    assert "takes effect with the next start of pgtether: postgresql.listen:" in text
    assert node.agent_pid() == pid


def test_a_reload_of_a_file_with_mistakes_changes_nothing(cluster, edited):
    rewrite(edited, r"parameters: \{", 'parameters: { work_mem = "19MB"; ')
    rewrite(edited, r"\Z", 'wathcdog: { mode = "off"; };\n')
    assert cluster.rest(edited, "/reload", "POST", "{}")[0] == 202
    wait(cluster, lambda: "the configuration file cannot be used, keeping what was read before" in log_of(edited), "refused")
    assert 'did you mean "watchdog"' in log_of(edited)
    assert show(cluster, edited, "work_mem") != "19MB"


def test_a_broken_line_of_pg_hba_is_named(cluster, edited):
    rewrite(edited, r"pg_hba = \[", 'pg_hba = [ "host all all nowhere.invalid.example/99 trust",')
    assert cluster.rest(edited, "/reload", "POST", "{}")[0] == 202
    wait(cluster, lambda: "parameters_problem" in status(cluster, edited), "it is noted")
    assert re.search(r"pg_hba.conf line \d+: .*; the server keeps what it had, and will not start with it", log_of(edited))
    assert show(cluster, edited, "work_mem")


# -- the command lines ------------------------------------------------------------------------------------------------------


def test_edit_config_says_what_patronictl_says(tuned):
    tuned.ctl("edit-config", "-p", "work_mem=21MB", "--force", "-q")
    answers = []
    for run in (tuned.patronictl, tuned.ctl):
        answers.append([run("edit-config", tuned.scope, *words) for words in (
            ["--force", "-p", "work_mem=22MB", "-s", "postgresql.parameters.a.b=c"],
            ["--force", "-p", "work_mem=22MB"],
            ["--force", "-p", "work_mem=21MB", "-s", "postgresql.parameters.a.b="],
            ["--force", "-q", "-s", "loop_wait=1"],
        )])
    assert answers[0] == answers[1]
    assert all(code == 0 for code, _ in answers[0])


def test_edit_config_with_an_editor_asks_before_it_writes(tuned):
    node = tuned.nodes[0]
    editor = f"{node.dir}/editor"
    with open(editor, "w") as f:
        f.write('#!/bin/sh\nsed -i "s/^ttl: .*/ttl: 6/" "$1"\n')
    os.chmod(editor, 0o755)

    def run(answer):
        done = subprocess.run([tuned.programs.find("pgtetherctl"), "-c", f"{node.dir}/pgtether.conf", "edit-config"],
                              input=answer, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60,
                              check=False, env={**os.environ, "EDITOR": editor})
        return done.returncode, done.stdout
    with net.inside(tuned.net.client):
        code, text = run("n\n")
        assert code == 0 and "-ttl: 5" in text and "+ttl: 6" in text and "Apply these changes? [y/N]:" in text
        assert config(tuned)["ttl"] == 5
        code, text = run("y\n")
        assert code == 0 and "Configuration changed" in text
    assert config(tuned)["ttl"] == 6


def test_pause_by_the_reference_is_seen_by_all(tuned):
    for value, seen in (("true", True), ("null", False)):
        code, text = tuned.patronictl("edit-config", tuned.scope, "--force", "-s", f"pause={value}")
        assert code == 0, text
        for n in tuned.nodes:
            wait(tuned, lambda n=n, seen=seen: bool(status(tuned, n).get("pause")) == seen, f"pause on {n.name}")


def test_show_config_tells_what_was_changed(tuned):
    leader = tuned.leader()
    code, text = tuned.patronictl("edit-config", tuned.scope, "--force", "-p", "work_mem=24MB")
    assert code == 0, text

    def noted():
        code, text = tuned.ctl("show-config", "--history", "-f", "json")
        assert code == 0, text
        rows = json.loads(text)
        return rows and rows[-1]["Leader"] == leader.name and "parameters.work_mem: " in rows[-1]["Changes"] \
            and "-> 24MB" in rows[-1]["Changes"]
    wait(tuned, noted, "the leader has noted it")


def test_show_config_tells_where_values_come_from(tuned):
    node = tuned.leader()
    change(tuned, parameters(work_mem="23MB", max_wal_senders=12))
    wait(tuned, lambda: show(tuned, node, "work_mem") == "23MB", "applied")
    tuned.query(node, "ALTER SYSTEM SET log_min_messages = 'error'")
    tuned.query(node, "SELECT pg_reload_conf()")
    try:
        wait(tuned, lambda: show(tuned, node, "log_min_messages") == "error", "ALTER SYSTEM")
        code, text = tuned.ctl("show-config", "--origin", "-f", "json", node=node)
    finally:
        tuned.query(node, "ALTER SYSTEM RESET log_min_messages")
    assert code == 0, text
    rows = {r["Setting"]: r for r in json.loads(text)}
    assert rows["ttl"]["Origin"] == "dynamic"
    assert rows["failsafe_mode"]["Origin"] == "default"
    assert rows["postgresql.parameters.work_mem"]["Origin"] == "dynamic"
    assert re.fullmatch(r"pgtether.conf:\d+", rows["postgresql.parameters.unix_socket_directories"]["Origin"])
    assert rows["postgresql.parameters.port"]["Origin"].startswith("forced by postgresql.listen (pgtether.conf:")
    assert rows["postgresql.parameters.max_worker_processes"]["Origin"] == "default of pgtether"
    assert rows["postgresql.parameters.max_wal_senders"]["In force"] == "10 (command line)"
    assert "postgresql.auto.conf" in rows["postgresql.parameters.log_min_messages"]["In force"]
