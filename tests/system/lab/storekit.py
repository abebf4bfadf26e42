"""What administrators, and accidents, do to etcd: keys deleted, leases revoked, alarms, users, snapshots, a new cluster."""

import os
import shutil
import socket
import subprocess

from . import etcd, net, sysproc
from .node import KILL


def etcdctl(cluster, *arguments, host=None, user=None, timeout=20):
    host = host or next(h for h in cluster.store if h.etcd_pid())
    command = ["etcdctl", "--endpoints", f"http://{host.address}:{etcd.CLIENT_PORT}"]
    if user:
        command += ["--user", user]
    with net.inside(cluster.net.client):
        done = subprocess.run([*command, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=timeout, check=False,
                              env={**os.environ, "ETCDCTL_API": "3"})
    if done.returncode:
        raise OSError(f"etcdctl {' '.join(arguments)}: {done.stdout}")
    return done.stdout


def path(cluster, key=""):
    return f"/service/{cluster.scope}/{key}"


def delete(cluster, key):
    etcdctl(cluster, "del", path(cluster, key))


def delete_all(cluster):
    etcdctl(cluster, "del", "--prefix", path(cluster))


def stop(cluster):
    for h in cluster.store:
        if h.etcd_pid():
            sysproc.send(h.etcd_pid(), KILL)
    cluster.wait(lambda: not any(h.etcd_pid() or listens(cluster, h) for h in cluster.store), 10, "etcd is gone")


def listens(cluster, host):
    """A process that was killed is gone from sight a moment before its sockets are closed."""
    with net.inside(cluster.net.client), socket.socket() as s:
        s.settimeout(1)
        return s.connect_ex((host.address, etcd.PEER_PORT)) == 0


def start(cluster):
    for h in cluster.store:
        h.start_etcd()
    cluster.wait(lambda: cluster.keys() is not None, 30, "the store answers")


def wipe(cluster):
    for h in cluster.store:
        shutil.rmtree(f"{h.dir}/etcd")


def save(cluster, file):
    etcdctl(cluster, "snapshot", "save", file)


def restore(cluster, file, token):
    """Replaces the stopped members' data, as the manual says; another token is another cluster id."""
    members = ",".join(f"{h.name}=http://{h.address}:{etcd.PEER_PORT}" for h in cluster.store)
    wipe(cluster)
    for h in cluster.store:
        subprocess.run(["etcdctl", "snapshot", "restore", file, "--name", h.name, "--data-dir", f"{h.dir}/etcd",
                        "--initial-cluster", members, "--initial-cluster-token", token,
                        "--initial-advertise-peer-urls", f"http://{h.address}:{etcd.PEER_PORT}"],
                       check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                       env={**os.environ, "ETCDCTL_API": "3"})
