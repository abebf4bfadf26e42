#!/usr/bin/python3
"""Switchovers in a row under pgbench: how long nobody acknowledges a write, how long the address is gone, what is lost.

    tests/bench/switchover.py                    thirty, each to the next member
    tests/bench/switchover.py --runs 200 --clients 8
    tests/bench/switchover.py --agent patroni    the reference, with its own command
Per switchover:
  gap      from the last write that the old leader acknowledged to the first of the new one
  address  from the last answer of the virtual address's old holder to the first of the new one
  call     how long the request took, from asking to the answer
Writers on all nodes record what was acknowledged to them; at the end the leader must have all of it.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "system"))

from lab import address, net  # noqa: E402
from lab.cluster import Cluster, Timing  # noqa: E402
from lab.node import PG_BIN  # noqa: E402
from lab.sysproc import now_us  # noqa: E402
from lab.watch import Watch  # noqa: E402

BUCKETS_MS = (100, 200, 300, 400, 500, 750, 1000, 2000, 5000)


class Load:
    """pgbench on the leader; a switchover ends it, the next leader gets a new one."""

    def __init__(self, cluster, clients):
        self.cluster, self.clients, self.process = cluster, clients, None

    def _pgbench(self, node, *options):
        with net.inside(self.cluster.net.client):
            return subprocess.Popen([f"{PG_BIN}/pgbench", "-h", node.address, "-U", "postgres", "-n", *options, "postgres"],
                                    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def prepare(self, node):
        if self._pgbench(node, "-i", "-I", "dtGvp", "-s", "2").wait(120):
            raise SystemExit("pgbench could not make its tables")

    def on(self, node):
        self.stop()
        self.process = self._pgbench(node, "-c", str(self.clients), "-T", "3600")

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
        if self.process:
            self.process.wait()


def ask(cluster, old, new):
    if cluster.agent == "patroni":
        code, text = cluster.ctl("switchover", cluster.scope, "--master", old.name, "--candidate", new.name, "--force")
        return (200 if code == 0 and "Successfully" in text else 503), text
    body = json.dumps({"leader": old.name, "candidate": new.name})
    return cluster.rest(old, "/switchover", "POST", body, timeout=60)


def measure(cluster, watch, pinger, load):
    old = cluster.wait_whole()
    new = cluster.nodes[(cluster.nodes.index(old) + 1) % len(cluster.nodes)]
    load.on(old)
    begin_us = now_us()
    cluster.wait(lambda: sum(a.node == old.name for a in watch.acks(begin_us)) > 50, 30, "the old leader is written to")
    asked_us = now_us()
    status, text = ask(cluster, old, new)
    answered_us = now_us()
    if status != 200 or cluster.leader() is not new:
        raise SystemExit(f"switchover from {old.name} to {new.name}: {status} {text}")
    cluster.wait(lambda: sum(a.node == new.name for a in watch.acks(asked_us)) > 10, 30, "the new leader is written to")
    acks = watch.acks(begin_us)
    row = {"gap": (min(a.acked_us for a in acks if a.node == new.name) -
                   max(a.acked_us for a in acks if a.node == old.name)) / 1000,
           "call": (answered_us - asked_us) / 1000}
    if pinger:
        def answers(node):
            return [at for at, name in pinger.answers() if name == node.name and at >= begin_us]

        cluster.wait(lambda: answers(new), 30, "the address is answered for")
        row["address"] = (min(answers(new)) - max(answers(old))) / 1000
    return row


def histogram(values):
    low = 0
    for high in (*BUCKETS_MS, None):
        n = sum(low <= v and (high is None or v < high) for v in values)
        if n:
            print(f"  {low:5} .. {high if high else '':>5} ms {n:5}  {'#' * min(n, 60)}")
        low = high


def report(rows):
    print(f"{'ms':8} {'min':>7} {'median':>7} {'p95':>7} {'max':>7}")
    for what in ("gap", "address", "call"):
        values = sorted(r[what] for r in rows if what in r)
        if values:
            p95 = values[min(len(values) - 1, int(len(values) * 0.95))]
            print(f"{what:8} {values[0]:7.0f} {statistics.median(values):7.0f} {p95:7.0f} {values[-1]:7.0f}")
    print("gap:")
    histogram([r["gap"] for r in rows])


def main():
    for sig in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(sig, lambda number, _: sys.exit(128 + number))
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--runs", type=int, default=30)
    p.add_argument("--clients", type=int, default=4)
    p.add_argument("--agent", choices=("pgtether", "patroni"), default="pgtether")
    p.add_argument("--build", help="where the programs are")
    p.add_argument("--logs", default="/tmp/pgtether-switchover", help="where they are kept when something fails")
    p.add_argument("--json", metavar="FILE")
    args = p.parse_args()
    ours = args.agent == "pgtether"
    cluster = Cluster.create(args.agent, 3, Timing(20, 1, 3), "bench-switchover", args.build,
                             vips=("primary",) if ours else ())
    load, rows, pinger = Load(cluster, args.clients), [], None
    try:
        load.prepare(cluster.wait_whole())
        with Watch(cluster) as watch:
            if ours:
                pinger = address.Prober(cluster, cluster.vip(), f"{watch.dir}/ping", 2, "lab.pinger")
            for _ in range(args.runs):
                rows.append(measure(cluster, watch, pinger, load))
            load.stop()
            cluster.wait_whole()
            outcome = watch.outcome()
        print(f"{len(rows)} switchovers, {args.clients} pgbench clients: {outcome.lost} of {outcome.acked} acknowledged "
              f"writes lost, two nodes accepted writes for {max(0, outcome.window_ms):.0f} ms")
        report(rows)
        return 1 if outcome.lost or outcome.window_ms > 0 else 0
    except SystemExit:
        cluster.save_logs(args.logs)
        raise
    finally:
        load.stop()
        if pinger:
            pinger.stop()
        cluster.destroy()
        if args.json:
            with open(args.json, "w") as f:
                json.dump(rows, f, indent=1)


if __name__ == "__main__":
    sys.exit(main())
