"""The package as it is installed: its service, what that may do, and what it shows of itself."""

import re

import pytest


def status_of(trial, process):
    """Fields of /proc/PID/status, and the user."""
    text = trial.guest.check(f"p=$(pgrep -o -x {process}) && ps -o user= -p $p && cat /proc/$p/status")
    user, _, fields = text.partition("\n")
    return user.strip(), dict(line.split(":\t", 1) for line in fields.splitlines() if ":\t" in line)


def test_service_is_what_it_says(trial):
    guest = trial.guest
    text = guest.check("systemctl status --no-pager -n 0 pgtether@lab")
    assert re.search(r'Status: "primary, lease valid for [0-9.]+ s, 1 address held, gate open, '
                     r'watchdog i6300ESB timer \d+ s"', text), text
    exposure = float(re.search(r"exposure level for .*: ([0-9.]+)",
                               guest.check("systemd-analyze security --no-pager pgtether@lab"))[1])
    print(f"exposure {exposure}")
    assert exposure <= 4.5
    assert "tcp sport 5432" in guest.check(f"nft list table inet pgtether_{trial.cluster.scope}_{trial.vm.name}")
    assert guest.check("stat -c '%U %a' /etc/pgtether/lab.conf /var/lib/pgtether").split() == \
        ["postgres", "600", "root", "1775"]
    assert trial.guest.check("systemctl show -p NFileDescriptorStore --value pgtether@lab").strip() == "1"


def test_privileges_are_what_architecture_says(trial):
    # KILL SETGID SETUID SETPCAP NET_ADMIN NET_RAW IPC_LOCK SYS_PTRACE, by their numbers in linux/capability.h
    keep = {"pgtetherd": sum(1 << n for n in (5, 6, 7, 8, 12, 13, 14, 19)), "pgtether-net": 1 << 12 | 1 << 13}
    for process in ("pgtetherd", "pgtether-net", "pgtether-agent", "pgtether-probe", "postgres"):
        user, status = status_of(trial, process)
        assert user == ("root" if process in keep else "postgres"), process
        assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == keep.get(process, 0), process
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2"), process
        if process not in keep:
            assert int(status["CapBnd"], 16) == 0, f"{process} could gain {status['CapBnd']}"
    assert "SCHED_RR" in trial.guest.check("chrt -p $(pgrep -o -x pgtetherd)")


@pytest.mark.long
def test_watchdog_is_tested_and_measured(trial):
    """R is not what the driver says but what was seen: see --really-reset in pgtetherd(8)."""
    program = "pgtetherd --test-watchdog -c /etc/pgtether/lab.conf"
    trial.strike("systemctl stop pgtether@lab")
    trial.handed_over = True
    trial.wait_successor(15)
    text = trial.guest.check(f"{program} --ttl 30")
    assert "i6300ESB" in text and "not measured yet" in text
    boots = trial.guest.boots
    trial.guest.start(f"{program} --ttl {trial.ttl} --really-reset --yes")
    trial.cluster.wait(lambda: trial.machine.watchdog_resets(trial.struck_us), 30, "the watchdog resets the machine")
    trial.guest.wait_boot(boots + 1, 300)
    trial.cluster.wait_whole(300)
    journal = trial.guest.check("journalctl -b --no-pager -o cat -u pgtether@lab")
    assert "measured: with a timeout of" in journal, journal
    text = trial.guest.check(f"{program} || true")
    measured = re.search(r"measured ([0-9.]+) s with a timeout of (\d+) s", text)
    assert measured, text
    print(f"measured {measured[1]} s with a timeout of {measured[2]} s")
    assert int(measured[2]) <= float(measured[1]) <= int(measured[2]) + 1
    trial.finish(reset=True)
    trial.guest.check("rm -f /var/lib/pgtether/reset-time")
