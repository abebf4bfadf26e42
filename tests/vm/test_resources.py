"""The leader's host lacks something: its watchdog, disk space, memory, processors."""

import pytest
from lab.cluster import NotReady

pytestmark = pytest.mark.long

# No driver at all, not the one in software either.
TAKE_WATCHDOG = "systemctl mask -q --runtime --now pgtether-softdog; modprobe -r i6300esb; test ! -e /dev/watchdog"
GIVE_WATCHDOG = "modprobe i6300esb; systemctl unmask -q --runtime pgtether-softdog"
HOLD_WATCHDOG = ("systemd-run -q --collect --unit=holder sh -c 'exec 3>/dev/watchdog; while sleep 0.5; do echo >&3;"
                 " [ -e /run/let-go ] && printf V >&3 && exit; done'")
RELEASE_WATCHDOG = "touch /run/let-go; while systemctl is-active -q holder; do sleep 0.2; done; rm /run/let-go"


@pytest.mark.parametrize("take, give", [(TAKE_WATCHDOG, GIVE_WATCHDOG), (HOLD_WATCHDOG, RELEASE_WATCHDOG)],
                         ids=["missing", "busy"])
def test_no_watchdog_where_one_is_required(trial, take, give):
    """This node does not lead, says why, and is not reset."""
    trial.strike(f"systemctl stop pgtether@lab; {take}; systemctl start --no-block pgtether@lab")
    trial.wait_successor(15)
    assert trial.cluster.wait_whole(180) is not trial.vm
    assert "could not" in trial.guest.check("journalctl -b -o cat -u pgtether@lab | grep -i 'watchdog' | tail -5")
    with trial.cluster.others_stopped():
        trial.hold(2 * trial.ttl)
        assert trial.cluster.leader() is None, "a node without the watchdog it requires was elected"
        trial.guest.check(give)
    trial.finish(reset=False)


def lead_without_watchdog(trial, take):
    trial.restart_with('watchdog: { mode = "automatic"; };', before=take)
    assert "watchdog" in trial.guest.check("systemctl show -p StatusText --value pgtether@lab")
    assert trial.guest.run("test -e /dev/watchdog && grep -q '^active' /sys/class/watchdog/watchdog0/state &&"
                           " ! systemctl is-active -q holder")[0] != 0, "the watchdog ticks"


def test_stop_of_everything_without_a_watchdog_reaches_no_client(trial):
    """Nothing resets this host. What is thawed after the lease, PostgreSQL and all, has no address and no way out."""
    try:
        lead_without_watchdog(trial, TAKE_WATCHDOG)
        trial.guest.check(trial.NO_RESTART)  # its WatchdogSec= would end the keeper, and the next one the rest
        trial.strike("pkill -STOP -x 'postgres|pgtether-.*|pgtetherd'")
        trial.wait_successor()
        trial.hold(trial.ttl)
        trial.guest.check("pkill -CONT -x postgres")
        trial.hold(trial.ttl / 2)
        trial.guest.check("pkill -CONT -x 'pgtether-.*|pgtetherd'; true")
        trial.guest.check("rm -r /run/systemd/system/pgtether@lab.service.d; systemctl daemon-reload;"
                          " systemctl restart --no-block pgtether@lab")
        trial.finish(reset=False)
    finally:
        trial.guest.check(GIVE_WATCHDOG)


def test_watchdog_is_busy_where_it_is_optional(trial):
    try:
        lead_without_watchdog(trial, HOLD_WATCHDOG)
        trial.strike(f"kill -STOP {trial.keeper} {trial.agent}")
        trial.wait_successor()
        trial.hold(trial.ttl / 2)
        trial.guest.check(f"kill -CONT {trial.keeper} {trial.agent}")
        trial.finish(reset=False)
    finally:
        trial.guest.check(RELEASE_WATCHDOG)


def test_watchdog_fails_under_a_leader(trial):
    """Its driver goes away: every pet fails. Leadership is handed over, unless the device still ticks and resets."""
    trial.strike("cd /sys/bus/pci/drivers/i6300esb && echo 0000:*:* >/run/esb && cut -d' ' -f1 /run/esb >unbind")
    trial.wait_successor()
    trial.hold(trial.ttl)
    reset = trial.was_reset()
    if not reset:
        trial.guest.check("cut -d' ' -f1 /run/esb >/sys/bus/pci/drivers/i6300esb/bind; systemctl restart pgtether@lab")
    trial.finish(reset=reset)


def test_data_disk_is_full(trial):
    """Writes fail, or PostgreSQL panics and another node leads; either way nobody is reset and nothing is lost."""
    trial.strike("dd if=/dev/zero of=/data/filler bs=1M 2>/dev/null; dd if=/dev/zero of=/data/filler2 bs=4k 2>/dev/null;"
                 " test $(df --output=avail /data | tail -1) -lt 64", timeout=180)
    try:
        trial.hold(2 * trial.ttl)
        assert not trial.was_reset()
    finally:
        trial.guest.check("rm -f /data/filler /data/filler2")
    outcome = trial.finish(reset=False)
    assert outcome.lost == 0


def test_data_disk_becomes_read_only(trial):
    """What ext4 does after an error of the disk."""
    trial.strike("mount -o remount,errors=remount-ro /data;"
                 " echo 'as the kernel does it' >/sys/fs/ext4/$(basename $(findmnt -no SOURCE /data))/trigger_fs_error;"
                 " ! touch /data/writable 2>/dev/null")
    trial.wait_successor(60 + trial.ttl)
    trial.hold(trial.ttl)
    assert not trial.was_reset()
    trial.guest.check("systemctl stop pgtether@lab; d=$(findmnt -no SOURCE /data); umount /data; e2fsck -fp $d; mount /data"
                      " && systemctl start --no-block pgtether@lab", timeout=180)
    trial.finish(reset=False)


def test_memory_runs_out(trial):
    """Who takes all memory is killed; the keeper, locked in memory, does not even notice."""
    trial.strike("systemd-run -q --wait --collect -p OOMPolicy=kill tail /dev/zero; true", timeout=120)
    trial.hold(trial.ttl)
    trial.finish(reset=False)
    assert trial.vm.postmaster_pid() == trial.postmaster or trial.lost_key_us


def test_real_time_hogs_on_every_processor(trial):
    """With the kernel's usual share for others the node lives, or is demoted, or reset: never is there a second primary."""
    trial.strike("for i in $(seq $(nproc)); do systemd-run -q --collect -p CPUSchedulingPolicy=fifo"
                 " -p CPUSchedulingPriority=50 -p RuntimeMaxSec=%d sh -c 'while :; do :; done'; done" % (2 * trial.ttl))
    try:
        trial.hold(2 * trial.ttl + 5)
    except NotReady:
        pass
    trial.finish(reset=trial.was_reset())
