"""Keeper, agent and PostgreSQL of the leader are killed and stopped, in every combination."""

import pytest


def test_kill_of_the_agent_disturbs_nobody(trial):
    trial.strike(f"kill -KILL {trial.agent}")
    trial.cluster.wait(lambda: trial.vm.agent_pid() not in (None, trial.agent), 30, "the keeper starts another agent")
    trial.hold(trial.ttl)
    trial.finish(reset=False)
    trial.check_undisturbed()


def test_stop_of_the_agent_is_fenced_by_the_keeper(trial):
    """Whoever leads afterwards, the machine's standby again or another."""
    trial.strike(f"kill -STOP {trial.agent}")
    trial.cluster.wait(lambda: trial.vm.postmaster_pid() != trial.postmaster, trial.ttl, "PostgreSQL is killed")
    trial.cluster.wait(lambda: trial.lost_key_us, trial.ttl, "the lease ends")
    trial.finish(reset=False)
    assert trial.vm.agent_pid() not in (None, trial.agent)


@pytest.mark.long
def test_kill_of_the_keeper_leaves_postgresql_running(trial):
    trial.strike(f"kill -KILL {trial.keeper}")
    trial.cluster.wait(lambda: trial.vm.keeper_pid() not in (None, trial.keeper), 30, "systemd starts another keeper")
    trial.hold(trial.ttl)
    trial.finish(reset=False)
    trial.check_undisturbed()


@pytest.mark.long
def test_stop_of_the_keeper_resets_the_machine(trial):
    trial.strike(f"kill -STOP {trial.keeper}")
    assert trial.wait_reset(trial.reset_time_s) <= trial.reset_time_s + 2
    trial.wait_successor()
    trial.finish(reset=True)


@pytest.mark.long
def test_kill_of_keeper_and_agent_leaves_postgresql_running(trial):
    trial.strike(f"kill -KILL {trial.keeper} {trial.agent}")
    trial.cluster.wait(lambda: trial.vm.agent_pid() not in (None, trial.agent), 30, "systemd starts another keeper")
    trial.hold(trial.ttl)
    trial.finish(reset=False)
    trial.check_undisturbed()


@pytest.mark.long
def test_kill_of_keeper_and_agent_that_nobody_restarts_resets_the_machine(trial):
    trial.guest.check(trial.NO_RESTART)
    trial.strike(f"kill -KILL {trial.keeper} {trial.agent}")
    assert trial.wait_reset(trial.reset_time_s) <= trial.reset_time_s + 2
    trial.wait_successor()
    trial.finish(reset=True)


def test_stop_of_keeper_and_agent_resets_the_machine_in_time(trial):
    trial.strike_keeper(f"kill -STOP {trial.keeper} {trial.agent}")
    trial.wait_reset(trial.reset_time_s)
    trial.check_margin()
    trial.wait_successor()
    trial.finish(reset=True)
    assert trial.fence_report()["rung"] == "none"


@pytest.mark.long
def test_stop_of_everything_resets_the_machine_in_time(trial):
    trial.strike_keeper("pkill -STOP -x 'postgres|pgtether-.*|pgtetherd'")
    trial.wait_reset(trial.reset_time_s)
    trial.check_margin()
    trial.wait_successor()
    trial.finish(reset=True)


@pytest.mark.long
def test_kill_of_a_busy_postmaster_leaves_no_backend_that_commits(trial):
    trial.begin_busy(20)
    trial.strike(f"kill -KILL {trial.postmaster}")
    trial.hold(25)
    outcome = trial.finish(reset=False)
    assert outcome.busy == "failed"
