"""A cluster for the tests of this folder. It is shared, and built anew when a test left it broken."""

import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from lab import testing  # noqa: E402
from lab.cluster import Cluster, Timing  # noqa: E402

LOGS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "logs")


@pytest.fixture(scope="session")
def shared_cluster():
    shared = testing.Shared(lambda: Cluster.create(timing=Timing(ttl=5, loop_wait=1, retry_timeout=1), label="tests"))
    yield shared
    shared.drop()


@pytest.fixture
def cluster(shared_cluster):
    """Three nodes, whole, ttl 5, loop_wait 1, retry_timeout 1."""
    return shared_cluster.whole()


@pytest.fixture(scope="module")
def shared_sync_cluster():
    shared = testing.Shared(lambda: Cluster.create(timing=Timing(ttl=5, loop_wait=1, retry_timeout=1), label="sync",
                                                   dcs_settings={"synchronous_mode": True}))
    yield shared
    shared.drop()


@pytest.fixture
def new_cluster():
    """A function that builds a cluster of the test's own; it ends with the test."""
    mine = []

    def build(**options):
        mine.append(testing.adopt(Cluster.create(**options)))
        return mine[-1]
    yield build
    for c in mine:
        testing.drop(c)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    testing.keep_logs(item, (yield).get_result(), LOGS)
