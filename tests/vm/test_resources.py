"""The leader's host runs out of something: disk, processor, memory, its watchdog. All of it takes long."""

import pytest

pytestmark = pytest.mark.long


def test_data_disk_is_full(trial):
    """PostgreSQL panics when it cannot write its log, and cannot start again: another node leads, nothing is reset."""
    trial.strike("fallocate -l 10G /data/filler 2>/dev/null;"
                 " dd if=/dev/zero of=/data/filler2 bs=1M 2>/dev/null; test $(df --output=avail /data | tail -1) -lt 64")
    try:
        trial.wait_successor(120)
    finally:
        trial.guest.check("rm -f /data/filler /data/filler2")
    trial.finish(reset=False)


def test_data_disk_becomes_read_only(trial):
    """What ext4 does after an error of the disk."""
    trial.strike("echo 'as the kernel does it' >/sys/fs/ext4/vdb/trigger_fs_error; mount -o remount,ro /data ||"
                 " mount | grep ' /data ' | grep -q '[(,]ro[,)]'")
    trial.wait_successor(120)
    trial.guest.check("systemctl stop pgtether@lab; umount /data; e2fsck -fp /dev/vdb; mount /data &&"
                      " systemctl start pgtether@lab", timeout=120)
    trial.finish(reset=False)


def test_memory_runs_out(trial):
    """A process that takes all memory is killed; the keeper, locked in memory, does not even notice."""
    trial.strike("tail /dev/zero; true", )
    trial.hold(trial.ttl)
    trial.finish(reset=False)


def test_real_time_hogs_on_every_processor(trial):
    """With the kernel's usual share for others the node lives, or it is demoted; what never runs cannot harm."""
    trial.strike("for i in $(seq $(nproc)); do systemd-run -q --collect -p CPUSchedulingPolicy=fifo"
                 " -p CPUSchedulingPriority=50 -p RuntimeMaxSec=%d sh -c 'while :; do :; done'; done" % (2 * trial.ttl))
    trial.hold(2 * trial.ttl + 5)
    trial.finish(reset=trial.was_reset())


def test_watchdog_held_by_another_program(trial):
    """Required, but not to be had: this node does not lead, and is not reset either while the other program pets."""
    trial.strike("systemctl stop pgtether@lab; systemd-run -q --collect --unit=holder sh -c"
                 " 'exec 3>/dev/watchdog; while sleep 0.5; do echo >&3; [ -e /run/let-go ] && printf V >&3 && exit; done';"
                 " systemctl start pgtether@lab")
    trial.wait_successor(15)
    leader = trial.cluster.wait_whole(180)
    others = [n for n in trial.cluster.nodes if n not in (trial.vm, leader)]
    assert leader is not trial.vm
    assert "watchdog" in trial.guest.check("systemctl status --no-pager -n 200 pgtether@lab")
    trial.guest.check("touch /run/let-go; while systemctl is-active -q holder; do sleep 0.2; done; rm /run/let-go;"
                      " systemctl restart pgtether@lab")
    assert others
    trial.finish(reset=False)


def test_load_resets_nobody(trial):
    """Clients, processor and disk as busy as they get: the lease is kept, and nothing is reset."""
    seconds = 120
    trial.strike("su postgres -c 'export PGHOST=/run/postgresql; /usr/lib/postgresql/15/bin/pgbench -q -i -s 2 postgres'"
                 " >/dev/null 2>&1", timeout=180)
    load = trial.guest.start(
        f"systemd-run -q --collect -p RuntimeMaxSec={seconds} sh -c 'while :; do dd if=/dev/zero of=/data/load bs=1M"
        " count=64 conv=fsync 2>/dev/null; done';"
        f"systemd-run -q --collect -p RuntimeMaxSec={seconds} sh -c 'while :; do :; done';"
        f" su postgres -c 'export PGHOST=/run/postgresql; /usr/lib/postgresql/15/bin/pgbench -c 4 -T {seconds} postgres'")
    status, output = trial.guest.result(load, seconds + 120)
    print(output)
    assert status == 0
    trial.guest.check("rm -f /data/load")
    trial.finish(reset=False)
    assert trial.lost_key_us is None
