"""Measures what clients live through: starts a writer per node, later reads what they recorded.

A reign is what one node acknowledged on one timeline: a promotion always begins a new timeline, a crash restart never
does. Two reigns of different nodes must not overlap: the overlap is the time two primaries accepted writes.
"""

import dataclasses
import os
import select
import subprocess
import sys
import threading

from . import net
from .sysproc import now_us

TABLE = """CREATE TABLE IF NOT EXISTS lab_writes (run int, id bigint, node text,
           at timestamptz DEFAULT clock_timestamp(), PRIMARY KEY (run, id))"""


@dataclasses.dataclass
class Ack:
    id: int
    sent_us: int
    acked_us: int
    timeline: int
    kind: str
    node: str


@dataclasses.dataclass
class Reign:
    node: str
    timeline: int
    first_us: int
    last_us: int
    writes: int


@dataclasses.dataclass
class Outcome:
    """Times in ms. window: how long two nodes acknowledged writes; gap: the longest time nobody did."""

    window_ms: float
    gap_ms: float
    lost: int
    acked: int
    unknown: int
    leader_before: str
    leader_after: str
    reigns: list
    busy: str  # "" none ran, "acknowledged", "failed"; what the client of the long statement was told
    dead_before_new_ms: float | None  # last process of the old primary died this long before the new one's first write

    def line(self):
        return (f"{self.leader_after} leads; no writes for {self.gap_ms / 1000:.2f} s; {self.lost} of {self.acked} "
                f"acknowledged writes lost; two nodes accepted writes for {self.window_ms:.0f} ms")


def reigns_of(acks):
    found = {}
    for a in acks:
        r = found.get((a.node, a.timeline))
        if r is None:
            found[a.node, a.timeline] = Reign(a.node, a.timeline, a.acked_us, a.acked_us, 1)
        else:
            r.first_us, r.last_us, r.writes = min(r.first_us, a.acked_us), max(r.last_us, a.acked_us), r.writes + 1
    return sorted(found.values(), key=lambda r: (r.timeline, r.first_us))


def window_us(reigns):
    """The longest overlap of two nodes' reigns."""
    worst = 0
    for i, a in enumerate(reigns):
        for b in reigns[i + 1:]:
            if a.node != b.node:
                worst = max(worst, min(a.last_us, b.last_us) - max(a.first_us, b.first_us))
    return worst


def gap_us(acks, begin_us, end_us):
    """The longest time without an acknowledgement in [begin, end]."""
    times = sorted([begin_us, end_us] + [a.acked_us for a in acks if begin_us <= a.acked_us <= end_us])
    return max(b - a for a, b in zip(times, times[1:]))


class Deaths:
    """Notes when the last of these processes died, to the millisecond."""

    def __init__(self, pids):
        self.last_us = None
        self.fds = []
        for pid in pids:
            try:
                self.fds.append(os.pidfd_open(pid))
            except OSError:
                pass
        if self.fds:
            threading.Thread(target=self._wait, daemon=True).start()

    def _wait(self):
        poll = select.poll()
        for fd in self.fds:
            poll.register(fd, select.POLLIN)
        left = set(self.fds)
        while left:
            for fd, _ in poll.poll():
                poll.unregister(fd)
                left.discard(fd)
                os.close(fd)
        self.last_us = now_us()


class Watch:
    _runs = 0

    def __init__(self, cluster, busy_on=None, busy_seconds=8):
        self.cluster = cluster
        Watch._runs += 1
        self.run = (os.getpid() % 100000) * 10000 + Watch._runs
        self.busy_on, self.busy_seconds = busy_on, busy_seconds
        self.dir = f"{cluster.dir}/watch-{self.run}"
        self.writers = []
        self.offsets = {}
        self.lines = {}
        self.fault_us = None
        self.deaths = None
        self.victim = None

    def __enter__(self):
        leader = self.cluster.leader()
        self.leader_before = leader.name
        self.cluster.query(leader, TABLE)
        os.makedirs(self.dir)
        for n in self.cluster.nodes:
            self._add_writer(n.name, n.address, n.number, self.busy_seconds if self.busy_on is n else None)
        try:
            self.cluster.wait(lambda: len(self.acks()) > 100, 30, "the writers write")
            if self.busy_on:
                self.cluster.wait(lambda: any(w[0] == "B" for w in self.lines[self.busy_on.name]), 10, "busy statement")
        except BaseException:
            self.stop()
            raise
        return self

    def _add_writer(self, name, host, number, busy_seconds=None):
        """Its acknowledgements carry the name as their node."""
        path = f"{self.dir}/{name}"
        here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        argv = [sys.executable, "-m", "lab.writer", host, str(self.run), str(number), path]
        if busy_seconds:
            argv.append(str(busy_seconds))
        open(path, "w").close()
        with net.inside(self.cluster.net.client):
            self.writers.append(subprocess.Popen(argv, cwd=here, stdin=subprocess.DEVNULL, start_new_session=True))
        self.offsets[name], self.lines[name] = 0, []

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        for w in self.writers:
            w.terminate()
        for w in self.writers:
            w.wait()
        self.writers = []
        self._read()

    def _read(self):
        for name in self.lines:
            with open(f"{self.dir}/{name}") as f:
                f.seek(self.offsets[name])
                text = f.read()
            whole = text.rfind("\n") + 1
            self.offsets[name] += len(text[:whole].encode())
            self.lines[name] += [line.split() for line in text[:whole].splitlines()]

    def acks(self, since_us=0):
        self._read()
        return [Ack(int(w[1]), int(w[2]), int(w[3]), int(w[4]), w[5], name)
                for name, words in self.lines.items() for w in words if w[0] == "A" and int(w[3]) >= since_us]

    def strike(self, victim):
        """Call just before the fault: notes the time, and when the victim's PostgreSQL processes die."""
        self.victim = victim
        self.deaths = Deaths(victim.postgres_pids())
        self.fault_us = now_us()

    def writes_since(self, since_us):
        return len(self.acks(since_us))

    def outcome(self):
        """Stops the writers and compares what they were told with what the leader has."""
        self.stop()
        end_us = now_us()
        acks = self.acks()
        leader = self.cluster.leader()
        kept = {i for i, in self.cluster.query(leader, "SELECT id FROM lab_writes WHERE run = %s", (self.run,))}
        lost = [a for a in acks if a.id not in kept]
        reigns = reigns_of(acks)
        busy_lines = [w for words in self.lines.values() for w in words]
        busy = ""
        if any(w[0] == "B" for w in busy_lines):
            busy = "acknowledged" if any(a.kind == "busy" for a in acks) else "failed"
        new = [r.first_us for r in reigns if self.victim and r.node != self.victim.name]
        dead_before = None
        if new and self.deaths and self.deaths.last_us:
            dead_before = (min(new) - self.deaths.last_us) / 1000
        last_us = max(a.acked_us for a in acks)
        return Outcome(window_us(reigns) / 1000, gap_us(acks, self.fault_us or 0, min(end_us, last_us)) / 1000,
                       len(lost), len(acks), sum(w[0] == "U" for w in busy_lines), self.leader_before,
                       leader.name if leader else "nobody", reigns, busy, dead_before)
