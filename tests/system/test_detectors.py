"""The measure itself: a detector that cannot find anything proves nothing."""

import pytest

from lab import faults
from lab.address import overlap_us, prober_answer, tenures_of
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


def test_two_holders_of_an_address_overlap_even_by_one_answer():
    holder = [(at, "n1") for at in range(0, 1000, 5)]
    assert overlap_us(tenures_of(holder + [(1200, "n2")])) <= 0
    assert overlap_us(tenures_of(holder + [(500, "n2")])) == 1
    assert overlap_us(tenures_of(holder + [(at, "n2") for at in range(900, 2000, 5)])) == 96


def test_address_that_comes_back_later_is_another_tenure():
    answers = [(0, "n1"), (10, "n1"), (20, "n2"), (30, "n2"), (2000, "n1")]
    assert [t.node for t in tenures_of(answers, silence_us=100)] == ["n1", "n2", "n1"]
    assert overlap_us(tenures_of(answers, silence_us=100)) <= 0


def arp(op, mac, sender, target):
    return (bytes(6) + bytes.fromhex(mac) + b"\x08\x06\0\x01\x08\0\x06\x04" + bytes([0, op]) + bytes.fromhex(mac) +
            bytes(sender) + bytes(6) + bytes(target))


def test_prober_tells_answers_from_announcements_and_ignores_the_rest():
    vip, client, other = (10, 0, 0, 100), (10, 0, 0, 2), (10, 0, 0, 11)
    mac, seen = "02000000000a", "02:00:00:00:00:0a"
    assert prober_answer(arp(2, mac, vip, client), bytes(vip)) == ("R", seen)
    assert prober_answer(arp(2, mac, vip, vip), bytes(vip)) == ("C", seen)
    assert prober_answer(arp(1, mac, vip, vip), bytes(vip)) == ("C", seen)
    assert prober_answer(arp(1, mac, client, vip), bytes(vip)) is None
    assert prober_answer(arp(2, mac, other, client), bytes(vip)) is None
    assert prober_answer(b"", bytes(vip)) is None


@pytest.mark.long
def test_reference_with_a_killed_agent_has_two_primaries_and_loses_writes(new_cluster):
    """The reference without a watchdog fails in this lab, and the detectors say so."""
    cluster = new_cluster(agent="patroni", timing=Timing(ttl=20, loop_wait=1, retry_timeout=3))
    result = faults.run(cluster, faults.BY_NAME["agent-kill"])
    assert result.outcome.window_ms > 1000
    assert result.outcome.lost > 100
