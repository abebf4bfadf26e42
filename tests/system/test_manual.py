"""Manual and planned changes: switchover, failover, restart, reinitialize and pause, by REST and by the reference's command."""

import datetime
import json
import os
import re
import signal
import subprocess
import threading
import time

import pytest

from lab import net, sysproc
from lab.node import PG_BIN
from lab.watch import Watch

PATIENCE_S = 60


def post(cluster, node, path, body=None, method="POST"):
    return cluster.rest(node, path, method, json.dumps(body) if body is not None else None, timeout=PATIENCE_S)


def other(cluster, *than):
    return next(n for n in cluster.nodes if n not in than)


def in_seconds(seconds):
    at = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)
    return at.replace(microsecond=0).isoformat()


def failover_key(cluster):
    return json.loads(cluster.keys().get("failover") or "{}")


def start_time(cluster, node):
    return json.loads(cluster.rest(node, "/patroni")[1]).get("postmaster_start_time")


def pg_ctl(node, *words):
    """As the DBA who logs in on the host."""
    with net.inside(node.namespace):
        return subprocess.run(["setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups",
                               f"{PG_BIN}/pg_ctl", "-D", node.data_dir, *words], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False)


@pytest.fixture
def paused(cluster):
    """The cluster in pause, known to all; resumed at the end."""
    set_pause(cluster, True)
    yield cluster
    set_pause(cluster, None)


def set_pause(cluster, value):
    code, text = cluster.patronictl("edit-config", cluster.scope, "--force", "-s",
                                    f"pause={json.dumps(value)}")
    assert code == 0, text
    cluster.wait(lambda: all(("\"pause\": true" in (cluster.rest(n, "/patroni")[1] or "")) == bool(value)
                             for n in cluster.nodes if n.agent_pid()), 30, "all members know it")


# -- switchover ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", ["leader", "standby"])
def test_switchover_moves_the_leader_and_loses_nothing(cluster, asked):
    leader = cluster.leader()
    to = other(cluster, leader)
    with Watch(cluster) as watch:
        watch.strike(leader)
        status, text = post(cluster, leader if asked == "leader" else other(cluster, leader, to), "/switchover",
                            {"leader": leader.name, "candidate": to.name})
        assert (status, text) == (200, f'Successfully switched over to "{to.name}"')
        cluster.wait(lambda: sum(a.node == to.name for a in watch.acks()) > 20, 30, "the new leader is written to")
        cluster.wait_whole(PATIENCE_S)
        outcome = watch.outcome()
    assert outcome.lost == 0 and outcome.window_ms <= 0
    assert outcome.gap_ms < 5000
    assert failover_key(cluster) == {}
    # pg_rewind on the others reads the control file: a checkpoint has put the new timeline there.
    member = json.loads(cluster.keys()[f"members/{to.name}"])
    cluster.wait(lambda: cluster.query(to, "SELECT timeline_id FROM pg_control_checkpoint()") == [(member["timeline"],)],
                 30, "the checkpoint after the promotion")
    cluster.wait(lambda: "checkpoint_after_promote" not in json.loads(cluster.keys()[f"members/{to.name}"]), 15,
                 "the member key says that it is done")


def test_switchover_without_candidate_finds_one(cluster):
    leader = cluster.leader()
    status, text = post(cluster, leader, "/switchover", {"leader": leader.name})
    assert status == 200 and re.fullmatch(r'Successfully switched over to "n[123]"', text)
    cluster.wait(lambda: cluster.leader() not in (None, leader), 30, "another leads")


def test_old_leader_follows_without_a_rewind(cluster):
    leader = cluster.leader()
    assert post(cluster, leader, "/switchover", {"leader": leader.name})[0] == 200
    cluster.wait_whole(PATIENCE_S)
    with open(f"{leader.dir}/agent.log") as f:
        log = f.read()
    after = log[log.rindex("demoting this node"):]
    assert "rewinding" not in after and "set aside" not in after


def test_patronictl_switches_over(cluster):
    leader = cluster.leader()
    to = other(cluster, leader)
    code, text = cluster.patronictl("switchover", cluster.scope, "--master", leader.name, "--candidate", to.name,
                                    "--force")
    assert code == 0 and f'Successfully switched over to "{to.name}"' in text, text
    assert cluster.leader() is to


def test_patronictl_schedules_a_switchover_which_happens_in_time(cluster):
    leader = cluster.leader()
    to = other(cluster, leader)
    at = in_seconds(15)
    code, text = cluster.patronictl("switchover", cluster.scope, "--master", leader.name, "--candidate", to.name,
                                    "--scheduled", at, "--force")
    assert code == 0 and "Switchover scheduled" in text, text
    code, text = cluster.patronictl("list", cluster.scope)
    assert "Switchover scheduled at" in text, text
    cluster.wait(lambda: cluster.leader() is to, 60, "it happens")
    assert datetime.datetime.now(datetime.timezone.utc) >= datetime.datetime.fromisoformat(at)


def test_scheduled_switchover_can_be_taken_back(cluster):
    leader = cluster.leader()
    assert post(cluster, leader, "/switchover", method="DELETE") == (404, "no switchover is scheduled")
    body = {"leader": leader.name, "candidate": other(cluster, leader).name, "scheduled_at": in_seconds(3600)}
    assert post(cluster, leader, "/switchover", body) == (202, "Switchover scheduled")
    code, text = cluster.patronictl("flush", cluster.scope, "switchover", "--force")
    assert code == 0 and "scheduled switchover deleted" in text, text
    assert failover_key(cluster) == {}
    assert cluster.leader() is leader


def test_request_of_long_ago_is_forgotten(cluster):
    leader = cluster.leader()
    body = {"leader": leader.name, "scheduled_at": in_seconds(2)}
    os.kill(leader.agent_pid(), signal.SIGSTOP)
    try:
        assert post(cluster, other(cluster, leader), "/switchover", body)[0] == 202
        cluster.wait(lambda: datetime.datetime.now(datetime.timezone.utc) >
                     datetime.datetime.fromisoformat(body["scheduled_at"]) + datetime.timedelta(seconds=2), 30,
                     "its time has passed")
    finally:
        if leader.agent_pid():
            os.kill(leader.agent_pid(), signal.SIGCONT)
    cluster.wait(lambda: failover_key(cluster) == {}, 30, "nobody asks any more")
    cluster.wait_whole(PATIENCE_S)


REFUSALS = [
    ("/failover", {}, 400, "Failover could be performed only to a specific candidate"),
    ("/switchover", {"candidate": "TO"}, 400, "Switchover could be performed only from a specific leader"),
    ("/failover", {"candidate": "TO", "scheduled_at": "2030-01-01T00:00:00+00:00"}, 400, "Failover can't be scheduled"),
    ("/switchover", {"leader": "LEADER", "scheduled_at": "2030-01-01T00:00:00"}, 400,
     "Timezone information is mandatory for the scheduled switchover"),
    ("/switchover", {"leader": "LEADER", "scheduled_at": "2001-01-01T00:00:00Z"}, 422,
     "Cannot schedule switchover in the past"),
    ("/switchover", {"leader": "LEADER", "scheduled_at": "soon"}, 422,
     "Unable to parse scheduled timestamp. It should be in an unambiguous format, e.g. ISO 8601"),
    ("/switchover", {"leader": "LEADER", "candidate": "LEADER"}, 400, "Switchover target and source are the same"),
    ("/switchover", {"leader": "TO"}, 412, "leader name does not match"),
    ("/switchover", {"leader": "LEADER", "candidate": "n9"}, 412, "candidate does not exists"),
    ("/failover", {"candidate": "n9"}, 412, "candidate does not exists"),
    ("/restart", {"role": "king"}, 400, "PostgreSQL role should be either primary, standby_leader, or replica"),
    ("/restart", {"timeout": "-1"}, 400, "Timeout should be a positive number of seconds"),
    ("/restart", {"color": 1}, 400, "Unknown filter for the scheduled restart: color"),
    ("/restart", {"postgres_version": "9.6"}, 400,
     "Invalid PostgreSQL version format: X.Y or X.Y.Z is accepted: 9.6"),
    ("/restart", {"postgres_version": "9.6.1"}, 503, "restart conditions are not satisfied"),
    ("/restart", {"role": "replica"}, 503, "restart conditions are not satisfied"),
    ("/restart", {"restart_pending": False}, 503, "restart conditions are not satisfied"),
    ("/restart", {"schedule": "2001-01-01T00:00:00Z"}, 422, "Cannot schedule restart in the past"),
    ("/reinitialize", {"force": True}, 503, "I am the leader, can not reinitialize"),
]


@pytest.mark.parametrize("path,body,status,text", REFUSALS)
def test_what_cannot_be_done_is_refused_in_the_references_words(cluster, path, body, status, text):
    leader = cluster.leader()
    names = {"LEADER": leader.name, "TO": other(cluster, leader).name}
    body = {key: names.get(value, value) if isinstance(value, str) else value for key, value in body.items()}
    assert post(cluster, leader, path, body) == (status, text)
    assert cluster.leader() is leader


def freeze(pids):
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)


def thaw(pids):
    for pid in pids:
        if sysproc.Process(pid).alive:
            os.kill(pid, signal.SIGCONT)


def test_switchover_to_one_that_lags_fails_and_says_so(cluster):
    """Any member takes the request, for it does not know how far the candidate is; the leader does."""
    leader = cluster.leader()
    to = other(cluster, leader)
    frozen = to.postgres_pids()
    freeze(frozen)
    try:
        cluster.query(leader, "CREATE TABLE lag AS SELECT repeat('x', 1000) FROM generate_series(1, 3000)")
        status, text = post(cluster, leader, "/switchover", {"leader": leader.name, "candidate": to.name})
        assert (status, text) == (503, "Switchover failed")
        assert cluster.leader() is leader and cluster.accepts_writes(leader)
        assert failover_key(cluster) == {}
        assert "lags by more than maximum_lag_on_failover" in agent_log(leader)
    finally:
        thaw(frozen)
    cluster.query(leader, "DROP TABLE lag")
    cluster.wait_whole(PATIENCE_S)


def agent_log(node):
    with open(f"{node.dir}/agent.log", errors="replace") as f:
        return f.read()


class SlowStop:
    """A session of a client that cannot end: PostgreSQL's stop waits for it, and primary_stop_timeout ends that."""

    def __init__(self, cluster, leader, timeout_s):
        code, text = cluster.patronictl("edit-config", cluster.scope, "--force", "-s",
                                        f"primary_stop_timeout={timeout_s}")
        assert code == 0, text
        cluster.wait(lambda: json.loads(cluster.rest(leader, "/config")[1]).get("primary_stop_timeout") == timeout_s,
                     15, "the leader knows the limit")
        self.cluster, self.session = cluster, cluster.connect(leader)
        self.pid = self.session.info.backend_pid
        freeze([self.pid])

    def over(self):
        thaw([self.pid])
        self.session.close()
        code, text = self.cluster.patronictl("edit-config", self.cluster.scope, "--force", "-s",
                                             "primary_stop_timeout=null")
        assert code == 0, text


def test_primary_stop_timeout_cuts_a_stop_short(cluster):
    leader = cluster.leader()
    to, logged = other(cluster, leader), len(agent_log(leader))
    slow = SlowStop(cluster, leader, 2)
    try:
        begun = time.monotonic()
        status, text = post(cluster, leader, "/switchover", {"leader": leader.name, "candidate": to.name})
        took_s = time.monotonic() - begun
        assert (status, text) == (200, f'Successfully switched over to "{to.name}"')
    finally:
        slow.over()
    print(f"switched over after {took_s:.1f} s")
    assert "PostgreSQL did not stop in time: immediate shutdown" in agent_log(leader)[logged:]
    assert 2 < took_s < 15
    cluster.wait_whole(PATIENCE_S)


def test_candidate_that_does_not_come_is_replaced_and_that_is_said(cluster):
    """Its agent stands still from the moment at which the leader begins to stop."""
    leader = cluster.leader()
    to = other(cluster, leader)
    third, logged = other(cluster, leader, to), len(agent_log(leader))
    slow, agent, answers = SlowStop(cluster, leader, 2), to.agent_pid(), []
    asking = threading.Thread(target=lambda: answers.append(
        post(cluster, third, "/switchover", {"leader": leader.name, "candidate": to.name})))
    try:
        asking.start()
        cluster.wait(lambda: "demoting this node" in agent_log(leader)[logged:], 15, "the leader begins to stop",
                     interval=0.05)
        freeze([agent])
        asking.join(PATIENCE_S)
        assert answers == [(200, f'Switched over to "{third.name}" instead of "{to.name}"')]
        assert cluster.leader() is third
    finally:
        thaw([agent])
        slow.over()
    cluster.wait_whole(PATIENCE_S)


# -- failover --------------------------------------------------------------------------------------------------------


def test_patronictl_fails_over_to_a_candidate(cluster):
    leader = cluster.leader()
    to = other(cluster, leader)
    code, text = cluster.patronictl("failover", cluster.scope, "--candidate", to.name, "--force")
    # 3.0.2 names the leader in its request, which makes a switchover of it.
    assert code == 0 and re.search(f'Successfully (failed|switched) over to "{to.name}"', text), text
    assert cluster.leader() is to


def test_failover_without_a_leader_goes_to_the_candidate(paused):
    leader = paused.leader()
    to = other(paused, leader)
    assert pg_ctl(leader, "stop", "-m", "fast").returncode == 0
    paused.wait(lambda: paused.leader() is None, 30, "a leader that was stopped loses the key")
    assert post(paused, to, "/reinitialize") == (503, "Cluster has no leader, can not reinitialize")
    status, text = post(paused, to, "/failover", {"candidate": to.name})
    assert (status, text) == (200, f'Successfully failed over to "{to.name}"')
    paused.wait(lambda: paused.accepts_writes(to), 30, "it is the primary")
    assert not leader.postmaster_pid(), "in pause PostgreSQL stays as people have left it"


# -- restart ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["leader", "standby"])
def test_restart_is_in_place_and_answered_when_it_is_done(cluster, role):
    leader = cluster.leader()
    node = leader if role == "leader" else other(cluster, leader)
    before, timeline = start_time(cluster, node), cluster.query(leader, "SELECT timeline_id FROM pg_control_checkpoint()")
    assert post(cluster, node, "/restart") == (200, "restarted successfully")
    cluster.wait(lambda: start_time(cluster, node) not in (None, before), 30, "it tells the new start")
    assert cluster.leader() is leader
    assert cluster.query(leader, "SELECT timeline_id FROM pg_control_checkpoint()") == timeline


def test_patronictl_restarts_all_members(cluster):
    code, text = cluster.patronictl("restart", cluster.scope, "--force")
    assert code == 0 and text.count("Success: restart on member") == 3, text


def test_scheduled_restart_is_shown_cancelled_and_done(cluster):
    leader = cluster.leader()
    node = other(cluster, leader)
    assert post(cluster, node, "/restart", method="DELETE") == (404, "no restarts are scheduled")
    later = {"schedule": in_seconds(3600), "postgres_version": "99.1"}
    assert post(cluster, node, "/restart", later) == (202, "Restart scheduled")
    assert post(cluster, node, "/restart", later) == (409, "Another restart is already scheduled")
    cluster.wait(lambda: json.loads(cluster.keys()[f"members/{node.name}"]).get("scheduled_restart", {})
                 .get("schedule") == later["schedule"], 30, "the member key says so")
    code, text = cluster.patronictl("flush", cluster.scope, "restart", "--force")
    assert code == 0 and f"Success: flush scheduled restart for member {node.name}" in text, text
    before = start_time(cluster, node)
    assert post(cluster, node, "/restart", {"schedule": in_seconds(2)})[0] == 202
    cluster.wait(lambda: start_time(cluster, node) not in (None, before), 30, "it is restarted in time")


def test_scheduled_restart_outlives_the_agent(cluster):
    node = other(cluster, cluster.leader())
    assert post(cluster, node, "/restart", {"schedule": in_seconds(3600)})[0] == 202
    cluster.wait(lambda: "scheduled_restart" in cluster.keys()[f"members/{node.name}"], 30, "the member key says so")
    pid = node.agent_pid()
    os.kill(pid, signal.SIGKILL)
    cluster.wait(lambda: node.agent_pid() not in (None, pid), 30, "another agent runs")
    cluster.wait(lambda: "scheduled_restart" in (cluster.rest(node, "/patroni")[1] or ""), 30, "it still knows")
    assert post(cluster, node, "/restart", method="DELETE") == (200, "scheduled restart deleted")


# -- reinitialize ----------------------------------------------------------------------------------------------------


def test_patronictl_reinitializes_a_standby_whose_data_is_set_aside(cluster):
    node = other(cluster, cluster.leader())
    inode = os.stat(node.data_dir).st_ino
    code, text = cluster.patronictl("reinit", cluster.scope, node.name, "--force")
    assert code == 0 and f"Success: reinitialize for member {node.name}" in text, text
    cluster.wait(lambda: os.path.exists(node.data_dir) and os.stat(node.data_dir).st_ino != inode, 30, "a new copy")
    cluster.wait_whole(PATIENCE_S)
    assert [e.name for e in os.scandir(node.dir) if e.name.startswith("data.reinitialized.")]


def test_reinitialize_removes_the_old_data_only_when_asked_to(cluster):
    leader = cluster.leader()
    node = other(cluster, leader)

    def kept():
        return {e.name for e in os.scandir(node.dir) if e.name.startswith("data.reinitialized.")}

    before, inode = kept(), os.stat(node.data_dir).st_ino
    status, text = post(cluster, node, "/reinitialize", {"remove": True, "from_leader": True})
    assert (status, text) == (200, "reinitialize started")
    status, text = post(cluster, node, "/reinitialize")
    assert status == 503 and text.endswith("already in progress")
    cluster.wait(lambda: os.path.exists(node.data_dir) and os.stat(node.data_dir).st_ino != inode, 30, "a new copy")
    cluster.wait_whole(PATIENCE_S)
    assert kept() == before


def test_standby_that_stands_still_does_not_hold_up_a_switchover(cluster):
    leader = cluster.leader()
    to = other(cluster, leader)
    frozen = other(cluster, leader, to).postgres_pids()
    with Watch(cluster) as watch:
        for pid in frozen:
            os.kill(pid, signal.SIGSTOP)
        try:
            watch.strike(leader)
            assert post(cluster, leader, "/switchover", {"leader": leader.name, "candidate": to.name})[0] == 200
            cluster.wait(lambda: sum(a.node == to.name for a in watch.acks()) > 20, 30, "the new leader is written to")
        finally:
            for pid in frozen:
                os.kill(pid, signal.SIGCONT)
        outcome = watch.outcome()
    assert outcome.lost == 0 and outcome.window_ms <= 0
    assert outcome.gap_ms < 15000, "it waited for the budget of the stop"
    cluster.wait_whole(PATIENCE_S)


# -- pause -----------------------------------------------------------------------------------------------------------


def test_in_pause_a_lost_leader_is_not_replaced(paused):
    leader = paused.leader()
    leader.signal_all(signal.SIGKILL)
    paused.wait(lambda: paused.leader() is None, 30, "its lease runs out")
    status, text = paused.rest(other(paused, leader), "/patroni")
    assert status == 200 and json.loads(text)["role"] == "replica"
    with pytest.raises(Exception):
        paused.wait(lambda: paused.leader() is not None, 4, "somebody leads")
    leader.start()


def test_in_pause_what_is_stopped_by_hand_stays_stopped_until_resume(cluster):
    leader = cluster.leader()
    node = other(cluster, leader)
    set_pause(cluster, True)
    try:
        assert pg_ctl(node, "stop", "-m", "fast").returncode == 0
        cluster.wait(lambda: '"state": "stopped"' in cluster.rest(node, "/patroni")[1] or
                     '"state": "crashed"' in cluster.rest(node, "/patroni")[1], 30, "it is known to be down")
        with pytest.raises(Exception):
            cluster.wait(node.postmaster_pid, 4, "it is started")
    finally:
        set_pause(cluster, None)
    cluster.wait(node.postmaster_pid, 30, "it is started after the pause")


def test_in_pause_a_switchover_goes_to_its_candidate_and_the_old_leader_follows(paused):
    leader = paused.leader()
    to = other(paused, leader)
    assert post(paused, leader, "/switchover", {"leader": leader.name}) == \
        (400, "Switchover is possible only to a specific candidate in a paused state")
    assert post(paused, leader, "/switchover", {"leader": leader.name, "candidate": to.name})[0] == 200
    paused.wait_whole(PATIENCE_S)
    assert paused.leader() is to


def test_in_pause_a_standby_promoted_by_hand_gets_the_free_key(paused):
    leader = paused.leader()
    node = other(paused, leader)
    assert pg_ctl(leader, "stop", "-m", "fast").returncode == 0
    paused.wait(lambda: paused.leader() is None, 30, "a leader that was stopped loses the key")
    assert pg_ctl(node, "promote", "-W").returncode == 0
    paused.wait(lambda: paused.leader() is node and paused.accepts_writes(node), 30, "it leads")


def test_in_pause_a_second_primary_is_still_not_allowed(paused):
    leader = paused.leader()
    node = other(paused, leader)
    assert pg_ctl(node, "promote", "-W").returncode == 0
    paused.wait(lambda: not node.postmaster_pid() or not paused.accepts_writes(node), 30, "it is stopped")
    assert paused.leader() is leader and paused.accepts_writes(leader)


def test_orderly_stop_hands_over_with_proof(cluster):
    leader = cluster.leader()
    with Watch(cluster) as watch:
        keeper = leader.keeper_pid()
        os.kill(keeper, signal.SIGTERM)
        cluster.wait(lambda: cluster.leader() not in (None, leader), 30, "another leads")
        new = cluster.leader()
        cluster.wait(lambda: sum(a.node == new.name for a in watch.acks()) > 20, 30, "the new leader is written to")
        outcome = watch.outcome()
    assert outcome.lost == 0 and outcome.window_ms <= 0
    cluster.wait(lambda: not leader.keeper_pid(), 30, "the old one has ended")
    leader.start()
    cluster.wait_whole(PATIENCE_S)
