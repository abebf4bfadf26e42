"""One scenario: the machine leads, something is done to it, and what becomes of that is judged from outside.

Witnesses are the writers' records, the store, and qemu's events; nothing the machine says about itself counts, except
where a test asks for it on purpose.
"""

import json
import re
import threading

from lab.cluster import NotReady
from lab.sysproc import now_us
from lab.watch import Watch

from .addresses import AddressWatch
from .guest import GuestGone

SLACK_S = 2  # between what must be and what is seen: polling, and a machine that is ten times slower than a real one

BOOT_S = 300  # 20 s on an idle host, but CI hosts are not idle, and being slow to boot is nobody's fault


class Trial:
    # Until the next boot.
    NO_RESTART = ("mkdir -p /run/systemd/system/pgtether@lab.service.d &&"
                  " printf '[Service]\\nRestart=no\\n' >/run/systemd/system/pgtether@lab.service.d/no-restart.conf &&"
                  " systemctl daemon-reload")

    def __init__(self, cluster):
        self.cluster, self.vm = cluster, cluster.vm
        self.machine, self.guest = cluster.machine, cluster.guest
        self.ttl = cluster.timing.ttl
        self.watch = None
        self.begin_us = self.struck_us = self.deadline_us = None
        self.handed_over = False  # in good order: a reset after that is another matter
        self.changed = False  # the machine's configuration
        self._prepare()

    def _prepare(self):
        self.lost_key_us = None  # when the leader key was first seen not to be the machine's
        self._ended = threading.Event()
        self._store_watch = threading.Thread(target=self._watch_store, daemon=True)

    def __enter__(self):
        self._start()
        return self

    def _start(self, **options):
        self.boots = self.guest.boots
        self.begin_us = now_us()
        self.postmaster, self.keeper, self.agent = self.vm.postmaster_pid(), self.vm.keeper_pid(), self.vm.agent_pid()
        status, timeout = self.guest.run("cat /sys/class/watchdog/watchdog0/timeout")
        self.reset_time_s = int(timeout) if status == 0 else 0
        self.boot_id = self.guest.boot_id
        self.watch = Watch(self.cluster, **options)
        self.watch.__enter__()
        self.addresses = AddressWatch(self.cluster.net, self.cluster.address, self.cluster.net.address(0))
        self._store_watch.start()
        self.cluster.wait(lambda: self.addresses.last_us(self.machine.mac, now_us()), 30, "the machine has the address")

    def __exit__(self, *_):
        self._ended.set()
        if self._store_watch.is_alive():
            self._store_watch.join()
        self.vm.heal()
        self.watch.stop()
        self.addresses.stop()
        if self.changed:
            self.vm.reconfigure(self.vm.config_text())

    def _watch_store(self):
        while not self._ended.wait(0.05):
            keys = self.cluster.keys()
            if keys is not None and keys.get("leader") != self.vm.name and self.lost_key_us is None:
                self.lost_key_us = now_us()

    def restart_with(self, setting, before="true"):
        """This setting of the configuration is another one from now on, until the trial ends; the machine leads again."""
        name = setting.partition(":")[0]
        self.changed = True
        text = re.sub(rf"^{name}: .*$", "", self.vm.config_text(), flags=re.M) + setting + "\n"
        self.watch.stop()
        self.addresses.stop()
        self._ended.set()
        self._store_watch.join()
        self.guest.check(f"systemctl stop pgtether@lab; {before}", timeout=120)
        self.vm.reconfigure(text)
        self.cluster.lead_with_vm()
        self._prepare()
        self._start()

    # -- striking ----------------------------------------------------------------------------------------------------

    def strike_keeper(self, command):
        """For what keeps the keeper from renewing: afterwards its will says when the lease ends (fence/will.c)."""
        will = f"/run/pgtether/{self.cluster.scope}-{self.vm.name}/keeper.state"
        self.watch.strike(self.vm)
        output = self.guest.check(f"{command}; cut -d' ' -f1 /proc/uptime; od -An -t u8 -j 80 -N 8 {will}")
        self.struck_us = now_us()
        uptime, deadline_us = output.split()
        # What was read before the answer came counts from then: that makes the deadline late by the time this took.
        self.deadline_us = self.struck_us + int(deadline_us) - int(float(uptime) * 1e6)

    def strike(self, command, timeout=60):
        """Runs it in the machine. What it says is done is done before struck_us."""
        self.watch.strike(self.vm)
        self.struck_us = self.vm.strike(command, timeout)

    def strike_outside(self, act):
        self.watch.strike(self.vm)
        act()
        self.struck_us = now_us()

    def strike_fatal(self, command):
        """For what the machine does not live to report."""
        self.watch.strike(self.vm)
        self.guest.start(command)
        self.struck_us = now_us()

    def begin_busy(self, seconds):
        """A statement that computes that long on the machine, then inserts."""
        self.watch.stop()
        self.watch = Watch(self.cluster, busy_on=self.vm, busy_seconds=seconds)
        self.watch.__enter__()

    # -- looking -----------------------------------------------------------------------------------------------------

    def hold(self, seconds):
        """Lets time pass: for what must not happen."""
        end_us = now_us() + int(seconds * 1e6)
        self.cluster.wait(lambda: now_us() >= end_us, seconds + 5, "time passes")

    def wait_reset(self, within_s):
        """The watchdog fires. Returns how many seconds after the strike."""
        self.cluster.wait(lambda: self.machine.watchdog_resets(self.struck_us), within_s + SLACK_S,
                          "the watchdog resets the machine")
        return (self.machine.watchdog_resets(self.struck_us)[0] - self.struck_us) / 1e6

    def wait_successor(self, timeout=None):
        self.cluster.wait(lambda: self.cluster.leader() not in (None, self.vm), timeout or self.ttl + 15,
                          "another node leads")

    def wait_writes(self, timeout=60):
        since = now_us()
        self.cluster.wait(lambda: self.watch.writes_since(since) > 50, timeout, "writes are accepted")

    def was_reset(self):
        """By anybody."""
        return bool(self.machine.resets(self.begin_us))

    def last_ack_us(self):
        """Of the reign that was struck; the machine may have been elected again since."""
        mine = [a for a in self.watch.acks() if a.node == self.vm.name]
        timeline = min((a.timeline for a in mine), default=0)
        return max((a.acked_us for a in mine if a.timeline == timeline), default=0)

    # -- judging -----------------------------------------------------------------------------------------------------

    def finish(self, reset):
        """Waits until all is well again. What holds in every scenario is asserted here; `reset` says if one was due."""
        try:
            if self.was_reset():
                self.guest.wait_boot(self.boots + 1, BOOT_S)
        except GuestGone as e:
            raise NotReady(str(e)) from None
        self.cluster.wait_whole(BOOT_S + 4 * self.ttl)
        self.wait_writes()
        self._ended.set()
        self._store_watch.join()
        outcome = self.watch.outcome()
        print(f"{outcome.line()}; {self.story()}")
        assert not self.addresses.doubles(), "two nodes had the virtual address"
        assert outcome.window_ms == 0, "two nodes acknowledged writes at the same time"
        assert self.was_reset() == reset, "the machine was reset" if self.was_reset() else "the machine was not reset"
        if self.lost_key_us:
            assert self.last_ack_us() <= self.lost_key_us, "a write was acknowledged after the lease had ended"
            for us in self.machine.watchdog_resets(self.begin_us) if not self.handed_over else []:
                assert us <= self.lost_key_us, "the reset came after the lease had ended"
            # Elected again it has the address again, by right; that no two have it at once is asserted above.
            if self.cluster.leader() is not self.vm:
                assert self.last_answer_us() <= self.lost_key_us, \
                    "the virtual address was there after the lease had ended"
        return outcome

    def check_undisturbed(self):
        """Nobody noticed: the same PostgreSQL, the same lease, and the address where it was."""
        assert self.lost_key_us is None, "the lease was lost"
        assert self.vm.postmaster_pid() == self.postmaster, "PostgreSQL was restarted"
        tenures = self.addresses.tenures()
        assert len(tenures) == 1 and tenures[0].gap_us < 1_000_000, f"the address did not stay: {tenures}"

    def last_answer_us(self):
        return self.addresses.last_us(self.machine.mac, self.struck_us)

    def fence_report(self):
        """What the machine says about the reset, once it is up again: the same in the list and over REST."""
        report = {}

        def there():
            _, text = self.cluster.rest(self.vm, "/patroni")
            try:
                report.update(json.loads(text).get("fence_report") or {})
            except ValueError:
                pass
            return report.get("boot_id") == self.boot_id and "Fence report of " + self.vm.name in self.vm.ctl("list")
        self.cluster.wait(there, 60, "the machine reports its reset", interval=0.5)
        return report

    def check_margin(self):
        """A reset of a keeper that stands still: at most R and 2 s after the last pet, and before the deadline."""
        reset_us = self.machine.watchdog_resets(self.struck_us)[0]
        print(f"reset {(reset_us - self.struck_us) / 1e6:.2f} s after the strike, R {self.reset_time_s} s,"
              f" {(self.deadline_us - reset_us) / 1e6:.2f} s before the deadline")
        assert reset_us - self.struck_us <= (self.reset_time_s + 2) * 1e6
        assert reset_us <= self.deadline_us, "the reset came after the deadline"

    def story(self):
        def since(us):
            return f"{(us - self.struck_us) / 1e6:.2f} s"
        parts = [f"reset after {since(us)}" for us in self.machine.watchdog_resets(self.begin_us)]
        if self.lost_key_us:
            parts.append(f"lease ended after {since(self.lost_key_us)}")
        if self.last_ack_us():
            parts.append(f"last write of the machine after {since(self.last_ack_us())}")
        return ", ".join(parts)
