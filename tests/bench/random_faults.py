#!/usr/bin/python3
"""Random faults in a row in a synchronous mode: nothing that was acknowledged may be lost, nor two nodes acknowledge.

    tests/bench/random_faults.py                            a hundred, in quorum mode, of all kinds
    tests/bench/random_faults.py --faults 20 --seed 7 --mode on
Each strikes the leader (two times of three) or another member, is healed, and the cluster must be whole again before the
next. All the time a client of each node writes unique values; what was acknowledged is looked for after each fault.
Prints each fault as it goes and a table at the end; ends with 1 when something was lost, two nodes acknowledged at a
time, or the cluster did not heal.
"""

import argparse
import os
import random
import signal
import statistics
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "system"))

from lab import faults  # noqa: E402
from lab.cluster import Cluster, NotReady, Timing  # noqa: E402

LOGS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "system", "logs")


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--faults", type=int, default=100)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--mode", choices=["quorum", "on", "off"], default="quorum")
    p.add_argument("--timing", default="5/1/1", metavar="TTL/LOOP_WAIT/RETRY_TIMEOUT")
    p.add_argument("--build", help="where the programs are")
    return p.parse_args()


def choose(rng, cluster):
    """(fault, victim or None for the leader)"""
    fault = rng.choice([f for f in faults.ALL if faults.can_run(cluster, f)])
    if fault.busy or fault.name.startswith("store-") or rng.random() < 2 / 3:
        return fault, None
    leader = cluster.leader()
    return fault, rng.choice([n for n in cluster.nodes if n is not leader])


def report(results, began):
    print(f"\n{'fault':22} {'runs':>4} {'window ms':>9} {'lost':>5} {'acked':>8} {'gap s median':>12} {'max':>7}")
    for name in sorted(results):
        of_fault = [r.outcome for r in results[name]]
        gaps = [o.gap_ms / 1000 for o in of_fault]
        print(f"{name:22} {len(of_fault):4} {max(o.window_ms for o in of_fault):9.0f} {sum(o.lost for o in of_fault):5} "
              f"{sum(o.acked for o in of_fault):8} {statistics.median(gaps):12.2f} {max(gaps):7.2f}")
    every = [r.outcome for rs in results.values() for r in rs]
    print(f"{len(every)} faults in {(time.monotonic() - began) / 60:.0f} minutes: {sum(o.lost for o in every)} of "
          f"{sum(o.acked for o in every)} acknowledged writes lost, two primaries for "
          f"{max(0, max(o.window_ms for o in every)):.0f} ms at most")
    return any(o.lost or o.window_ms > 0 for o in every)


def main():
    for sig in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(sig, lambda number, _: sys.exit(128 + number))
    args = arguments()
    rng, results, began, bad = random.Random(args.seed), {}, time.monotonic(), False
    mode = {"off": False, "on": True}.get(args.mode, args.mode)
    cluster = Cluster.create(timing=Timing(*map(int, args.timing.split("/"))), label="random", programs=args.build,
                             dcs_settings={"synchronous_mode": mode})
    try:
        cluster.wait_whole()
        for i in range(args.faults):
            fault, victim = choose(rng, cluster)
            try:
                result = faults.run(cluster, fault, victim=victim)
            except NotReady as e:
                where = os.path.abspath(os.path.join(LOGS, f"random-{args.seed}-{i}"))
                cluster.save_logs(where)
                print(f"{i + 1:4} {fault.name}: {e}; logs in {where}", flush=True)
                bad = True
                break
            results.setdefault(fault.name, []).append(result)
            print(f"{i + 1:4} {result.line()}", flush=True)
    finally:
        cluster.destroy()
    return 1 if (report(results, began) if results else True) or bad else 0


if __name__ == "__main__":
    sys.exit(main())
