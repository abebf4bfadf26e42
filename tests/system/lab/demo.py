"""The demonstration of quickstart: a cluster comes up, its leader is broken five ways, and what clients saw is told."""

import os
import shutil
import signal
import sys
import time

from . import faults
from .cluster import Cluster, NotReady, Timing, states

LABEL = "quickstart"


class Screen:
    """Colour and overwritten lines on a terminal, plain lines elsewhere."""

    def __init__(self):
        self.tty = sys.stdout.isatty()
        self.colour = self.tty and "NO_COLOR" not in os.environ
        self.began = time.monotonic()
        self.block = ""
        self.shown_at = time.monotonic()

    def paint(self, code, text):
        return f"\033[{code}m{text}\033[0m" if self.colour else text

    def say(self, text):
        self.clear()
        print(f"{self.paint(1, '==>')} {text}", flush=True)

    def detail(self, text):
        self.clear()
        print(f"    {text}", flush=True)

    def clear(self):
        if self.tty:
            print("\r\033[K", end="", flush=True)

    def tick(self, text):
        if self.tty:
            print(f"\r\033[K    {text} {time.monotonic() - self.began:.0f} s", end="", flush=True)
        elif time.monotonic() - self.shown_at > 10:
            self.shown_at = time.monotonic()
            print(f"    {text} …", flush=True)

    def table(self, text):
        """A table in place of the one before (terminal), or below it if it changed (elsewhere)."""
        if text == self.block:
            return
        if self.tty and self.block:
            print(f"\r\033[{self.block.count(chr(10)) + 1}A\033[J", end="")
        self.block = text
        print("\n".join("    " + line for line in text.splitlines()) + "\n", flush=True)


def bootstrap(screen, agent, timing):
    for state in states():
        if state["label"] == LABEL:
            Cluster(state).destroy()
    screen.say(f"bringing up three nodes: etcd, {agent} and PostgreSQL in network namespaces")
    cluster = Cluster.create(agent, 3, timing, LABEL)
    listed_at = [0.0]

    def show():
        if time.monotonic() - listed_at[0] > 0.5:
            listed_at[0] = time.monotonic()
            code, text = cluster.ctl("list")
            if code == 0 and text.strip():
                screen.table(text.rstrip())
            else:
                screen.tick("waiting for the store and the first leader")
    try:
        cluster.wait_whole(tick=show)
        show_list(screen, cluster)
    except BaseException:
        save_and_destroy(screen, cluster)
        raise
    return cluster


def show_list(screen, cluster):
    code, text = cluster.ctl("list")
    if code == 0:
        screen.table(text.rstrip())


def break_it(screen, cluster, names):
    results = []
    for name in names:
        fault = faults.BY_NAME[name]
        struck = [f"{fault.text.format('the leader')}: preparing"]
        screen.began = time.monotonic()

        def said(text):
            struck[0] = text if text != "healed" else struck[0] + ", healed, waiting for the cluster to be whole"
        result = faults.run(cluster, fault, tick=lambda: screen.tick(struck[0]), say=said)
        results.append(result)
        o = result.outcome
        good = o.window_ms == 0 and (o.lost == 0 or not fault.process_fault)
        screen.say(screen.paint(32 if good else 31, result.text))
        screen.detail(o.line())
    return results


def farewell(screen, cluster):
    screen.block = ""
    screen.say("the cluster is whole again, and stays up:")
    show_list(screen, cluster)
    screen.detail("./quickstart shell   look around: pgtetherctl list, psql, lab fault cut-off")
    screen.detail("./quickstart stop    end it")


def save_and_destroy(screen, cluster):
    where = os.path.abspath(f"{__file__}/../../logs/quickstart")
    try:
        shutil.rmtree(where, ignore_errors=True)
        cluster.save_logs(where)
        screen.detail(f"logs are in {where}")
    except OSError:
        pass
    cluster.destroy()


def main():
    for sig in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(sig, lambda number, _: sys.exit(128 + number))
    agent = sys.argv[sys.argv.index("--agent") + 1] if "--agent" in sys.argv else "pgtether"
    names = [a for a in sys.argv[1:] if a in faults.BY_NAME] or faults.DEMO
    screen = Screen()
    cluster = None
    try:
        cluster = bootstrap(screen, agent, Timing(5, 1, 1))
        screen.say("one client per node writes all the time; now the leader is broken, again and again")
        results = break_it(screen, cluster, names)
        farewell(screen, cluster)
        cluster.disown()
        cluster = None
    except NotReady as e:
        screen.say(screen.paint(31, str(e)))
        if cluster:
            save_and_destroy(screen, cluster)
            cluster = None
        return 1
    except KeyboardInterrupt:
        screen.say("interrupted, cleaning up")
        return 130
    finally:
        if cluster:
            cluster.destroy()
    return 1 if any(r.outcome.window_ms > 0 for r in results) else 0


if __name__ == "__main__":
    sys.exit(main())
