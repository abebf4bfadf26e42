"""Asks by ARP who has an address, without a pause, and records every answer: what the neighbours of the nodes see.

Runs as a process of its own in the client namespace: `python3 -m lab.prober ADDRESS FILE [INTERVAL_MS]`.
Every question is a broadcast, so all that have the address answer it, not only the one that a cache knows.
Lines of FILE: `R at_us mac` an answer, `C at_us mac` an announcement (the address claimed without a question).
"""

import fcntl
import select
import signal
import socket
import struct
import sys

from .sysproc import now_us

INTERFACE = "eth0"
ETH_P_ARP = 0x0806
REQUEST, REPLY = 1, 2
BROADCAST = b"\xff" * 6
SIOCGIFADDR, SIOCGIFHWADDR = 0x8915, 0x8927


def own(kind):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        answer = fcntl.ioctl(s, kind, struct.pack("256s", INTERFACE.encode()))
    return answer[20:24] if kind == SIOCGIFADDR else answer[18:24]


def question(mac, address, wanted):
    """From an address of our own: without one it would be the probe of somebody who wants to take it (RFC 5227)."""
    return (BROADCAST + mac + struct.pack("!HHHBBH", ETH_P_ARP, 1, 0x0800, 6, 4, REQUEST) + mac + address + bytes(6) +
            wanted)


def claim(mac, address):
    """What somebody says who takes an address that is another's: a gratuitous request."""
    return (BROADCAST + mac + struct.pack("!HHHBBH", ETH_P_ARP, 1, 0x0800, 6, 4, REQUEST) + mac + address + bytes(6) +
            address)


def read_answer(frame, wanted):
    """("R" or "C", mac), or None when it says nothing about the address."""
    if len(frame) < 42 or frame[28:32] != wanted:
        return None
    op, = struct.unpack("!H", frame[20:22])
    is_claim = frame[38:42] == wanted
    if op == REPLY:
        return ("C" if is_claim else "R"), frame[22:28].hex(":")
    return ("C", frame[22:28].hex(":")) if op == REQUEST and is_claim else None


def main():
    wanted, interval_us = socket.inet_aton(sys.argv[1]), int(float(sys.argv[3]) * 1000) if len(sys.argv) > 3 else 5000
    packet = question(own(SIOCGIFHWADDR), own(SIOCGIFADDR), wanted)
    running = [True]
    signal.signal(signal.SIGTERM, lambda *_: running.clear())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ARP)) as s, open(sys.argv[2], "w",
                                                                                           buffering=1) as out:
        s.bind((INTERFACE, ETH_P_ARP))
        due_us = now_us()
        while running:
            if now_us() >= due_us:
                s.send(packet)
                due_us = now_us() + interval_us
            if select.select([s], [], [], max(0, due_us - now_us()) / 1e6)[0]:
                answer = read_answer(s.recv(128), wanted)
                if answer:
                    out.write(f"{answer[0]} {now_us()} {answer[1]}\n")


if __name__ == "__main__":
    main()
