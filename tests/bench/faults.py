#!/usr/bin/python3
"""Every fault many times, with the product or the reference: windows, losses, gaps; then memory and CPU when idle.

    tests/bench/faults.py                                       both timings, every fault of the catalogue ten times
    tests/bench/faults.py --agent patroni --timing 20/1/3       the reference (its ttl cannot go below 20)
    tests/bench/faults.py --timing 5/1/1 --runs 3 cut-off       some of it
Prints a table per timing; --json FILE keeps every single run.
"""

import argparse
import dataclasses
import json
import os
import signal
import statistics
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "system"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import resources  # noqa: E402
from lab import faults  # noqa: E402
from lab.cluster import Cluster, NotReady, Timing  # noqa: E402

HEAD = f"{'fault':22} {'runs':>4} {'window ms':>9} {'lost':>6} {'gap s min':>9} {'median':>7} {'max':>7} {'whole s':>7}"


def main():
    for sig in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(sig, lambda number, _: sys.exit(128 + number))
    args = arguments()
    raw, bad = [], False
    for text in args.timing:
        timing = Timing(*map(int, text.split("/")))
        print(f"\n{args.agent}, ttl {timing.ttl}, loop_wait {timing.loop_wait}, retry_timeout {timing.retry_timeout}")
        cluster = Cluster.create(args.agent, 3, timing, "bench", args.build)
        try:
            cluster.wait_whole()
            print(HEAD, flush=True)
            for name in args.faults or [f.name for f in faults.ALL]:
                fault = faults.BY_NAME[name]
                if not faults.can_run(cluster, fault):
                    print(f"{name:22} needs a keeper")
                    continue
                cluster, results = repeat(args, cluster, fault, timing, raw)
                bad = summary(fault, results) or bad
            if args.idle:
                cluster.wait_whole()
                resources.report(cluster, args.idle)
        except KeyboardInterrupt:
            return 130
        finally:
            cluster.destroy()
            if args.json:
                with open(args.json, "w") as f:
                    json.dump(raw, f, indent=1)
    return 1 if bad else 0


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--agent", choices=["pgtether", "patroni"], default="pgtether")
    p.add_argument("--timing", action="append", metavar="TTL/LOOP_WAIT/RETRY_TIMEOUT")
    p.add_argument("--runs", type=int, default=10)
    p.add_argument("--build", help="where the programs are")
    p.add_argument("--json", metavar="FILE")
    p.add_argument("--idle", type=int, default=30, metavar="SECONDS", help="measure CPU when idle that long, 0: not")
    p.add_argument("faults", nargs="*", metavar="FAULT")
    args = p.parse_args()
    args.timing = args.timing or ["5/1/1", "30/10/10"]
    return args


def repeat(args, cluster, fault, timing, raw):
    results = []
    for run in range(args.runs):
        try:
            result = faults.run(cluster, fault)
            results.append(result)
            raw.append({"agent": args.agent, "timing": dataclasses.asdict(timing), **dataclasses.asdict(result)})
        except NotReady as e:
            where = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "system", "logs",
                                 f"bench-{fault.name}-{run}")
            cluster.save_logs(where)
            print(f"  {fault.name}: {e}; logs in {os.path.abspath(where)}", flush=True)
            results.append(None)
            cluster.destroy()
            cluster = Cluster.create(args.agent, 3, timing, "bench", args.build)
            cluster.wait_whole()
    return cluster, results


def summary(fault, results):
    """One line of the table; true when something happened that must not."""
    good = [r for r in results if r]
    if not good:
        print(f"{fault.name:22} {'0':>4} never healed")
        return True
    window = max(r.outcome.window_ms for r in good)
    lost = [r.outcome.lost for r in good]
    gaps = [r.outcome.gap_ms / 1000 for r in good]
    broken = len(results) - len(good)
    print(f"{fault.name:22} {len(good):4} {window:9.0f} {max(lost):6} {min(gaps):9.2f} {statistics.median(gaps):7.2f} "
          f"{max(gaps):7.2f} {max(r.whole_after_s for r in good):7.1f}"
          + (f"  {broken} times not healed" if broken else ""), flush=True)
    return window > 0 or broken > 0 or (fault.process_fault and max(lost) > 0)


if __name__ == "__main__":
    started = time.monotonic()
    code = main()
    print(f"\n{(time.monotonic() - started) / 60:.0f} minutes")
    sys.exit(code)
