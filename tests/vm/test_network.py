"""The leader is cut off from the store, from its peers, from both. Clients still reach it."""

import pytest
from lab import sysproc
from lab.node import CONT, STOP


@pytest.mark.long
def test_cut_off_from_the_store_only(trial):
    trial.strike_outside(trial.vm.cut_store)
    trial.wait_successor()
    trial.hold(trial.ttl)
    trial.vm.heal()
    trial.finish(reset=False)


@pytest.mark.long
def test_cut_off_from_its_peers_only_goes_on_leading(trial):
    trial.strike_outside(trial.vm.cut_peers)
    trial.hold(2 * trial.ttl)
    assert trial.lost_key_us is None
    trial.wait_writes()
    trial.vm.heal()
    trial.finish(reset=False)


@pytest.mark.long
def test_cut_off_from_store_and_peers(trial):
    trial.strike_outside(trial.vm.cut_off)
    trial.wait_successor()
    trial.hold(trial.ttl)
    trial.vm.heal()
    trial.finish(reset=False)


@pytest.mark.long
def test_store_down_for_everybody(trial):
    pids = [h.etcd_pid() for h in trial.cluster.store]
    trial.strike_outside(lambda: [sysproc.send(pid, STOP) for pid in pids])
    try:
        trial.hold(2 * trial.ttl)
        assert trial.last_ack_us() < trial.struck_us + trial.ttl * 1_000_000
    finally:
        for pid in pids:
            sysproc.send(pid, CONT)
    trial.finish(reset=False)
