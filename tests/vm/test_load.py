"""Load is no reason to reset a machine: pgbench, every processor, the disk and the memory busy, for half an hour."""

import os

import pytest

MINUTES = float(os.environ.get("PGTETHER_LOAD_MINUTES", "30"))

LOADS = {
    "cpu": "for i in $(seq $(nproc)); do (while :; do :; done) & done; wait",
    "disk": "while :; do dd if=/dev/zero of=/data/load bs=1M count=64 conv=fsync 2>/dev/null; rm -f /data/load; done",
    # Half of what is free is taken, written, and given back, again and again.
    "memory": "while :; do perl -e 'open my $f, \"<\", \"/proc/meminfo\"; my ($kb) = map { /^MemAvailable:\\s+(\\d+)/ }"
              " <$f>; my $x = \"x\" x ($kb * 512); sleep 1'; done",
    "pgbench": "cd /tmp; b=$(ls -d /usr/lib/postgresql/*/bin); u='-h /run/postgresql -U postgres';"
               " until su postgres -c \"$b/pgbench -i -q -s 2 $u postgres\"; do sleep 1; done;"
               " while :; do su postgres -c \"$b/pgbench -n -c 4 -T 60 $u postgres\"; sleep 1; done",
}


@pytest.mark.long
def test_load_is_no_reason_to_reset(trial):
    for name, command in LOADS.items():
        trial.guest.check(f"cat >/run/load-{name} <<'END'\n{command}\nEND\n"
                          f"systemd-run -q --collect --unit=load-{name} sh /run/load-{name}")
    trial.strike("true")
    trial.hold(60 * (MINUTES if trial.ttl >= 30 else MINUTES / 6))
    for name in LOADS:
        trial.guest.check(f"systemctl stop load-{name}; true")
    trial.guest.check("rm -f /data/load")
    assert not trial.was_reset(), "the machine was reset under load"
    outcome = trial.finish(reset=False)
    assert outcome.lost == 0
