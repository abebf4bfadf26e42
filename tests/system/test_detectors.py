"""The measure itself: a detector that cannot find anything proves nothing."""

import pytest

from lab import faults
from lab.cluster import Timing
from lab.watch import Ack, gap_us, reigns_of, window_us


def acks(*rows):
    return [Ack(i, t - 1, t, timeline, "kept", node) for i, (node, timeline, t) in enumerate(rows)]


def test_window_is_zero_when_reigns_follow_each_other():
    assert window_us(reigns_of(acks(("n1", 1, 10), ("n1", 1, 20), ("n2", 2, 21), ("n2", 2, 30)))) == 0


def test_window_is_the_overlap_of_two_nodes():
    assert window_us(reigns_of(acks(("n1", 1, 10), ("n1", 1, 50), ("n2", 2, 21), ("n2", 2, 90)))) == 29


def test_window_counts_one_late_acknowledgement_of_the_old_primary():
    assert window_us(reigns_of(acks(("n1", 1, 10), ("n2", 2, 21), ("n2", 2, 90), ("n1", 1, 60)))) == 39


def test_window_is_zero_when_leadership_returns_on_a_new_timeline():
    assert window_us(reigns_of(acks(("n1", 1, 10), ("n2", 2, 20), ("n1", 3, 30)))) == 0


def test_window_finds_two_nodes_on_the_same_new_timeline():
    assert window_us(reigns_of(acks(("n1", 2, 10), ("n2", 2, 12), ("n1", 2, 15), ("n2", 2, 20)))) == 3


def test_gap_is_the_longest_silence_and_counts_the_edges():
    assert gap_us(acks(("n1", 1, 10), ("n1", 1, 20), ("n2", 2, 70)), 15, 100) == 50
    assert gap_us(acks(("n1", 1, 10), ("n1", 1, 20)), 15, 100) == 80


@pytest.mark.long
def test_reference_with_a_killed_agent_has_two_primaries_and_loses_writes(new_cluster):
    """The reference without a watchdog fails in this lab, and the detectors say so."""
    cluster = new_cluster(agent="patroni", timing=Timing(ttl=20, loop_wait=1, retry_timeout=3))
    result = faults.run(cluster, faults.BY_NAME["agent-kill"])
    assert result.outcome.window_ms > 1000
    assert result.outcome.lost > 100
