"""A cluster that follows another one: the lab's nodes, and beside them servers that no agent looks after.

The followed cluster is plain PostgreSQL, so that a test decides when it fails over, and when it is out of reach.
"""

import json
import os
import shutil
import subprocess

import psycopg2

from . import net
from .cluster import Cluster
from .node import PARAMETERS, PASSWORD, PG_BIN, PG_PORT, USER, Host

SLOT = "lab_standby_cluster"


class RemoteServer(Host):
    """A PostgreSQL server: the first of a RemoteLab is the primary, the others follow it."""

    def __init__(self, cluster, number, name, source=None):
        super().__init__(cluster, number, name)
        self.source = source
        self.data_dir = f"{self.dir}/data"

    def run(self, *argv, check=True):
        with net.inside(self.namespace):
            done = subprocess.run(["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", *argv], cwd="/",
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                  check=False, timeout=120, env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8",
                                                                 "PGPASSWORD": PASSWORD["replication"]})
        if check and done.returncode != 0:
            raise RuntimeError(f"{' '.join(argv)}: {done.stdout.strip()}")
        return done.stdout

    def pg_ctl(self, *arguments, check=True):
        return self.run(f"{PG_BIN}/pg_ctl", "-D", self.data_dir, "-w", "-l", f"{self.dir}/postgresql.log", *arguments,
                        check=check)

    def start(self):
        """Its own settings on the command line: what is in its files comes to whoever copies it, or is rewound to it."""
        own = {"unix_socket_directories": self.dir, "listen_addresses": "*", "hba_file": f"{self.data_dir}/pg_hba.conf",
               "ident_file": f"{self.data_dir}/pg_ident.conf"}
        self.pg_ctl("start", "-o", " ".join(f"-c {name}={value}" for name, value in own.items()))

    def prepare(self):
        super().prepare()
        if self.source:
            self.copy(self.source)
        else:
            self.initialize()

    def initialize(self):
        self.run(f"{PG_BIN}/initdb", "-D", self.data_dir, "-k", "-A", "trust", "--locale=C.UTF-8", "-U", USER["superuser"])
        subnet = f"{self.cluster.net.subnet}.0/24"
        settings = {**PARAMETERS, "listen_addresses": "*", "port": str(PG_PORT)}
        with open(f"{self.data_dir}/postgresql.conf", "a") as f:
            f.write("".join(f"{name} = '{value}'\n" for name, value in settings.items()))
        with open(f"{self.data_dir}/pg_hba.conf", "w") as f:
            f.write(f"local all all trust\nhost all all {self.cluster.net.address(0)}/32 trust\n"
                    f"host all all {subnet} scram-sha-256\nhost replication all {subnet} scram-sha-256\n")
        self.start()
        self.cluster.query(self, f"ALTER ROLE {USER['superuser']} PASSWORD '{PASSWORD['superuser']}';"
                                 f"CREATE ROLE {USER['replication']} LOGIN REPLICATION PASSWORD '{PASSWORD['replication']}';"
                                 f"CREATE ROLE {USER['rewind']} LOGIN PASSWORD '{PASSWORD['rewind']}';"
                                 f"GRANT pg_read_all_data, pg_monitor TO {USER['rewind']};" + "".join(
                                     f"GRANT EXECUTE ON FUNCTION pg_catalog.{f} TO {USER['rewind']};" for f in (
                                         "pg_ls_dir(text, boolean, boolean)", "pg_stat_file(text, boolean)",
                                         "pg_read_binary_file(text)",
                                         "pg_read_binary_file(text, bigint, bigint, boolean)")))
        self.cluster.query(self, "CREATE TABLE of_remote (n int)")
        self.cluster.query(self, "SELECT pg_create_physical_replication_slot(%s)", (SLOT,))

    def copy(self, source):
        """Becomes a standby of source, from nothing."""
        shutil.rmtree(self.data_dir, ignore_errors=True)
        self.run(f"{PG_BIN}/pg_basebackup", "-D", self.data_dir, "-R", "-c", "fast", "-d",
                 f"host={source.address} port={PG_PORT} user={USER['replication']} password={PASSWORD['replication']}")
        self.start()

    def stop(self, mode="fast"):
        self.pg_ctl("stop", "-m", mode)

    def promote(self):
        self.pg_ctl("promote")

    def write(self, n):
        """One row more; where the WAL is behind it."""
        self.cluster.query(self, "INSERT INTO of_remote VALUES (%s)", (n,))
        return self.cluster.query(self, "SELECT pg_current_wal_lsn()")[0][0]

    def save_logs(self, where):
        if os.path.exists(self.dir):
            super().save_logs(where)


class RemoteLab(Cluster):
    """Nodes that follow remote 0. With "alone" in dcs_settings they begin as a cluster of their own."""

    def __init__(self, state):
        super().__init__(state)
        number = len(self.hosts) + 1
        first = RemoteServer(self, number, "r1")
        self.remotes = [first, RemoteServer(self, number + 1, "r2", first)]
        self.hosts = self.hosts + self.remotes
        if not self.dcs_settings.pop("alone", False):
            self.dcs_settings = {**self.dcs_settings, "standby_cluster": self.section()}

    def section(self):
        return {"host": ",".join(r.address for r in self.remotes), "port": PG_PORT, "primary_slot_name": SLOT}

    def change(self, **settings):
        """PATCH /config at the leader, as the command line does it."""
        status, text = self.rest(self.leader(), "/config", "PATCH", json.dumps(settings))
        assert status == 200, text

    def member(self, node):
        return json.loads((self.keys() or {}).get(f"members/{node.name}", "{}"))

    def why_not_following(self):
        """None when the leader streams from the other cluster and all others from the leader; else what is missing."""
        keys = self.keys() or {}
        if not keys.get("leader"):
            return "nobody holds the leader key"
        leader = self.node(keys["leader"])
        if self.member(leader).get("role") != "standby_leader":
            return f"{leader.name} leads and publishes role {self.member(leader).get('role')}"
        for n in self.nodes:
            source = self.remotes if n is leader else [leader]
            try:
                row = self.query(n, "SELECT sender_host FROM pg_stat_wal_receiver WHERE status = 'streaming'")
                in_recovery, = self.query(n, "SELECT pg_is_in_recovery()")[0]
            except psycopg2.Error as e:
                return f"{n.name} does not answer: {str(e).strip().splitlines()[0]}"
            if not in_recovery:
                return f"{n.name} is a primary"
            if not row or row[0][0] not in [s.address for s in source]:
                return f"{n.name} streams from {row[0][0] if row else 'nobody'}"
        return None

    def wait_following(self, timeout=60):
        missing = ["?"]

        def following():
            missing[0] = self.why_not_following()
            return missing[0] is None
        try:
            self.wait(following, timeout, "following", interval=0.1)
        except Exception as e:
            raise AssertionError(f"not following after {timeout} s: {missing[0]}") from e
        return self.leader()

    def wait_replayed(self, lsn, nodes=None, timeout=20):
        def has(n):
            try:
                return self.query(n, "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", (lsn,))[0][0]
            except psycopg2.Error:
                return False
        self.wait(lambda: all(has(n) for n in nodes or self.nodes), timeout, f"all have replayed {lsn}")
