"""A whole lab: network, store, nodes; built, found again by a later process, and always cleaned up.

A lab's state is a directory in /run/pgtether-lab, so that another process can attach to it and a later run can remove
what a killed one left behind: a lab with an owner that is gone is nobody's.
"""

import dataclasses
import http.client
import json
import os
import shutil
import subprocess
import time

import psycopg2

from . import etcd, net, sysproc
from .node import AGENTS, PG_PORT, REST_PORT, Programs, write_patronictl_config

STATE = "/run/pgtether-lab"
NEEDED_BYTES = 2 << 30


@dataclasses.dataclass
class Timing:
    ttl: int = 5
    loop_wait: int = 1
    retry_timeout: int = 1


class NotReady(Exception):
    """A condition was not met in time; says what was missing."""


def data_root():
    """Memory where there is enough of it: the lab is about faults, not about disks."""
    try:
        space = os.statvfs("/dev/shm")
        if os.path.ismount("/dev/shm") and space.f_bavail * space.f_frsize >= NEEDED_BYTES:
            return "/dev/shm"
    except OSError:
        pass
    return "/var/tmp"


class Cluster:
    def __init__(self, state):
        self.state = state
        self.id = state["id"]
        # Its own, since control groups are named after it, and all labs of the kernel share them (also of a chroot).
        self.scope = state.get("scope", f"lab{self.id}")
        self.dir = state["dir"]
        self.agent = state["agent"]
        self.timing = Timing(**state["timing"])
        self.dcs_settings = state.get("dcs_settings", {})
        self.parameters = state.get("parameters", {})
        self.extra_config = state.get("extra_config", "")
        self.postgresql_config = state.get("postgresql_config", "")
        self.vips = state.get("vips", [])
        self.etcd_options = state.get("etcd_options", [])
        self.etcd_token = "lab"  # another one makes another etcd cluster
        self.etcd_user = state.get("etcd_user")  # [name, password] for the agents
        self.programs = Programs(state.get("programs"))
        self.net = self._make_network()
        self.children = []
        self.nodes = self._make_nodes()
        self.store = self._make_store()
        self.hosts = self.nodes + [h for h in self.store if h not in self.nodes]

    def _make_network(self):
        return net.Network(self.id)

    def _make_nodes(self):
        return [AGENTS[self.agent](self, i + 1) for i in range(self.state["size"])]

    def _make_store(self):
        """Where the members of etcd run."""
        return self.nodes

    # -- life --------------------------------------------------------------------------------------------------------

    @classmethod
    def create(cls, agent="pgtether", size=3, timing=None, label="", programs=None, dcs_settings=None,
               extra_config="", vips=(), etcd_options=(), etcd_user=None, owned=True, postgresql_config="", parameters=None):
        """Builds network, store and agents; returns at once, the agents bootstrap meanwhile. See wait_whole().

        postgresql_config: more settings of that group; "@" in it stands for the directory of the node.
        vips: which virtual addresses there are, "primary" and "replica"; see vip().
        parameters: PostgreSQL's, on top of the lab's.
        """
        sweep()
        lab_id = _claim_id()
        state = {"id": lab_id, "scope": f"lab-{os.urandom(2).hex()}", "dir": f"{data_root()}/pgtether-lab-{lab_id}", "agent": agent, "size": size,
                 "label": label, "timing": dataclasses.asdict(timing or Timing()),
                 "programs": Programs(programs).where, "dcs_settings": dcs_settings or {},
                 "extra_config": extra_config, "postgresql_config": postgresql_config, "parameters": parameters or {}, "vips": list(vips), "etcd_options": list(etcd_options),
                 "etcd_user": etcd_user,
                 "owner": sysproc.identity(os.getpid())}
        cluster = cls(state)
        cluster._save()
        try:
            shutil.rmtree(cluster.dir, ignore_errors=True)
            os.makedirs(cluster.dir, mode=0o755)
            cluster.net.create([h.name for h in cluster.hosts])
            for h in cluster.hosts:
                h.prepare()
            for h in cluster.store:
                h.start_etcd()
            write_patronictl_config(cluster)
            cluster.wait(lambda: cluster.keys() is not None, 30, "the store answers")
            for n in cluster.nodes:
                n.start_agent()
        except BaseException:
            cluster.destroy()
            raise
        if not owned:
            cluster.disown()
        return cluster

    @classmethod
    def attach(cls, lab_id=None, label=None):
        """The lab with that number or label; the only one there is without either."""
        found = [s for s in states() if (lab_id is None or s["id"] == lab_id) and (label is None or s["label"] == label)]
        if not found:
            raise NotReady("no such lab is up")
        if len(found) > 1:
            raise NotReady(f"several labs are up, choose one: {', '.join(str(s['id']) for s in found)}")
        return cls(found[0])

    def disown(self):
        """Lets the lab outlive this process."""
        self.state["owner"] = None
        self._save()

    def destroy(self):
        for ns in self.net.namespaces():
            sysproc.kill_namespace(net.path(ns))
        for child in self.children:
            child.wait()
        self.net.destroy()
        self._remove_cgroups()
        shutil.rmtree(self.dir, ignore_errors=True)
        shutil.rmtree(Programs.directory(self.id), ignore_errors=True)
        shutil.rmtree(f"{STATE}/{self.id}", ignore_errors=True)

    def _remove_cgroups(self):
        for mount in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified"):
            for top, _, _ in os.walk(mount):
                if os.path.basename(top).startswith(f"pgtether-{self.scope}-"):
                    for directory, _, _ in os.walk(top, topdown=False):
                        try:
                            os.rmdir(directory)
                        except OSError:
                            pass

    def save_logs(self, where):
        """Copies what explains a failure: logs, configurations, the store's keys."""
        os.makedirs(where, exist_ok=True)
        for h in self.hosts:
            h.save_logs(where)
        with open(f"{where}/store.json", "w") as f:
            json.dump(self.keys(), f, indent=1)

    def _save(self):
        os.makedirs(f"{STATE}/{self.id}", exist_ok=True)
        path = f"{STATE}/{self.id}/state.json"
        with open(path + ".new", "w") as f:
            json.dump(self.state, f)
        os.rename(path + ".new", path)

    # -- looking -----------------------------------------------------------------------------------------------------

    def node(self, name):
        return next(n for n in self.nodes if n.name == name)

    def vip(self, role="primary"):
        """The virtual address for the primary or for replicas."""
        return f"{self.net.subnet}.{ {'primary': 100, 'replica': 101}[role] }"

    def keys(self):
        """What the store holds about the cluster: {"leader": "n1", "members/n1": "{…}", …}; None without a quorum."""
        return etcd.read_prefix(self.net.client, [h.address for h in self.store], f"/service/{self.scope}/")

    def leader(self):
        """Who holds the leader key, None if nobody does."""
        name = (self.keys() or {}).get("leader")
        return self.node(name) if name in [n.name for n in self.nodes] else None

    def connect(self, node, timeout=3, **options):
        """An SQL connection as a client has it."""
        with net.inside(self.net.client):
            conn = psycopg2.connect(host=node.address, port=PG_PORT, user="postgres", dbname="postgres",
                                    connect_timeout=timeout, application_name="lab-admin",
                                    options="-c statement_timeout=5000", **options)
        conn.autocommit = True
        return conn

    def query(self, node, sql, args=None):
        conn = self.connect(node)
        try:
            with conn.cursor() as cursor:
                cursor.execute(sql, args)
                return cursor.fetchall() if cursor.description else []
        finally:
            conn.close()

    def accepts_writes(self, node):
        """False for None, too: who led a moment ago may do so no more."""
        try:
            return node is not None and not self.query(node, "SELECT pg_is_in_recovery()")[0][0]
        except psycopg2.Error:
            return False

    def what_is_missing(self):
        """None when the cluster is whole: a leader that writes, all others streaming from it. Else what is missing."""
        keys = self.keys()
        if keys is None:
            return "the store has no quorum"
        leader = keys.get("leader")
        if not leader:
            return "nobody holds the leader key"
        node = self.node(leader)
        try:
            in_recovery, = self.query(node, "SELECT pg_is_in_recovery()")[0]
            streaming = {name for name, in self.query(
                node, "SELECT application_name FROM pg_stat_replication WHERE state = 'streaming'")}
        except psycopg2.Error as e:
            return f"{leader} leads but does not answer: {str(e).strip().splitlines()[0]}"
        if in_recovery:
            return f"{leader} leads but is still in recovery"
        for n in self.nodes:
            if n is not node and n.name not in streaming:
                return f"{n.name} does not stream from {leader}"
        members = {n.name: json.loads(keys.get(f"members/{n.name}", "{}")) for n in self.nodes}
        for name, member in members.items():
            if member.get("state") not in ("running", "streaming"):
                return f"{name} publishes state {member.get('state')}"
            if member.get("timeline") != members[leader].get("timeline"):
                return f"{name} publishes timeline {member.get('timeline')}, {leader} {members[leader].get('timeline')}"
        return None

    def wait(self, condition, timeout, what, tick=None, interval=0.05):
        """Until condition() is true. tick() is called while waiting, for progress."""
        end = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > end:
                raise NotReady(f"not within {timeout} s: {what}")
            if tick:
                tick()
            time.sleep(interval)

    def wait_whole(self, timeout=120, tick=None):
        missing = ["?"]

        def whole():
            missing[0] = self.what_is_missing()
            return missing[0] is None
        try:
            self.wait(whole, timeout, "cluster whole", tick, 0.1)
        except NotReady:
            raise NotReady(f"cluster not whole after {timeout} s: {missing[0]}") from None
        return self.leader()

    def rest(self, node, path, method="GET", body=None, timeout=3):
        """(status, text) of the node's REST API; (None, reason) when nobody answers."""
        try:
            with net.inside(self.net.client):
                connection = http.client.HTTPConnection(node.address, REST_PORT, timeout=timeout)
                connection.request(method, path, body)
                answer = connection.getresponse()
                text = answer.read().decode()
                connection.close()
                return answer.status, text
        except (OSError, http.client.HTTPException) as e:
            return None, str(e)

    def ctl(self, *arguments, node=None, answers="", timeout=60):
        """Runs the agent's own command line in the client namespace, fed with answers; (exit code, output)."""
        node = node or self.nodes[0]
        if self.agent == "patroni":
            command = ["/usr/bin/patronictl", "-c", f"{node.dir}/patroni.yml"]
        else:
            command = [self.programs.find("pgtetherctl"), "-c", f"{node.dir}/pgtether.conf"]
        return self.command(*command, *arguments, answers=answers, timeout=timeout)

    def patronictl(self, *arguments, answers=""):
        """The reference's command line on our store."""
        return self.command("/usr/bin/patronictl", "-c", f"{self.dir}/patronictl.yml", *arguments, answers=answers)

    def command(self, *argv, answers="", timeout=60):
        with net.inside(self.net.client):
            done = subprocess.run(argv, input=answers, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  text=True, timeout=timeout, check=False,
                                  env={**os.environ, "LC_ALL": "C.UTF-8", "LANG": "C.UTF-8"})
        return done.returncode, done.stdout


def states():
    """The labs that are up, whoever owns them."""
    found = []
    try:
        entries = os.listdir(STATE)
    except OSError:
        return []
    for entry in entries:
        try:
            with open(f"{STATE}/{entry}/state.json") as f:
                found.append(json.load(f))
        except (OSError, ValueError):
            continue
    return sorted(found, key=lambda s: s["id"])


def sweep():
    """Removes labs whose owner died without cleaning up."""
    for state in states():
        if state["owner"] and not sysproc.is_same(state["owner"]):
            Cluster(state).destroy()


def _claim_id():
    os.makedirs(STATE, exist_ok=True)
    for lab_id in range(1, 250):
        try:
            os.mkdir(f"{STATE}/{lab_id}")
            return lab_id
        except FileExistsError:
            continue
    raise NotReady("no lab number is free")
