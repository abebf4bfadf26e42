"""What the conftest files share: clusters that are built anew when a test left them broken, and logs of failures."""

import os
import re

from .cluster import NotReady

# In use now, so that a failure can keep its logs whichever fixture made it.
_clusters = []


def adopt(cluster):
    _clusters.append(cluster)
    return cluster


def drop(cluster):
    _clusters.remove(cluster)
    cluster.destroy()


class Shared:
    """One cluster for many tests. make() builds it, and need not wait for it."""

    def __init__(self, make, patience=60):
        self.make, self.patience = make, patience
        self.cluster = None

    def whole(self):
        if self.cluster:
            try:
                self.cluster.wait_whole(self.patience)
                return self.cluster
            except NotReady as e:
                print(f"building the cluster anew: {e}")
                self.drop()
        self.cluster = adopt(self.make())
        self.cluster.wait_whole(3 * self.patience)
        return self.cluster

    def drop(self):
        if self.cluster:
            drop(self.cluster)
            self.cluster = None


def keep_logs(item, report, directory):
    """Every node's logs when a test fails, before anything is torn down."""
    if not report.failed or report.when not in ("setup", "call"):
        return
    for c in _clusters:
        where = os.path.join(directory, re.sub(r"[^\w.-]+", "_", item.nodeid.rpartition("/")[2]), f"lab-{c.id}")
        try:
            c.save_logs(where)
            report.sections.append(("logs", f"kept in {where}"))
        except OSError as e:
            report.sections.append(("logs", f"could not be kept: {e}"))
