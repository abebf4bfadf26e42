"""The leader's host itself: its disk, its kernel, its clock, its service manager."""

import pytest


def freeze(trial):
    """From now on who writes to the data disk hangs where no signal reaches it."""
    trial.guest.check("fsfreeze -f /data")
    trial.cluster.wait(lambda: trial.guest.run("ps -C postgres -o stat= | grep -q D")[0] == 0, 30,
                       "a backend hangs on the frozen disk")


def test_frozen_disk_and_stopped_agent_resets_the_machine(trial):
    """The keeper kills, but cannot prove that the killed are dead."""
    freeze(trial)
    trial.strike(f"kill -STOP {trial.agent}")
    assert trial.wait_reset(trial.ttl) <= trial.ttl
    trial.wait_successor()
    trial.finish(reset=True)


@pytest.mark.long
def test_frozen_disk_and_no_store_resets_the_machine(trial):
    """The agent demotes in time, but PostgreSQL does not stop."""
    freeze(trial)
    trial.strike_outside(trial.vm.cut_store)
    assert trial.wait_reset(trial.ttl) <= trial.ttl
    trial.vm.heal()
    trial.wait_successor()
    trial.finish(reset=True)


@pytest.mark.long
def test_kernel_panic(trial):
    trial.strike_fatal("echo c >/proc/sysrq-trigger")
    assert trial.wait_reset(trial.reset_time_s) <= trial.reset_time_s + 2
    trial.wait_successor()
    trial.finish(reset=True)


@pytest.mark.long
def test_reset_button(trial):
    """A power failure: no watchdog has to do with it."""
    trial.strike_outside(trial.machine.press_reset)
    trial.wait_successor()
    trial.finish(reset=True)
    assert not trial.machine.watchdog_resets(trial.begin_us)


@pytest.mark.long
@pytest.mark.parametrize("step", ["+1 hour", "-1 hour"])
def test_clock_is_stepped(trial, step):
    trial.strike(f"date -s '{step}'")
    trial.hold(2 * trial.ttl)
    trial.finish(reset=False)
    assert trial.lost_key_us is None
    assert trial.vm.postmaster_pid() == trial.postmaster


def test_systemctl_stop_hands_over_at_once(trial):
    trial.strike("systemctl stop pgtether@lab")
    trial.wait_successor(5)
    trial.hold(trial.reset_time_s + 2)
    trial.guest.check("systemctl start pgtether@lab")
    outcome = trial.finish(reset=False)
    assert outcome.lost == 0


def test_systemctl_restart_loses_nothing(trial):
    trial.strike("systemctl restart pgtether@lab")
    trial.hold(trial.reset_time_s + 2)
    outcome = trial.finish(reset=False)
    assert outcome.lost == 0


@pytest.mark.long
def test_systemctl_reload_disturbs_nobody(trial):
    trial.strike("systemctl reload pgtether@lab")
    trial.hold(trial.ttl)
    trial.finish(reset=False)
    assert trial.lost_key_us is None
    assert (trial.vm.keeper_pid(), trial.vm.postmaster_pid()) == (trial.keeper, trial.postmaster)
