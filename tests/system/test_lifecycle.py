"""Starts, stops and failures in a row: what a node does with a PostgreSQL that is frozen, slow or gone."""

import signal
import time

from lab import sysproc


def freeze_postgres(node):
    """The postmaster first, so that nothing is forked behind our back."""
    stopped = [node.postmaster_pid()]
    sysproc.send(stopped[0], signal.SIGSTOP)
    while True:
        more = [pid for pid in node.postgres_pids() if pid not in stopped]
        if not more:
            return stopped
        for pid in more:
            sysproc.send(pid, signal.SIGSTOP)
        stopped += more


def test_frozen_postgres_adopted_by_a_new_agent_loses_the_leader_key(cluster):
    """What is left after a service manager has replaced a keeper whose host had stood still."""
    leader = cluster.wait_whole()
    agent = leader.agent_pid()
    struck = time.monotonic()
    stopped = freeze_postgres(leader)
    sysproc.send(agent, signal.SIGKILL)
    cluster.wait(lambda: leader.agent_pid() not in (None, agent), 10, "the keeper starts a new agent")
    # It counts as hung after 15 s without an answer; then a stop, a proof and an election.
    cluster.wait(lambda: cluster.leader() not in (None, leader), 40, "another node leads")
    print(f"another node led after {time.monotonic() - struck:.1f} s")
    assert not [pid for pid in stopped if sysproc.Process(pid).alive], "the frozen PostgreSQL was proven dead before"
    successor = cluster.leader()
    cluster.wait(lambda: cluster.accepts_writes(successor), 20, "the successor accepts writes")
    cluster.wait_whole()
