"""The virtual address for the primary: where it is, and that it is never in two places, whatever is done to its holder."""

import json
import signal
import time

import pytest

from lab import address, faults, net, sysproc, testing
from lab.address import AddressWatch
from lab.cluster import Cluster, Timing
from lab.sysproc import now_us

TTL_US = 5_000_000
MOMENT_US = 300_000  # the machine that tests is small and busy


@pytest.fixture(scope="module")
def shared_address_cluster():
    shared = testing.Shared(lambda: Cluster.create(timing=Timing(ttl=5, loop_wait=1, retry_timeout=1),
                                                   label="test-address", vips=("primary",)))
    yield shared
    shared.drop()


@pytest.fixture
def cluster(shared_address_cluster):
    c = shared_address_cluster.whole()
    c.wait(lambda: (n := c.leader()) and address.holders(c, c.vip()) == [n.name], 10, "the leader has the address")
    return c


def watch(cluster):
    return AddressWatch(cluster, cluster.vip())


def strike(cluster, name):
    """The fault on the leader; what the address went through, and what the watch saw."""
    w = watch(cluster)
    result = faults.run(cluster, faults.BY_NAME[name], watch=w)
    outcome = w.address_outcome()
    print(result.line())
    print(f"  tenures {[(t.node, (t.first_us - w.fault_us) // 1000, (t.last_us - w.fault_us) // 1000) for t in outcome.tenures]}"
          f" ms; silence {outcome.silence_ms:.0f} ms")
    assert result.outcome.window_ms == 0, f"two primaries: {result.outcome.reigns}"
    check(outcome)
    if faults.BY_NAME[name].process_fault:
        assert outcome.lost == 0
    return w, outcome


def check(outcome):
    assert outcome.overlap_us <= 0, f"two nodes answered for the address: {outcome.tenures}"
    for a in outcome.reigns:
        for b in outcome.reigns:
            assert a.timeline >= b.timeline or a.last_us < b.first_us, f"writes of two primaries: {outcome.reigns}"


def rests_with(cluster, node):
    assert cluster.leader() is node
    assert address.holders(cluster, cluster.vip()) == [node.name]


def test_address_is_on_the_leader_and_nowhere_else(cluster):
    leader = cluster.leader()
    rests_with(cluster, leader)
    with watch(cluster) as w:
        cluster.wait(lambda: len(w.prober.answers()) > 200, 20, "answers")
        w.stop()
    assert {node for _, node in w.prober.answers()} == {leader.name}
    with net.inside(leader.namespace):
        text = net.run("ip", "-o", "-4", "addr", "show", "dev", "eth0")
    line = next(l for l in text.splitlines() if f" {cluster.vip()}/24" in l)
    lifetime_s = int(line.split("valid_lft ")[1].split("sec")[0])
    assert 0 < lifetime_s < 5, "the kernel takes it away before the lease ends"


@pytest.mark.parametrize("name", [
    pytest.param("agent-kill", marks=pytest.mark.long),
    pytest.param("postmaster-kill", marks=pytest.mark.long),
])
def test_address_stays_where_the_leader_stays(cluster, name):
    leader = cluster.leader()
    w, outcome = strike(cluster, name)
    if cluster.leader() is not leader:
        pytest.skip("leadership has moved: a busy machine")
    assert {t.node for t in outcome.tenures} == {leader.name}
    if name == "agent-kill":
        assert outcome.silence_ms * 1000 < MOMENT_US


@pytest.mark.parametrize("name", [
    "agent-stop",
    "host-stop",
    pytest.param("both-stop", marks=pytest.mark.long),
    pytest.param("both-kill", marks=pytest.mark.long),
    pytest.param("cut-off", marks=pytest.mark.long),
    pytest.param("cut-store", marks=pytest.mark.long),
    pytest.param("host-kill", marks=pytest.mark.long),
    pytest.param("keeper-kill", marks=pytest.mark.long),
])
def test_address_is_gone_with_the_lease_at_the_latest(cluster, name):
    old = cluster.leader()
    timeline = cluster.query(old, "SELECT timeline_id FROM pg_control_checkpoint()")[0][0]
    w, outcome = strike(cluster, name)
    new = cluster.leader()
    rests_with(cluster, new)
    if new is old:
        return  # both-kill: a keeper came back in time; that nothing overlapped was checked
    # The last renewal was confirmed before the strike.
    end_us = w.fault_us + TTL_US
    assert w.prober.last_answer_us(old.name) < end_us
    assert w.last_ack_us(timeline) < end_us, "acknowledged through the old holder after its lease"
    assert any(r.timeline > timeline for r in outcome.reigns), "the writer never reached the new leader"


def stop_daemon(cluster, node):
    sysproc.send(node.keeper_pid(), signal.SIGTERM)
    cluster.wait(lambda: not node.keeper_pid() and not node.agent_pid() and not node.postgres_pids(), 30,
                 f"the daemon of {node.name} ends")


def test_orderly_stop_moves_the_address_at_once(cluster):
    old = cluster.leader()
    with watch(cluster) as w:
        w.strike(old)
        stop_daemon(cluster, old)
        assert old.name not in address.holders(cluster, cluster.vip())
        cluster.wait(lambda: any(node != old.name for _, node in w.prober.answers()[-3:]), 10, "somebody else answers")
        old.start_agent()
        cluster.wait_whole()
        assert w.outcome().window_ms == 0
        outcome = w.address_outcome()
    print(f"silence {outcome.silence_ms:.0f} ms")
    check(outcome)
    assert outcome.lost == 0
    assert outcome.silence_ms < 3000


def gap_of(w, node):
    times = [at for at, name in w.prober.answers() if name == node.name and at >= w.fault_us - 100_000]
    return max((b - a for a, b in zip(times, times[1:])), default=0)


def test_restarted_keeper_keeps_the_address(cluster):
    leader = cluster.leader()
    with watch(cluster) as w:
        w.strike(leader)
        sysproc.send(leader.keeper_pid(), signal.SIGKILL)
        leader.start_agent()  # as the service manager does, at once
        cluster.wait(lambda: cluster.rest(leader, "/primary")[0] == 200 and leader.keeper_pid(), 20, "it leads again")
        since = now_us()
        cluster.wait(lambda: len(w.address_acks(since)) > 100, 20, "writes go on")
        w.stop()
        rests_with(cluster, leader)
    print(f"longest silence {gap_of(w, leader) / 1000:.0f} ms")
    assert {node for _, node in w.prober.answers()} == {leader.name}
    assert gap_of(w, leader) < MOMENT_US
    cluster.wait_whole()


def test_killed_net_process_comes_back_and_the_address_stays(cluster):
    leader = cluster.leader()
    pid = leader.named("pgtether-net")[0].pid
    with watch(cluster) as w:
        w.strike(leader)
        sysproc.send(pid, signal.SIGKILL)
        cluster.wait(lambda: [p for p in leader.named("pgtether-net") if p.pid != pid], 10, "it is started again")
        end = time.monotonic() + 6  # beyond the lease it knew: somebody prolongs it
        cluster.wait(lambda: time.monotonic() > end, 10, "time passes")
        w.stop()
        rests_with(cluster, leader)
    assert {node for _, node in w.prober.answers()} == {leader.name}
    assert gap_of(w, leader) < MOMENT_US


def gate_is_there(node):
    with net.inside(node.namespace):
        return "pgtether" in net.run("nft", "list", "tables")


def test_flushed_ruleset_is_mended(cluster):
    leader = cluster.leader()
    assert gate_is_there(leader)
    with watch(cluster) as w:
        with net.inside(leader.namespace):
            net.run("nft", "flush", "ruleset")
        cluster.wait(lambda: gate_is_there(leader), 10, "the gate is there again")
        since = now_us()
        cluster.wait(lambda: len(w.address_acks(since)) > 100, 10, "writes pass")
        w.stop()
    rests_with(cluster, leader)


def leases_of(cluster, node):
    return json.loads(cluster.rest(node, "/patroni")[1])["kernel_leases"]


def test_gate_and_addresses_are_shown_and_a_conflict_is_noted(cluster):
    leader = cluster.leader()
    other = next(n for n in cluster.nodes if n is not leader)
    cluster.wait(lambda: leases_of(cluster, leader)["addresses_held"] == 1, 5, "REST shows the address")
    shown = leases_of(cluster, leader)
    assert (shown["serves"], shown["gate"], shown["addresses"]) == ("primary", "open", 1)
    assert (leases_of(cluster, other)["serves"], leases_of(cluster, other)["addresses_held"]) == ("standby", 0)
    assert "Note on" not in cluster.ctl("list")[1]
    before = shown["address_conflicts"]
    address.claim_once(cluster.net.client, cluster.vip())
    cluster.wait(lambda: leases_of(cluster, leader)["address_conflicts"] == before + 1, 5, "the conflict is counted")
    note = f"Note on {leader.name}: another host claims a virtual address of this node"
    cluster.wait(lambda: note in cluster.ctl("list")[1], 15, "list notes it")
    assert 'pgtether_gate_state{' in cluster.rest(leader, "/metrics")[1]
    rests_with(cluster, leader)


@pytest.mark.long
def test_node_without_its_required_gate_does_not_lead_and_says_why(new_cluster, tmp_path):
    c = new_cluster(size=1, timing=Timing(ttl=5, loop_wait=1, retry_timeout=1), label="test-address-gate",
                    vips=("primary",), extra_config='gate = { mode = "nftables"; };\n')
    c.wait_whole()
    node = c.nodes[0]
    stop_daemon(c, node)
    program = f"{c.programs.directory(c.id)}/pgtether-gate"
    sysproc.os.rename(program, program + ".away")
    try:
        # install() would copy it again
        c.programs.NAMES = {k: v for k, v in c.programs.NAMES.items() if k != "pgtether-gate"}
        node.start_agent()

        def log():
            with open(f"{node.dir}/agent.log") as f:
                return f.read()
        began = len(log())
        c.wait(lambda: "pgtether-gate" in log()[began:], 20, "it says what is missing")
        c.wait(lambda: "the port gate is required and not in force here" in log()[began:], 20, "it says why it waits")
        assert not c.accepts_writes(node)
        assert json.loads(c.rest(node, "/patroni")[1])["role"] == "replica"
        assert address.holders(c, c.vip()) == []
    finally:
        sysproc.os.rename(program + ".away", program)
    c.wait_whole()
