"""python3 -m lab: a lab by hand.

    python3 -m lab up --ttl 5 --loop-wait 1 --retry-timeout 1    builds a cluster and leaves it up
    python3 -m lab up --agent patroni --ttl 20 --loop-wait 1     the same with the reference
    python3 -m lab list [--wait]                                 who is who, as the cluster's own command line says
    python3 -m lab fault                                         which faults there are
    python3 -m lab fault cut-off [--runs 10]                     breaks the leader, heals, prints the measure
    python3 -m lab strike cut-off / heal cut-off                 the two halves of a fault by hand, nothing measured
    python3 -m lab info                                          addresses, pids, directories and logs
    python3 -m lab sql "select 1" [--node n2]                    a query to the leader, or to a node
    python3 -m lab sh [--node n2] [-- COMMAND …]                 a shell in the client's (or a node's) network
    python3 -m lab start n1 / restart n1                         starts what does not run / kills all and starts
    python3 -m lab down [--all]                                  ends it
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time

from . import faults, net
from .cluster import Cluster, NotReady, Timing, states, sweep


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGHUP, lambda *_: sys.exit(129))
    args = parser().parse_args()
    try:
        return args.run(args) or 0
    except NotReady as e:
        print(f"lab: {e}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def parser():
    p = argparse.ArgumentParser(prog="python3 -m lab", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--id", type=int, help="which lab, when several are up")
    sub = p.add_subparsers(required=True, metavar="COMMAND")
    up = sub.add_parser("up", help="build a cluster and leave it up")
    add_cluster_options(up)
    up.add_argument("--label", default="", help="a name to find it by")
    up.add_argument("--no-wait", action="store_true", help="return while it bootstraps")
    up.set_defaults(run=do_up)
    ls = sub.add_parser("list", help="the cluster's own list")
    ls.add_argument("--wait", action="store_true", help="until the cluster is whole")
    ls.set_defaults(run=do_list)
    fault = sub.add_parser("fault", help="strike, heal, measure")
    fault.add_argument("name", nargs="?", choices=list(faults.BY_NAME), metavar="NAME")
    fault.add_argument("--runs", type=int, default=1)
    fault.add_argument("--node", help="the victim, if not the leader")
    fault.set_defaults(run=do_fault)
    for half in ("strike", "heal"):
        h = sub.add_parser(half, help=f"only the {half} of a fault")
        h.add_argument("name", choices=list(faults.BY_NAME), metavar="NAME")
        h.add_argument("--node", help="the victim; the leader unless given (heal: must be given)")
        h.set_defaults(run=do_half, half=half)
    sub.add_parser("info", help="addresses, pids, directories").set_defaults(run=do_info)
    sql = sub.add_parser("sql", help="a query")
    sql.add_argument("query")
    sql.add_argument("--node")
    sql.set_defaults(run=do_sql)
    sh = sub.add_parser("sh", help="a shell in the lab's network")
    sh.add_argument("--node")
    sh.add_argument("command", nargs="*")
    sh.set_defaults(run=do_shell)
    for name, what in (("start", "start what does not run"), ("restart", "kill all processes, then start")):
        s = sub.add_parser(name, help=what)
        s.add_argument("node")
        s.set_defaults(run=do_start, kill=name == "restart")
    down = sub.add_parser("down", help="end it")
    down.add_argument("--all", action="store_true", help="every lab of this machine")
    down.add_argument("--label", help="the lab with this label, if it is up")
    down.set_defaults(run=do_down)
    return p


def add_cluster_options(p):
    p.add_argument("--agent", choices=["pgtether", "patroni"], default="pgtether")
    p.add_argument("--size", type=int, default=3)
    p.add_argument("--ttl", type=int, default=5)
    p.add_argument("--loop-wait", type=int, default=1)
    p.add_argument("--retry-timeout", type=int, default=1)
    p.add_argument("--vip", action="append", choices=["primary", "replica"], help="with a virtual address for these")
    p.add_argument("--build", help="where the programs are (PGTETHER_BUILD, else build/)")


def do_up(args):
    timing = Timing(args.ttl, args.loop_wait, args.retry_timeout)
    c = Cluster.create(args.agent, args.size, timing, args.label, args.build, vips=args.vip or (), owned=True)
    if not args.no_wait:
        try:
            started = time.monotonic()
            leader = c.wait_whole()
            print(f"lab {c.id} is up after {time.monotonic() - started:.1f} s, {leader.name} leads")
        except NotReady as e:
            print(f"lab {c.id}: {e}; left as it is, see `info`", file=sys.stderr)
            c.disown()
            return 1
        except BaseException:
            c.destroy()
            raise
    c.disown()
    return 0


def do_list(args):
    c = Cluster.attach(args.id)
    if args.wait:
        c.wait_whole()
    code, text = c.ctl("list")
    print(text, end="")
    missing = c.what_is_missing()
    if missing:
        print(f"not whole: {missing}")
    return code


def do_fault(args):
    if not args.name:
        for f in faults.ALL:
            print(f"{f.name:22} {f.text.format('the leader')}" + (f" [{f.limit}]" if f.limit else ""))
        return 0
    c = Cluster.attach(args.id)
    bad = False
    for _ in range(args.runs):
        r = faults.run(c, faults.BY_NAME[args.name], c.node(args.node) if args.node else None,
                       say=lambda text: print(f"  {time.strftime('%H:%M:%S')} {text}", flush=True))
        print(r.line(), flush=True)
        o = r.outcome
        for reign in o.reigns:
            print(f"    {reign.node} on timeline {reign.timeline}: {reign.writes} writes in "
                  f"{(reign.last_us - reign.first_us) / 1e6:.2f} s")
        print(f"    whole {r.whole_after_s:.1f} s after the {'heal' if faults.BY_NAME[args.name].heal else 'strike'}"
              f"; {o.unknown} writes with unknown outcome"
              + (f"; busy statement {o.busy}" if o.busy else "")
              + (f"; old primary dead {o.dead_before_new_ms:.0f} ms before the new one's first write"
                 if o.dead_before_new_ms is not None else ""))
        bad = bad or o.window_ms > 0
    return 1 if bad else 0


def do_half(args):
    c = Cluster.attach(args.id)
    victim = c.node(args.node) if args.node else c.leader()
    if victim is None:
        raise NotReady("nobody leads: name the victim with --node")
    fault = faults.BY_NAME[args.name]
    act = fault.strike if args.half == "strike" else fault.heal
    if act:
        act(c, victim)
    print(f"{args.half}: {fault.text.format(victim.name)}")


def do_info(args):
    for state in states() if args.id is None else [Cluster.attach(args.id).state]:
        c = Cluster(state)
        print(f"lab {c.id} {state['label'] or ''} agent {c.agent} ttl {c.timing.ttl} loop_wait {c.timing.loop_wait}"
              f" retry_timeout {c.timing.retry_timeout} dir {c.dir} client namespace {c.net.client}")
        for n in c.nodes:
            print(f"  {n.name} {n.address} namespace {n.namespace} etcd {n.etcd_pid()} keeper {n.keeper_pid()} agent"
                  f" {n.agent_pid()} postmaster {n.postmaster_pid()} log {n.dir}/agent.log")


def do_sql(args):
    c = Cluster.attach(args.id)
    node = c.node(args.node) if args.node else c.leader()
    if node is None:
        raise NotReady("nobody leads")
    for row in c.query(node, args.query):
        print("\t".join(map(str, row)))


def do_shell(args):
    c = Cluster.attach(args.id)
    ns = c.node(args.node).namespace if args.node else c.net.client
    with net.inside(ns):
        return subprocess.call(args.command or [os.environ.get("SHELL", "/bin/bash")])


def do_start(args):
    c = Cluster.attach(args.id)
    node = c.node(args.node)
    if args.kill:
        node.kill_all()
    node.start()


def do_down(args):
    sweep()
    for state in states():
        if args.all or (args.label and state["label"] == args.label) or \
                (not args.label and (args.id is None or state["id"] == args.id)):
            Cluster(state).destroy()
            print(f"lab {state['id']} is down")
    shutil.rmtree("/run/pgtether-lab", ignore_errors=True) if not states() else None


if __name__ == "__main__":
    sys.exit(main())
