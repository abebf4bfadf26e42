"""A cluster for the tests of this folder. It is shared, and built anew when a test left it broken."""

import os
import re
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from lab.cluster import Cluster, NotReady, Timing  # noqa: E402

LOGS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "logs")
# In use now, so that a failure can keep its logs whichever fixture made it.
_clusters = []


def make_cluster(**options):
    cluster = Cluster.create(**options)
    _clusters.append(cluster)
    return cluster


def drop_cluster(cluster):
    _clusters.remove(cluster)
    cluster.destroy()


class Shared:
    def __init__(self):
        self.cluster = None

    def whole(self):
        if self.cluster:
            try:
                self.cluster.wait_whole(60)
                return self.cluster
            except NotReady as e:
                print(f"building the cluster anew: {e}")
                self.drop()
        self.cluster = make_cluster(timing=Timing(ttl=5, loop_wait=1, retry_timeout=1), label="tests")
        self.cluster.wait_whole()
        return self.cluster

    def drop(self):
        if self.cluster:
            drop_cluster(self.cluster)
            self.cluster = None


@pytest.fixture(scope="session")
def shared_cluster():
    shared = Shared()
    yield shared
    shared.drop()


@pytest.fixture
def cluster(shared_cluster):
    """Three nodes, whole, ttl 5, loop_wait 1, retry_timeout 1."""
    return shared_cluster.whole()


@pytest.fixture
def new_cluster():
    """A function that builds a cluster of the test's own; it ends with the test."""
    mine = []

    def build(**options):
        mine.append(make_cluster(**options))
        return mine[-1]
    yield build
    for c in mine:
        drop_cluster(c)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Keeps every node's logs when a test fails, before anything is torn down."""
    report = (yield).get_result()
    if report.failed and report.when in ("setup", "call"):
        for c in _clusters:
            where = os.path.join(LOGS, re.sub(r"[^\w.-]+", "_", item.nodeid.rpartition("/")[2]), f"lab-{c.id}")
            try:
                c.save_logs(where)
                report.sections.append(("logs", f"kept in {where}"))
            except OSError as e:
                report.sections.append(("logs", f"could not be kept: {e}"))
