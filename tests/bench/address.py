#!/usr/bin/python3
"""How long a virtual address is gone when it moves: ours and vip-manager's, side by side in the same clusters.

    tests/bench/address.py                     ten hand-overs and five losses of the leader's host
    tests/bench/address.py --runs 3 hand-over
A client with a warm ARP cache pings both addresses every 2 ms. Per move and address:
  gone      from the last answer of the old holder to the first one of the new
  election  from the new leader's name in the store to the first answer of the new holder
  write     from the new primary's first acknowledged write to the first answer of the new holder
vip-manager (apt-get install vip-manager) reads the old API of etcd, so the leader key is copied there every 5 ms.
A lost host is unplugged and all of its processes are killed; it comes back as after a boot, without the addresses.
"""

import argparse
import http.client
import json
import os
import signal
import statistics
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "system"))

from lab import address, etcd, net, sysproc  # noqa: E402
from lab.cluster import Cluster, Timing  # noqa: E402
from lab.sysproc import now_us  # noqa: E402
from lab.watch import Watch  # noqa: E402

VIP_MANAGER = "/usr/bin/vip-manager"
MIRROR_S = 0.005


class Mirror(threading.Thread):
    """Copies the leader key to the old API, and notes when it changed."""

    def __init__(self, cluster):
        super().__init__(daemon=True)
        self.cluster, self.running = cluster, True
        self.changes = []  # (at_us, name)
        self.start()

    def run(self):
        last = ""
        while self.running:
            keys = self.cluster.keys()
            if keys is not None and keys.get("leader") != last:
                last = keys.get("leader")
                self.changes.append((now_us(), last))
                self.copy(last)
            time.sleep(MIRROR_S)

    def copy(self, name):
        path = f"/v2/keys/service/{self.cluster.scope}/leader"
        for n in self.cluster.store:
            try:
                with net.inside(self.cluster.net.client):
                    c = http.client.HTTPConnection(n.address, etcd.CLIENT_PORT, timeout=0.5)
                    c.connect()
                c.request("PUT" if name else "DELETE", path, f"value={name}" if name else None,
                          {"Content-Type": "application/x-www-form-urlencoded"})
                status = c.getresponse().status
                c.close()
                if status < 500:
                    return
            except (OSError, http.client.HTTPException):
                continue

    def elected_us(self, name, since_us):
        return next((at for at, who in self.changes if who == name and at >= since_us), None)


def their_address(cluster):
    return f"{cluster.net.subnet}.102"


def start_vip_manager(cluster, node):
    endpoints = ",".join(f"http://{n.address}:{etcd.CLIENT_PORT}" for n in cluster.store)
    argv = [VIP_MANAGER, "--ip", their_address(cluster), "--netmask", "24", "--interface", "eth0", "--trigger-key",
            f"/service/{cluster.scope}/leader", "--trigger-value", node.name, "--dcs-endpoints", endpoints,
            "--interval", "1000"]
    with net.inside(node.namespace), open(f"{node.dir}/vip-manager.log", "ab") as log:
        cluster.children.append(subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                                                 start_new_session=True))


def hand_over(cluster, node):
    sysproc.send(node.keeper_pid(), signal.SIGTERM)
    cluster.wait(lambda: not node.keeper_pid(), 30, "the leader's daemon ends")


def hand_over_back(_, node):
    node.start_agent()


def lose_host(cluster, node):
    with net.inside(cluster.net.switch):
        net.run("ip", "link", "set", f"p{node.number}", "down")
    node.kill_all()


def host_back(cluster, node):
    with net.inside(node.namespace):
        for a in (cluster.vip(), their_address(cluster)):
            net.run("ip", "addr", "del", f"{a}/24", "dev", "eth0", check=False)
    with net.inside(cluster.net.switch):
        net.run("ip", "link", "set", f"p{node.number}", "up")
    node.start()
    start_vip_manager(cluster, node)


MOVES = {"hand-over": (hand_over, hand_over_back, 10), "host-loss": (lose_host, host_back, 5)}


def measure(cluster, mirror, strike, back):
    old = cluster.wait_whole()
    addresses = {"ours": cluster.vip(), "vip-manager": their_address(cluster)}
    cluster.wait(lambda: all(address.holders(cluster, a) == [old.name] for a in addresses.values()), 30, "both are there")
    row = {}
    with Watch(cluster) as watch:
        pingers = {who: address.Prober(cluster, a, f"{watch.dir}/ping-{who}", 2, "lab.pinger")
                   for who, a in addresses.items()}
        try:
            cluster.wait(lambda: all(len(p.answers()) > 100 for p in pingers.values()), 10, "both answer")
            watch.strike(old)
            since_us = now_us()
            strike(cluster, old)
            cluster.wait(lambda: cluster.leader() not in (None, old), 30, "somebody else leads")
            new = cluster.leader()
            cluster.wait(lambda: all(sum(n == new.name for _, n in p.answers()) > 100 for p in pingers.values()), 30,
                         "the new leader answers for both")
            written_us = min(a.acked_us for a in watch.acks(since_us) if a.node == new.name)
            elected_us = mirror.elected_us(new.name, since_us)
            for who, p in pingers.items():
                answers = p.answers()
                first_us = min(at for at, n in answers if n == new.name)
                last_us = max(at for at, n in answers if n == old.name)
                row[who] = {"gone": (first_us - last_us) / 1000, "election": (first_us - elected_us) / 1000,
                            "write": (first_us - written_us) / 1000}
        finally:
            for p in pingers.values():
                p.stop()
    back(cluster, old)
    cluster.wait_whole()
    return row


def table(name, rows):
    print(f"\n{name}, {len(rows)} times; ms, median (max)")
    print(f"{'':10} {'ours':>16} {'vip-manager':>16} {'ratio':>7}")
    for what in ("gone", "election", "write"):
        cells = [[r[who][what] for r in rows] for who in ("ours", "vip-manager")]
        medians = [statistics.median(c) for c in cells]
        ratio = f"{medians[1] / medians[0]:7.1f}" if medians[0] > 0 else "      -"
        print(f"{what:10} " + " ".join(f"{m:7.0f} ({max(c):6.0f})" for m, c in zip(medians, cells)) + f" {ratio}",
              flush=True)


def main():
    for sig in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(sig, lambda number, _: sys.exit(128 + number))
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--runs", type=int)
    p.add_argument("--build", help="where the programs are")
    p.add_argument("--json", metavar="FILE")
    p.add_argument("moves", nargs="*", choices=[*MOVES, []], metavar="MOVE")
    args = p.parse_args()
    cluster = Cluster.create(timing=Timing(5, 1, 1), label="bench-address", programs=args.build, vips=("primary",),
                             etcd_options=("--enable-v2=true",))
    mirror, raw = None, {}
    try:
        cluster.wait_whole()
        mirror = Mirror(cluster)
        for n in cluster.nodes:
            start_vip_manager(cluster, n)
        for name in args.moves or MOVES:
            strike, back, runs = MOVES[name]
            raw[name] = [measure(cluster, mirror, strike, back) for _ in range(args.runs or runs)]
            table(name, raw[name])
    finally:
        if mirror:
            mirror.running = False
            mirror.join()
        cluster.destroy()
        if args.json:
            with open(args.json, "w") as f:
                json.dump(raw, f, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
