#!/usr/bin/python3
"""Memory (PSS) and CPU of keeper and agent when the cluster is idle.

    tests/bench/resources.py [--agent patroni] [--timing 30/10/10] [SECONDS]
"""

import argparse
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "system"))

from lab.cluster import Cluster, Timing  # noqa: E402

TICKS = os.sysconf("SC_CLK_TCK")


def pss_kib(pid):
    with open(f"/proc/{pid}/smaps_rollup") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("Pss:"))


def cpu_ns(pid):
    """Of all threads, with the scheduler's precision where it keeps statistics (ticks are too coarse for an idle one)."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{task}/schedstat") as f:
                total += int(f.read().split()[0])
        except OSError:
            with open(f"/proc/{pid}/task/{task}/stat") as f:
                fields = f.read().rpartition(")")[2].split()
            total += (int(fields[11]) + int(fields[12])) * 1_000_000_000 // TICKS
    return total


def report(cluster, seconds):
    """Lines per node; returns (largest agent PSS, largest keeper PSS in KiB, largest share of a core in percent)."""
    watched = {n.name: (n, [p for p in (n.keeper_pid(), n.agent_pid()) if p]) for n in cluster.nodes}
    before = {name: sum(map(cpu_ns, pids)) for name, (_, pids) in watched.items()}
    began = time.monotonic()
    time.sleep(seconds)
    elapsed = time.monotonic() - began
    leader = cluster.leader()
    worst = [0, 0, 0.0]
    for name, (node, pids) in watched.items():
        share = (sum(map(cpu_ns, pids)) - before[name]) / 1e7 / elapsed
        agent = pss_kib(node.agent_pid())
        keeper = pss_kib(node.keeper_pid()) if node.keeper_pid() else 0
        worst = [max(worst[0], agent), max(worst[1], keeper), max(worst[2], share)]
        print(f"{name} {'leader ' if node is leader else 'replica'} agent {agent / 1024:.1f} MB, keeper "
              f"{keeper / 1024:.1f} MB (PSS), both {share:.3f} % of a core over {elapsed:.0f} s idle", flush=True)
    return tuple(worst)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--agent", choices=["pgtether", "patroni"], default="pgtether")
    p.add_argument("--timing", default="30/10/10")
    p.add_argument("--build")
    p.add_argument("seconds", nargs="?", type=int, default=60)
    args = p.parse_args()
    cluster = Cluster.create(args.agent, 3, Timing(*map(int, args.timing.split("/"))), "bench", args.build)
    try:
        cluster.wait_whole()
        report(cluster, args.seconds)
    finally:
        cluster.destroy()


if __name__ == "__main__":
    main()
