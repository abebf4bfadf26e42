"""Pings an address without a pause through the kernel and its ARP cache, and records which station answered.

Runs as a process of its own in the client namespace: `python3 -m lab.pinger ADDRESS FILE [INTERVAL_MS]`.
Unlike the prober it sees what a client sees: until somebody corrects its cache it asks the old holder.
Lines of FILE: `R at_us mac`.
"""

import os
import select
import signal
import socket
import struct
import sys

from .prober import INTERFACE
from .sysproc import now_us

ETH_P_IP = 0x0800
ECHO, ECHO_REPLY = 8, 0


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xffff)
    return ~(total + (total >> 16)) & 0xffff


def echo(ident, sequence):
    head = struct.pack("!BBHHH", ECHO, 0, 0, ident, sequence & 0xffff)
    return struct.pack("!BBHHH", ECHO, 0, checksum(head), ident, sequence & 0xffff)


def station_of(frame, address, ident):
    """The MAC that a reply to us came from, None when it is something else."""
    if len(frame) < 42 or frame[12:14] != b"\x08\0" or frame[23] != socket.IPPROTO_ICMP or frame[26:30] != address:
        return None
    at = 14 + (frame[14] & 15) * 4
    if len(frame) < at + 8 or frame[at] != ECHO_REPLY or struct.unpack("!H", frame[at + 4:at + 6])[0] != ident:
        return None
    return frame[6:12].hex(":")


def main():
    address, interval_us = socket.inet_aton(sys.argv[1]), int(float(sys.argv[3]) * 1000) if len(sys.argv) > 3 else 2000
    ident, sequence = os.getpid() & 0xffff, 0
    running = [True]
    signal.signal(signal.SIGTERM, lambda *_: running.clear())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as out, \
            socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_IP)) as wire, \
            open(sys.argv[2], "w", buffering=1) as f:
        out.setblocking(False)
        wire.bind((INTERFACE, ETH_P_IP))
        due_us = now_us()
        while running:
            if now_us() >= due_us:
                sequence += 1
                try:
                    out.sendto(echo(ident, sequence), (sys.argv[1], 0))
                except OSError:
                    pass  # nobody answers ARP
                due_us = now_us() + interval_us
            if select.select([wire], [], [], max(0, due_us - now_us()) / 1e6)[0]:
                mac = station_of(wire.recv(256), address, ident)
                if mac:
                    f.write(f"R {now_us()} {mac}\n")


if __name__ == "__main__":
    main()
