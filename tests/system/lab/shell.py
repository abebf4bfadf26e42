"""The shell of quickstart: in the client's network, with psql, pgtetherctl and lab ready to use."""

import os
import subprocess
import sys

from . import net
from .cluster import Cluster, NotReady
from .demo import LABEL


def environment(cluster):
    """psql without arguments finds the primary; pgtetherctl and lab find the cluster."""
    directory = f"{cluster.dir}/bin"
    os.makedirs(directory, exist_ok=True)
    program = f"{cluster.programs.directory(cluster.id)}/pgtetherctl"
    _script(f"{directory}/pgtetherctl", f'exec {program} -c {cluster.nodes[0].dir}/pgtether.conf "$@"')
    _script(f"{directory}/patronictl", f'exec /usr/bin/patronictl -c {cluster.dir}/patronictl.yml "$@"')
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    _script(f"{directory}/lab", f'PYTHONPATH={here} exec /usr/bin/python3 -m lab --id {cluster.id} "$@"')
    return {**os.environ, "PATH": f"{directory}:{os.environ['PATH']}", "PGUSER": "postgres", "PGDATABASE": "postgres",
            "PGHOST": ",".join(n.address for n in cluster.nodes), "PGTARGETSESSIONATTRS": "read-write",
            "PS1": f"pgtether lab {cluster.id}# "}


def _script(path, text):
    with open(path, "w") as f:
        f.write(f"#!/bin/sh\n{text}\n")
    os.chmod(path, 0o755)


def main():
    try:
        cluster = Cluster.attach(label=LABEL)
    except NotReady:
        print("no cluster is up: ./quickstart brings one up", file=sys.stderr)
        return 1
    argv = sys.argv[1:]
    if not argv:
        print("pgtetherctl list    the cluster            psql              the primary, wherever it is\n"
              "lab fault           faults to choose from  lab fault NAME    break the leader and measure\n"
              "lab info            addresses, pids, logs  exit              leaves; the cluster stays up")
        argv = ["/bin/bash", "--norc", "-i"]
    with net.inside(cluster.net.client):
        return subprocess.call(argv, env=environment(cluster))


if __name__ == "__main__":
    sys.exit(main())
