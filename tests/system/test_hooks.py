"""The operator's programs: callbacks, pre_promote, before_stop, post_bootstrap, on a real cluster."""

import json
import os
import pwd
import signal
import stat
import time

import pytest

from lab import etcd, sysproc
from lab.cluster import Timing

# What a node's hooks were told, one line per call; what they do beyond that is in a file that a test may write.
HOOK = """#!/bin/sh
dir=$(dirname "$0")
name=$(basename "$0")
echo "$name $*" >> "$dir/hooks.log"
[ ! -f "$dir/$name.do" ] || . "$dir/$name.do"
"""
HOOKS = ["callback", "pre_promote", "before_stop"]
CONFIG = """    callbacks: { on_start = "@/callback"; on_stop = "@/callback"; on_restart = "@/callback";
                 on_reload = "@/reloaded"; on_role_change = "@/callback"; };
    pre_promote = "@/pre_promote"; before_stop = "@/before_stop";"""


def write_executable(path, text):
    with open(path, "w", encoding="ascii") as f:
        f.write(text)
    os.chmod(path, stat.S_IRWXU | stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | stat.S_IXOTH)


def hooks_log(node):
    try:
        with open(f"{node.dir}/hooks.log", encoding="ascii") as f:
            return f.read().splitlines()
    except FileNotFoundError:
        return []


def forget(cluster):
    for node in cluster.nodes:
        for name in ["hooks.log", *(f"{h}.do" for h in HOOKS)]:
            try:
                os.unlink(f"{node.dir}/{name}")
            except FileNotFoundError:
                pass


def make_it(node, hook, text):
    """What the hook does from now on, beside being logged."""
    with open(f"{node.dir}/{hook}.do", "w", encoding="ascii") as f:
        f.write(text)


def wait_for_line(cluster, node, line, timeout=30):
    cluster.wait(lambda: line in hooks_log(node), timeout, f"{node.name} is told {line}; it was told {hooks_log(node)}")


def callback(cluster, action, role):
    return f"callback {action} {role} {cluster.scope}"


@pytest.fixture(scope="module")
def hooked():
    """A cluster whose hooks are there before its first start. Shared by the tests of this file."""
    from lab import testing
    from lab.cluster import Cluster
    from lab.node import PgtetherNode

    prepare = PgtetherNode.prepare

    def prepare_with_hooks(node):
        prepare(node)
        for name in [*HOOKS, "reloaded"]:
            write_executable(f"{node.dir}/{name}", HOOK)

    PgtetherNode.prepare = prepare_with_hooks
    try:
        c = testing.adopt(Cluster.create(timing=Timing(ttl=5, loop_wait=1, retry_timeout=1), label="hooks",
                                         postgresql_config=CONFIG))
    finally:
        PgtetherNode.prepare = prepare
    c.wait_whole(180)
    yield c
    testing.drop(c)


def standbys(cluster, leader):
    return [n for n in cluster.nodes if n is not leader]


def test_first_callback_after_a_bootstrap_is_on_start_primary(hooked):
    leader = hooked.wait_whole()
    lines = hooks_log(leader)
    assert lines[0] == callback(hooked, "on_start", "primary"), lines
    # What the bootstrap left in the store.
    keys = hooked.keys()
    assert json.loads(keys["config"])["ttl"] == hooked.timing.ttl
    assert keys["initialize"] == str(hooked.query(leader, "SELECT system_identifier FROM pg_control_system()")[0][0])
    for n in standbys(hooked, leader):
        wait_for_line(hooked, n, callback(hooked, "on_start", "replica"))
        assert hooks_log(n)[0] == callback(hooked, "on_start", "replica")


def test_planned_stop_and_promotion_are_told_in_their_order(hooked):
    leader = hooked.wait_whole()
    forget(hooked)
    sysproc.send(leader.keeper_pid(), signal.SIGTERM)
    hooked.wait(lambda: hooked.leader() not in (None, leader), 20, "a successor leads")
    successor = hooked.leader()
    wait_for_line(hooked, successor, callback(hooked, "on_role_change", "primary"))
    hooked.wait(lambda: not leader.keeper_pid(), 30, "the stopped node has ended")
    assert hooks_log(leader) == ["before_stop ", callback(hooked, "on_stop", "primary")]
    told = hooks_log(successor)
    assert told.index("pre_promote ") < told.index(callback(hooked, "on_role_change", "primary"))
    leader.start_agent()
    wait_for_line(hooked, leader, callback(hooked, "on_start", "replica"))
    other = next(n for n in standbys(hooked, leader) if n is not successor)
    # It follows another leader, for which its files are read again.
    wait_for_line(hooked, other, f"reloaded on_reload replica {hooked.scope}")
    hooked.wait_whole()


def test_restart_asks_before_stop_and_tells_on_restart(hooked):
    leader = hooked.wait_whole()
    forget(hooked)
    for node, role in ((leader, "primary"), (standbys(hooked, leader)[0], "replica")):
        assert hooked.rest(node, "/restart", "POST", timeout=60) == (200, "restarted successfully")
        wait_for_line(hooked, node, callback(hooked, "on_restart", role))
        assert hooks_log(node) == ["before_stop ", callback(hooked, "on_restart", role)]
    assert hooked.wait_whole() is leader


def test_demoted_leader_is_told_so_and_later_that_it_is_a_replica(hooked):
    leader = hooked.wait_whole()
    forget(hooked)
    make_it(leader, "before_stop", "sleep 60\n")
    # Its key is another's: it must stop at once, so nobody asks before_stop.
    key, hosts = f"/service/{hooked.scope}/leader", [n.address for n in hooked.store]
    assert etcd.put(hooked.net.client, hosts, key, "stranger")
    wait_for_line(hooked, leader, callback(hooked, "on_stop", "demoted"))
    assert etcd.delete(hooked.net.client, hosts, key)
    assert hooks_log(leader)[0] == callback(hooked, "on_stop", "demoted")
    hooked.wait_whole()
    forget(hooked)


def test_callback_that_hangs_is_ended_with_its_family_and_holds_up_nobody(hooked):
    leader = hooked.wait_whole()
    forget(hooked)
    for n in hooked.nodes:
        make_it(n, "callback", f"echo $$ > {n.dir}/first.pid; setsid sh -c 'echo $$ > {n.dir}/second.pid; sleep 600' & "
                               "sleep 600\n")
    sysproc.send(leader.postmaster_pid(), signal.SIGKILL)
    wait_for_line(hooked, leader, callback(hooked, "on_start", "primary"))
    hooked.wait(lambda: os.path.exists(f"{leader.dir}/second.pid"), 10, "the family is there")
    pids = [int(open(f"{leader.dir}/{name}.pid", encoding="ascii").read()) for name in ("first", "second")]
    assert all(sysproc.Process(pid).alive for pid in pids)
    hooked.wait_whole()
    make_it(leader, "callback", "")
    sysproc.send(leader.postmaster_pid(), signal.SIGKILL)
    hooked.wait(lambda: not any(sysproc.Process(pid).alive for pid in pids), 20, "the hanging callback is ended")
    forget(hooked)
    hooked.wait_whole()


def test_before_stop_has_a_limit_and_costs_no_lease(hooked):
    leader = hooked.wait_whole()
    forget(hooked)
    make_it(leader, "before_stop", "echo bye; sleep 600\n")
    begun = time.monotonic()
    sysproc.send(leader.keeper_pid(), signal.SIGTERM)
    hooked.wait(lambda: hooked.leader() not in (None, leader), 20, "a successor leads")
    print(f"a successor led after {time.monotonic() - begun:.1f} s")
    hooked.wait(lambda: not leader.keeper_pid(), 20, "the stopped node has ended")
    with open(f"{leader.dir}/agent.log", encoding="utf-8") as f:
        log = f.read()
    assert "before_stop: bye" in log
    assert "before_stop takes too long" in log
    assert "released the leader key" in log[log.rindex("before_stop takes too long"):]
    forget(hooked)
    leader.start_agent()
    hooked.wait_whole()


def test_pre_promote_that_fails_gives_the_key_to_another(hooked):
    leader = hooked.wait_whole()
    forget(hooked)
    first, second = standbys(hooked, leader)
    postmaster = first.postmaster_pid()
    make_it(first, "pre_promote", "exit 1\n")
    leader.kill_all()
    hooked.wait(lambda: hooked.leader() is second, 40, f"{second.name} leads")
    leader.start()
    hooked.wait_whole()
    assert callback(hooked, "on_role_change", "primary") not in hooks_log(first)
    assert callback(hooked, "on_role_change", "primary") in hooks_log(second)
    if "pre_promote " in hooks_log(first):
        assert first.postmaster_pid() == postmaster, "who does not agree goes on as a standby"
    forget(hooked)


@pytest.mark.long
def test_election_that_nobody_agrees_to_is_left_to_the_old_leader(hooked):
    leader = hooked.wait_whole()
    forget(hooked)
    first, second = standbys(hooked, leader)
    make_it(first, "pre_promote", "exit 1\n")
    make_it(second, "pre_promote", "sleep 600\n")
    leader.kill_all()
    hooked.wait(lambda: "pre_promote " in hooks_log(first) + hooks_log(second), 30, "one of them was asked")
    make_it(second, "pre_promote", "exit 1\n")
    leader.start()
    hooked.wait_whole(150)
    assert hooked.leader() is leader
    forget(hooked)


def test_new_agent_tells_what_it_finds_running(hooked):
    leader = hooked.wait_whole()
    forget(hooked)
    agent = leader.agent_pid()
    sysproc.send(agent, signal.SIGKILL)
    hooked.wait(lambda: leader.agent_pid() not in (None, agent), 10, "the keeper starts a new agent")
    wait_for_line(hooked, leader, callback(hooked, "on_start", "primary"))
    sysproc.send(leader.keeper_pid(), signal.SIGHUP)
    wait_for_line(hooked, leader, f"reloaded on_reload primary {hooked.scope}")
    hooked.wait_whole()


def test_hooks_run_as_postgres(hooked):
    leader = hooked.wait_whole()
    assert os.stat(f"{leader.dir}/hooks.log").st_uid == pwd.getpwnam("postgres").pw_uid
