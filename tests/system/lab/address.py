"""Watches a virtual address: who answers for it, and what a client that writes through it is told.

A tenure is the time during which one node answers without a longer silence. Two tenures of different nodes must not
overlap. For the writer a reign is a timeline, whoever answered: a promotion always begins a new one.
"""

import dataclasses
import os
import socket
import subprocess
import sys

from . import net, prober
from .prober import read_answer as prober_answer
from .sysproc import now_us
from .watch import Ack, Reign, Watch, reigns_of

SILENCE_US = 300_000  # a busy machine may let this pass between two answers of the same holder


@dataclasses.dataclass
class Tenure:
    node: str
    first_us: int
    last_us: int


def tenures_of(answers, silence_us=SILENCE_US):
    """answers: (at_us, node), in any order."""
    done, current = [], {}
    for at_us, node in sorted(answers):
        t = current.get(node)
        if t and at_us - t.last_us <= silence_us:
            t.last_us = at_us
        else:
            current[node] = Tenure(node, at_us, at_us)
            done.append(current[node])
    return done


def overlap_us(tenures):
    """The longest time two nodes answered; a single answer within another's tenure counts as 1."""
    worst = 0
    for i, a in enumerate(tenures):
        for b in tenures[i + 1:]:
            if a.node != b.node:
                worst = max(worst, min(a.last_us, b.last_us) - max(a.first_us, b.first_us) + 1)
    return worst


def mac_of(namespace):
    with net.inside(namespace):
        return net.run("ip", "-o", "link", "show", "eth0").split("link/ether ")[1].split()[0]


def holders(cluster, address):
    """The names of the nodes on whose interface the address is."""
    found = []
    for n in cluster.nodes:
        with net.inside(n.namespace):
            if f" {address}/" in net.run("ip", "-o", "-4", "addr", "show", "dev", "eth0"):
                found.append(n.name)
    return found


def claim_once(namespace, address):
    """Another host says that the address is its own."""
    with net.inside(namespace), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as s:
        s.bind((prober.INTERFACE, 0))
        s.send(prober.claim(prober.own(prober.SIOCGIFHWADDR), socket.inet_aton(address)))


class Prober:
    """Who answers for the address, from start() to stop()."""

    def __init__(self, cluster, address, path, interval_ms=5, module="lab.prober"):
        self.path = path
        self.names = {mac_of(n.namespace): n.name for n in cluster.nodes}
        here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        with net.inside(cluster.net.client):
            self.process = subprocess.Popen([sys.executable, "-m", module, address, path, str(interval_ms)],
                                            cwd=here, stdin=subprocess.DEVNULL, start_new_session=True)

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait()

    def _lines(self, kind):
        try:
            with open(self.path) as f:
                words = [line.split() for line in f if line.endswith("\n")]
        except FileNotFoundError:
            return []
        return [(int(w[1]), self.names.get(w[2], w[2])) for w in words if w[0] == kind]

    def answers(self):
        return self._lines("R")

    def claims(self):
        return self._lines("C")

    def last_answer_us(self, node):
        return max((at for at, name in self.answers() if name == node), default=0)


class AddressWatch(Watch):
    """Watch, and beside its writers one that knows only the address, and a prober."""

    def __init__(self, cluster, address, **options):
        super().__init__(cluster, **options)
        self.address = address
        self.prober = None

    def __enter__(self):
        super().__enter__()
        try:
            self.prober = Prober(self.cluster, self.address, f"{self.dir}/arp")
            self._add_writer("address", self.address, 99)
            self.cluster.wait(lambda: len(self.address_acks()) > 20 and len(self.prober.answers()) > 20, 30,
                              "the address is answered for, and written through")
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self):
        if self.prober:
            self.prober.stop()
        super().stop()

    def acks(self, since_us=0):
        return [a for a in super().acks(since_us) if a.node != "address"]

    def address_acks(self, since_us=0):
        return [a for a in super().acks(since_us) if a.node == "address"]

    def tenures(self):
        return tenures_of(self.prober.answers())

    def address_reigns(self):
        """By timeline, since the writer does not know who answered."""
        return reigns_of([dataclasses.replace(a, node=f"timeline {a.timeline}") for a in self.address_acks()])

    def last_ack_us(self, timeline):
        return max((a.acked_us for a in self.address_acks() if a.timeline == timeline), default=0)

    def address_outcome(self):
        """Call after outcome(): what the address went through."""
        acks = self.address_acks()
        kept = {i for i, in self.cluster.query(self.cluster.leader(), "SELECT id FROM lab_writes WHERE run = %s",
                                               (self.run,))}
        tenures = self.tenures()
        silent = [b.first_us - a.last_us for a, b in zip(tenures, tenures[1:])]
        return AddressOutcome(overlap_us(tenures), tenures, self.address_reigns(), sum(a.id not in kept for a in acks),
                              max(silent, default=0) / 1000)


@dataclasses.dataclass
class AddressOutcome:
    overlap_us: int  # two nodes answered for it
    tenures: list
    reigns: list  # of its writer
    lost: int
    silence_ms: float  # the longest time between two tenures


__all__ = ["Ack", "AddressWatch", "Prober", "Reign", "Tenure", "claim_once", "holders", "mac_of", "now_us", "overlap_us",
           "prober_answer", "tenures_of"]
