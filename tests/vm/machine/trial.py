"""One scenario: the machine leads, something is done to it, and what becomes of that is judged from outside.

Witnesses are the writers' records, the store, and qemu's events; nothing the machine says about itself counts, except
where a test asks for it on purpose.
"""

import threading

from lab.cluster import NotReady
from lab.sysproc import now_us
from lab.watch import Watch

from .guest import GuestGone

SLACK_S = 2  # between what must be and what is seen: polling, and a machine that is ten times slower than a real one

BOOT_S = 300  # 20 s on an idle host, but CI hosts are not idle, and being slow to boot is nobody's fault


class Trial:
    def __init__(self, cluster):
        self.cluster, self.vm = cluster, cluster.vm
        self.machine, self.guest = cluster.machine, cluster.guest
        self.ttl = cluster.timing.ttl
        self.watch = None
        self.begin_us = self.struck_us = None
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
        self.reset_time_s = int(self.guest.check("cat /sys/class/watchdog/watchdog0/timeout"))
        self.watch = Watch(self.cluster, **options)
        self.watch.__enter__()
        self._store_watch.start()

    def __exit__(self, *_):
        self._ended.set()
        self._store_watch.join()
        self.vm.heal()
        self.watch.stop()

    def _watch_store(self):
        while not self._ended.wait(0.05):
            keys = self.cluster.keys()
            if keys is not None and keys.get("leader") != self.vm.name and self.lost_key_us is None:
                self.lost_key_us = now_us()

    # -- striking ----------------------------------------------------------------------------------------------------

    def strike(self, command):
        """Runs it in the machine. What it says is done is done before struck_us."""
        self.watch.strike(self.vm)
        self.struck_us = self.vm.strike(command)

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
        assert outcome.window_ms == 0, "two nodes acknowledged writes at the same time"
        assert self.was_reset() == reset, "the machine was reset" if self.was_reset() else "the machine was not reset"
        if self.lost_key_us:
            assert self.last_ack_us() <= self.lost_key_us, "a write was acknowledged after the lease had ended"
            for us in self.machine.watchdog_resets(self.begin_us):
                assert us <= self.lost_key_us, "the reset came after the lease had ended"
        return outcome

    def story(self):
        def since(us):
            return f"{(us - self.struck_us) / 1e6:.2f} s"
        parts = [f"reset after {since(us)}" for us in self.machine.watchdog_resets(self.begin_us)]
        if self.lost_key_us:
            parts.append(f"lease ended after {since(self.lost_key_us)}")
        if self.last_ack_us():
            parts.append(f"last write of the machine after {since(self.last_ack_us())}")
        return ", ".join(parts)
