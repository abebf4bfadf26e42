"""Each fault on the real thing: never two primaries, nothing acknowledged lost where no host was, and whole again."""

import pytest

from lab import faults

# How long nobody may accept writes with ttl 5, in seconds. Generous: the machine that tests is busy and small.
GAP_S = {
    "postmaster-kill": 3,
    "postmaster-kill-busy": 5,
    "agent-kill": 3,
    "agent-stop": 10,
    "keeper-kill": 12,
    "cut-off": 15,
    "cut-store": 15,
    "host-kill": 15,
    "store-stop": 30,
    "store-kill": 30,
}


@pytest.mark.parametrize("name", GAP_S)
def test_fault_of_the_leader_is_survived(cluster, name):
    fault = faults.BY_NAME[name]
    result = faults.run(cluster, fault)
    print(result.line())
    outcome = result.outcome
    assert outcome.window_ms == 0, f"two primaries: {outcome.reigns}"
    if fault.process_fault:
        assert outcome.lost == 0
    assert outcome.gap_ms < GAP_S[name] * 1000
    if outcome.dead_before_new_ms is not None:
        assert outcome.dead_before_new_ms > 0, "the new primary wrote while processes of the old one lived"


@pytest.mark.parametrize("name", ["postmaster-kill", "agent-kill", "agent-stop", "host-kill", "cut-off"])
def test_fault_of_a_replica_is_not_noticed_by_clients(cluster, name):
    leader = cluster.leader()
    replica = next(n for n in cluster.nodes if n is not leader)
    result = faults.run(cluster, faults.BY_NAME[name], victim=replica)
    print(result.line())
    assert result.outcome.window_ms == 0
    assert result.outcome.lost == 0
    assert result.outcome.leader_after == leader.name
    # Its etcd member may have led the store: an election of a second or two must not cost the lease.
    assert result.outcome.gap_ms < 1000


@pytest.mark.parametrize("name", ["both-stop", "host-stop", "both-kill"])
def test_fault_that_leaves_nobody_to_act_is_ended_by_the_kernel(cluster, name):
    """The old primary may live on, and the lab has no watchdog; but the port gate lets nobody hear of its commits."""
    result = faults.run(cluster, faults.BY_NAME[name])
    print(result.line())
    assert result.outcome.window_ms == 0, f"two primaries: {result.outcome.reigns}"
    assert result.outcome.leader_after in [n.name for n in cluster.nodes]
