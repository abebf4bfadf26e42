"""What can go wrong, each as a strike and (where the world recovers) a heal, and one way to run them all."""

import dataclasses
import time
from typing import Callable

from . import net, sysproc
from .node import CONT, KILL, STOP
from .sysproc import now_us
from .watch import Outcome, Watch


@dataclasses.dataclass
class Fault:
    name: str
    text: str  # "… of n1" / "… n1": what was done, {} is the victim
    strike: Callable
    heal: Callable = None
    hold: Callable = None  # seconds between strike and heal, from the timing; None: heal at once (if at all)
    process_fault: bool = False  # nothing acknowledged may be lost
    keeper: bool = False  # needs a keeper
    busy: bool = False  # with a long statement running on the victim


def _agent(sig):
    def act(_, victim):
        victim.send(victim.agent_pid(), sig)
    return act


def _both(sig):
    def act(_, victim):
        for pid in (victim.keeper_pid(), victim.agent_pid()):
            if pid:
                victim.send(pid, sig)
    return act


def _revive(_, victim):
    """A service manager's part: its main process is started when it is not running. A keeper restarts its agent itself."""
    if not victim.main_pid():
        victim.start_agent()


def _kill_postmaster(_, victim):
    victim.send(victim.postmaster_pid(), KILL)


def _cut_off(_, victim):
    victim.cut_off()


def _cut_store(_, victim):
    victim.cut_store()


def _heal_net(_, victim):
    victim.heal()


def _store_signal(sig):
    def act(cluster, _):
        for h in cluster.store:
            if h.etcd_pid():
                sysproc.send(h.etcd_pid(), sig)
    return act


def _store_restart(cluster, _):
    for h in cluster.store:
        h.start_etcd()


def _two_ttl(t):
    return 2 * t.ttl


def _past_ttl(t):
    return t.ttl + 2 * t.loop_wait + 3


ALL = [
    Fault("postmaster-kill", "kill -9 of the postmaster of {}", _kill_postmaster, process_fault=True),
    Fault("postmaster-kill-busy", "kill -9 of the postmaster of {} while a backend computes", _kill_postmaster,
          process_fault=True, busy=True),
    Fault("agent-kill", "kill -9 of the agent of {}", _agent(KILL), _revive, _two_ttl, process_fault=True),
    Fault("agent-stop", "SIGSTOP of the agent of {}, SIGCONT after two ttl", _agent(STOP), _agent(CONT), _two_ttl,
          process_fault=True),
    Fault("keeper-kill", "kill -9 of the keeper of {}", lambda c, v: v.send(v.keeper_pid(), KILL), _revive,
          _past_ttl, process_fault=True, keeper=True),
    Fault("both-kill", "kill -9 of keeper and agent of {}", _both(KILL), _revive, _two_ttl, keeper=True),
    Fault("both-stop", "SIGSTOP of keeper and agent of {}, SIGCONT after two ttl", _both(STOP), _both(CONT), _two_ttl,
          keeper=True),
    Fault("cut-off", "{} cut off from the store and its peers, clients still reach it", _cut_off, _heal_net, _two_ttl),
    Fault("cut-store", "{} cut off from the store only", _cut_store, _heal_net, _two_ttl),
    Fault("host-kill", "everything on the host of {} killed", lambda c, v: v.kill_all(), lambda c, v: v.start(),
          _two_ttl),
    Fault("host-stop", "SIGSTOP of everything on the host of {}, SIGCONT after two ttl",
          lambda c, v: v.signal_all(STOP), lambda c, v: v.signal_all(CONT), _two_ttl),
    Fault("store-stop", "SIGSTOP of the whole store, SIGCONT after two ttl", _store_signal(STOP), _store_signal(CONT),
          _two_ttl, process_fault=True),
    Fault("store-kill", "kill -9 of the whole store, back after two ttl", _store_signal(KILL), _store_restart,
          _two_ttl, process_fault=True),
]
BY_NAME = {f.name: f for f in ALL}
DEMO = ["postmaster-kill", "agent-kill", "agent-stop", "cut-off", "host-kill"]


@dataclasses.dataclass
class Result:
    fault: str
    text: str
    outcome: Outcome
    whole_after_s: float  # from the heal (or the strike, when there is none) until the cluster was whole

    def line(self):
        return f"{self.text}: {self.outcome.line()}"


def run(cluster, fault, victim=None, tick=None, say=None, watch=None):
    """Strikes the leader (or the victim), heals, waits until the cluster is whole again, and measures all of it.

    tick() is called while waiting, say(text) when something was done. watch: a Watch of the caller's, not entered yet.
    """
    say = say or (lambda _: None)
    leader = cluster.wait_whole(tick=tick)
    victim = victim or leader
    text = fault.text.format(victim.name)
    timing = cluster.timing
    with watch or Watch(cluster, busy_on=victim if fault.busy else None) as watch:
        watch.strike(victim)
        fault.strike(cluster, victim)
        say(text)
        struck = time.monotonic()
        try:
            # Long enough for a second primary to appear, wherever it comes from.
            hold = fault.hold(timing) if fault.hold else max(_past_ttl(timing), 10 if fault.busy else 0)
            cluster.wait(lambda: time.monotonic() > struck + hold, hold + 1, "time passes", tick)
        finally:
            healed = time.monotonic()
            if fault.heal:
                fault.heal(cluster, victim)
                say("healed")
        cluster.wait_whole(timeout=60 + 6 * timing.ttl + 6 * timing.loop_wait, tick=tick)
        whole = time.monotonic()
        since = now_us()
        cluster.wait(lambda: watch.writes_since(since) > 50, 30, "writes are accepted", tick)
        outcome = watch.outcome()
    return Result(fault.name, text, outcome, whole - (healed if fault.heal else struck))


def can_run(cluster, fault):
    return not fault.keeper or cluster.nodes[0].keeper_pid() is not None


__all__ = ["ALL", "BY_NAME", "DEMO", "Fault", "Result", "run", "can_run", "net"]
