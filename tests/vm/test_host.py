"""The leader's host itself: its disk, its kernel, its clock, its service manager."""

import pytest
from machine import payload


def freeze(trial):
    """From now on who writes to the data disk hangs where no signal reaches it."""
    trial.guest.check("fsfreeze -f /data")
    trial.cluster.wait(lambda: trial.guest.run("ps -C postgres -o stat= | grep -q D")[0] == 0, 30,
                       "a backend hangs on the frozen disk")


@pytest.mark.long
def test_frozen_disk_and_stopped_agent_resets_the_machine(trial):
    """The keeper kills, but cannot prove that the killed are dead."""
    freeze(trial)
    trial.strike(f"kill -STOP {trial.agent}")
    assert trial.wait_reset(trial.ttl) <= trial.ttl
    trial.wait_successor()
    trial.finish(reset=True)
    assert trial.fence_report()["rung"] == "starve"


@pytest.mark.long
def test_frozen_disk_and_no_store_resets_the_machine(trial):
    """The agent demotes in time, but PostgreSQL does not stop."""
    freeze(trial)
    trial.strike_outside(trial.vm.cut_store)
    assert trial.wait_reset(trial.ttl) <= trial.ttl
    trial.vm.heal()
    trial.wait_successor()
    trial.finish(reset=True)
    assert trial.fence_report()["rung"] == "starve"


@pytest.mark.long
def test_frozen_disk_alone_resets_the_machine_if_the_probe_may_fence(trial):
    """Nothing else is wrong: lease and processes are as they should be."""
    trial.restart_with('storage_probe: { mode = "fence"; interval = 1; };')
    freeze(trial)
    trial.strike("true")
    assert trial.wait_reset(4 * trial.ttl) <= 4 * trial.ttl
    trial.wait_successor()
    trial.finish(reset=True)
    assert trial.fence_report()["rung"] == "starve"


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
    assert trial.fence_report()["rung"] == "none"


@pytest.mark.long
def test_three_resets_within_an_hour_keep_the_machine_out_of_elections(trial):
    for _ in range(3):
        boots = trial.guest.boots
        trial.strike_outside(trial.machine.press_reset)
        trial.wait_successor()
        trial.guest.wait_boot(boots + 1, 300)
        trial.cluster.wait_whole(300)
        if trial.guest.run(f"test -e {trial.vm.paths.state}/*/fence-guard")[0] == 0:
            break
        trial.cluster.lead_with_vm()
    with trial.cluster.others_stopped():
        trial.hold(2 * trial.ttl + 10)
        assert trial.cluster.leader() is None, "a node that is reset again and again was elected"
        trial.guest.check("pgtetherctl -c /etc/pgtether/lab.conf clear-fence-guard")
        trial.cluster.wait(lambda: trial.cluster.leader() is trial.vm, 60, "the machine leads again")
    trial.finish(reset=True)


@pytest.mark.long
@pytest.mark.parametrize("step", ["+1 hour", "-1 hour"])
def test_clock_is_stepped(trial, step):
    trial.strike(f"date -s '{step}'")
    trial.hold(2 * trial.ttl)
    trial.finish(reset=False)
    trial.check_undisturbed()


@pytest.mark.long
def test_systemctl_stop_hands_over_at_once(trial):
    trial.strike("systemctl stop pgtether@lab")
    trial.wait_successor(5)
    trial.hold(trial.reset_time_s + 2)
    trial.guest.check("systemctl start pgtether@lab")
    outcome = trial.finish(reset=False)
    assert outcome.lost == 0


def check_taken_over(trial):
    """The next keeper is there, and nobody has noticed. With emulation a program takes seconds to start, and a service
    half of 8 s: then the lease may end in order, but not by a reset."""
    assert trial.vm.keeper_pid() not in (None, trial.keeper)
    if trial.ttl >= 30:
        trial.check_undisturbed()


# The watchdog's state, again and again: it ticks all the time.
WATCH_TICKING = ("systemd-run -q --collect --unit=ticking sh -c 'while [ ! -e /run/enough ]; do"
                 " cat /sys/class/watchdog/watchdog0/state; sleep 0.02; done >/run/ticking'; ")


def check_ticking(trial):
    seen = trial.guest.check("touch /run/enough; while systemctl is-active -q ticking; do sleep 0.1; done;"
                             " sort /run/ticking | uniq -c; rm /run/enough").split()
    assert seen[1:] == ["active"] and int(seen[0]) > 50, f"the watchdog was {seen}"


@pytest.mark.long
def test_systemctl_restart_disturbs_nobody(trial):
    trial.guest.check(WATCH_TICKING)
    trial.strike("systemctl restart pgtether@lab")
    trial.hold(trial.ttl)
    if trial.ttl >= 30:
        check_ticking(trial)
    outcome = trial.finish(reset=False)
    assert outcome.lost == 0
    check_taken_over(trial)


@pytest.mark.parametrize("package", [payload.NEWER, pytest.param(payload.PACKAGE, marks=pytest.mark.long)],
                         ids=["newer", "same"])
@pytest.mark.long
def test_package_upgrade_disturbs_nobody(trial, package):
    trial.guest.check(WATCH_TICKING)
    trial.strike(f"dpkg -i {package}")
    trial.hold(trial.ttl)
    if trial.ttl >= 30:
        check_ticking(trial)
    outcome = trial.finish(reset=False)
    assert outcome.lost == 0
    check_taken_over(trial)


@pytest.mark.long
def test_systemctl_reload_disturbs_nobody(trial):
    trial.strike("systemctl reload pgtether@lab")
    trial.hold(trial.ttl)
    trial.finish(reset=False)
    trial.check_undisturbed()
    assert trial.vm.keeper_pid() == trial.keeper
