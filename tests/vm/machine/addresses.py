"""Who answers for the virtual address: asked by ARP from the client, without a pause and without any cache."""

import dataclasses
import json
import select
import socket
import struct
import threading

from lab import net
from lab.sysproc import now_us

_ETH_P_ARP = 0x0806
_EVERY_US = 50_000
# Two nodes that answer the same question answer in turns; a reign, with a promotion between it and the next, is longer.
_TURN_US = 500_000


@dataclasses.dataclass
class Answer:
    us: int
    mac: str


@dataclasses.dataclass
class Tenure:
    """One node's answers, with no other node's in between."""

    mac: str
    first_us: int
    last_us: int
    gap_us: int = 0  # the longest time without one


class AddressWatch:
    def __init__(self, network, address, own):
        with net.inside(network.client):
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ARP))
            self._socket.bind(("eth0", _ETH_P_ARP))
        mac = self._socket.getsockname()[4]
        self._address = socket.inet_aton(address)
        # Ethernet header and request: RFC 826
        self._question = (b"\xff" * 6 + mac + struct.pack("!HHHBBH", _ETH_P_ARP, 1, 0x0800, 6, 4, 1) + mac
                          + socket.inet_aton(own) + bytes(6) + self._address)
        self.answers = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    def _ask(self):
        next_us = now_us()
        while not self._ended.is_set():
            if now_us() >= next_us:
                self._socket.send(self._question)
                next_us = now_us() + _EVERY_US
            readable, _, _ = select.select([self._socket], [], [], max(next_us - now_us(), 0) / 1e6)
            if readable:
                self._take(self._socket.recv(2048))

    def _take(self, frame):
        """Replies to us; announcements are replies to everybody."""
        if len(frame) >= 42 and frame[20:22] == b"\0\2" and frame[28:32] == self._address \
                and frame[:6] == self._question[6:12]:
            self.answers.append(Answer(now_us(), frame[22:28].hex(":")))

    def stop(self):
        self._ended.set()
        self._thread.join()
        self._socket.close()

    def tenures(self):
        found = []
        for a in list(self.answers):
            if found and found[-1].mac == a.mac:
                t = found[-1]
                t.gap_us, t.last_us = max(t.gap_us, a.us - t.last_us), a.us
            else:
                found.append(Tenure(a.mac, a.us, a.us))
        return found

    def doubles(self):
        """When another node than before answered, and the one before did again: both had the address."""
        tenures = self.tenures()
        return [b for a, b, c in zip(tenures, tenures[1:], tenures[2:])
                if a.mac == c.mac and c.first_us - a.last_us < _TURN_US]

    def last_us(self, mac, before_us):
        """The last answer of the tenure of that node that had begun by then; 0 if there was none."""
        return max((t.last_us for t in self.tenures() if t.mac == mac and t.first_us <= before_us), default=0)


def mac_of(namespace):
    with net.inside(namespace):
        return json.loads(net.run("ip", "-j", "link", "show", "eth0"))[0]["address"]
