"""A cluster whose third node is a machine. It is shared by the tests, and built anew when one left it broken."""

import os
import signal
import sys

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "system")]

from lab import testing  # noqa: E402
from lab.cluster import Timing  # noqa: E402
from machine import image, package  # noqa: E402
from machine.cluster import VmCluster  # noqa: E402
from machine.trial import Trial  # noqa: E402

TIMING = {8: Timing(ttl=8, loop_wait=2, retry_timeout=2), 30: Timing(ttl=30, loop_wait=10, retry_timeout=10)}


# A terminated run takes its machine with it.
signal.signal(signal.SIGTERM, lambda *_: pytest.exit("terminated", 143))


def pytest_generate_tests(metafunc):
    """Every scenario with both lengths of the lease; the long one takes long."""
    if "trial" in metafunc.fixturenames:
        metafunc.parametrize("ttl", [8, pytest.param(30, marks=pytest.mark.long)], ids=lambda ttl: f"ttl{ttl}")


def pytest_collection_modifyitems(items):
    """All of one length before the other: changing it takes time."""
    items.sort(key=lambda item: item.callspec.params.get("ttl", 0) if hasattr(item, "callspec") else 0)


@pytest.fixture(scope="session")
def shared_machine():
    package.get()
    image.get()
    shared = testing.Shared(lambda: VmCluster.create(timing=TIMING[8], label="vm"), patience=90)
    yield shared
    shared.drop()


@pytest.fixture
def trial(shared_machine, ttl):
    """A cluster in which the machine leads, watched from outside; what must hold in any case is judged at the end."""
    cluster = shared_machine.whole()
    cluster.set_timing(TIMING[ttl])
    cluster.vm.forgive()
    cluster.lead_with_vm()
    with Trial(cluster) as t:
        yield t


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    testing.keep_logs(item, (yield).get_result(), os.path.join(HERE, "logs"))
