"""A node: its address, its etcd member, its PostgreSQL and the agent that looks after it.

Agents are pluggable: PgtetherNode runs this project, PatroniNode the reference, with the same settings, so that a
fault can be shown on both and a detector that never fires can be told from a cluster that never fails.
"""

import dataclasses
import json
import os
import pwd
import re
import shutil
import signal
import subprocess

from . import etcd, net, sysproc

# Another PostgreSQL: see get-postgresql.
PG_BIN = os.environ.get("PGTETHER_TEST_PG") or "/usr/lib/postgresql/15/bin"
PG_MAJOR = int(re.search(r"\) (\d+)", subprocess.run([f"{PG_BIN}/postgres", "-V"], stdout=subprocess.PIPE, text=True,
                                                   check=True).stdout)[1])
PG_PORT, REST_PORT = 5432, 8008
PASSWORD = {"superuser": "super-secret", "replication": "rep-secret", "rewind": "rewind-secret"}
USER = {"superuser": "postgres", "replication": "replicator", "rewind": "rewinder"}
PARAMETERS = {"shared_buffers": "16MB", "max_connections": "60", "min_wal_size": "32MB", "max_wal_size": "256MB",
              "wal_keep_size": "128MB", "wal_log_hints": "on", "log_line_prefix": "%m [%p] %q%a "}


class Host:
    """An address of the lab, with a directory and maybe a member of the store."""

    def __init__(self, cluster, number, name=None):
        self.cluster, self.number = cluster, number
        self.name = name or f"n{number}"
        self.address = cluster.net.address(number)
        self.namespace = cluster.net.namespace(self.name)
        self.dir = f"{cluster.dir}/{self.name}"

    def prepare(self):
        """The directory belongs to postgres: nothing of it is root's business."""
        postgres = pwd.getpwnam("postgres")
        os.makedirs(self.dir, mode=0o755, exist_ok=True)
        os.chown(self.dir, postgres.pw_uid, postgres.pw_gid)

    def processes(self):
        return sysproc.in_namespace(net.path(self.namespace))

    def named(self, comm):
        return [p for p in self.processes() if p.comm == comm]

    def etcd_pid(self):
        return next((p.pid for p in self.named("etcd")), None)

    def start_etcd(self):
        if not self.etcd_pid():
            etcd.start(self, self.cluster.store, self.dir)

    def kill_all(self):
        """What a power cut does to the processes; the kernel and its disks live on."""
        sysproc.kill_namespace(net.path(self.namespace))

    def signal_all(self, sig):
        for p in self.processes():
            sysproc.send(p.pid, sig)

    def save_logs(self, where):
        for entry in os.scandir(self.dir):
            if entry.is_file() and not entry.name.endswith("pgpass"):
                shutil.copy(entry.path, f"{where}/{self.name}-{entry.name}")


@dataclasses.dataclass
class Paths:
    """Of a node, as its own processes see them."""

    data: str
    run: str
    log: str
    pgpass: str
    sockets: str
    state: str


class Node(Host):
    def __init__(self, cluster, number):
        super().__init__(cluster, number)
        self.data_dir = f"{self.dir}/data"
        self.own_config = ""  # settings of this node alone, for the next write_config()
        self.paths = Paths(self.data_dir, f"{self.dir}/run", f"{self.dir}/postgresql.log", f"{self.dir}/pgpass", self.dir,
                           f"{self.dir}/state")

    # -- what runs ---------------------------------------------------------------------------------------------------

    def postmaster_pid(self):
        try:
            with open(f"{self.data_dir}/postmaster.pid") as f:
                pid = int(f.readline())
        except (OSError, ValueError):
            return None
        return pid if sysproc.Process(pid).alive else None

    def postgres_pids(self):
        return [p.pid for p in self.processes() if p.comm == "postgres"]

    def agent_pid(self):
        raise NotImplementedError

    def keeper_pid(self):
        """The process that guards the agent; None where the agent has no guard."""
        return None

    def main_pid(self):
        """The process that a service manager watches."""
        return self.agent_pid()

    # -- starting and stopping ---------------------------------------------------------------------------------------

    def prepare(self):
        """Writes what the agent needs."""
        super().prepare()
        postgres = pwd.getpwnam("postgres")
        os.makedirs(f"{self.dir}/run", mode=0o755, exist_ok=True)
        os.chown(f"{self.dir}/run", postgres.pw_uid, postgres.pw_gid)
        self.write_config(postgres)

    def start_agent(self):
        """Starts keeper and agent (or the reference's daemon). Output goes to agent.log, which only grows."""
        with net.inside(self.namespace), open(f"{self.dir}/agent.log", "ab") as log:
            process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                                       start_new_session=True, cwd="/", env=self.environment())
        self.cluster.children.append(process)

    def start(self):
        if self in self.cluster.store:
            self.start_etcd()
        if not self.agent_pid():
            self.start_agent()

    # -- breaking it -------------------------------------------------------------------------------------------------

    def send(self, pid, sig):
        return sysproc.send(pid, sig)

    def cut_off(self):
        """From the store and its peers; clients still reach it."""
        self.cluster.net.cut_from(self.name, [h.address for h in self.cluster.hosts if h is not self])

    def cut_store(self):
        self.cluster.net.cut_ports(self.name, [etcd.CLIENT_PORT])

    def heal(self):
        self.cluster.net.heal(self.name)

    # -- its files ---------------------------------------------------------------------------------------------------

    def save_logs(self, where):
        super().save_logs(where)
        logs = f"{self.data_dir}/log"
        if os.path.isdir(logs):
            shutil.copytree(logs, f"{where}/{self.name}-pglog", dirs_exist_ok=True)

    def environment(self):
        return {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8",
                "LC_ALL": "C.UTF-8"}

    def write_file(self, name, text, owner, mode=0o600):
        path = f"{self.dir}/{name}"
        with open(path, "w") as f:
            f.write(text)
        os.chmod(path, mode)
        os.chown(path, owner.pw_uid, owner.pw_gid)

    def hba(self):
        members = f"{self.cluster.net.subnet}.0/24"
        return [f"host all all {self.cluster.net.address(0)}/32 trust", f"host all all {members} scram-sha-256",
                "host all all 127.0.0.1/32 scram-sha-256",
                f"host replication {USER['replication']} {members} scram-sha-256", "local all all trust"]

    def dynamic(self):
        """bootstrap.dcs"""
        t = self.cluster.timing
        return {"ttl": t.ttl, "loop_wait": t.loop_wait, "retry_timeout": t.retry_timeout,
                "maximum_lag_on_failover": 1048576, **self.cluster.dcs_settings,
                "postgresql": {"use_pg_rewind": True, "parameters": {**PARAMETERS, **self.cluster.parameters}}}


class PgtetherNode(Node):
    def agent_pid(self):
        agents = self.named("pgtether-agent")
        pids = {p.pid for p in agents}
        return next((p.pid for p in agents if p.ppid not in pids), None)

    def keeper_pid(self):
        return next((p.pid for p in self.named("pgtetherd")), None)

    def main_pid(self):
        return self.keeper_pid()

    def command(self):
        programs = self.cluster.programs.install(self.cluster.id)
        return [programs["pgtetherd"], "-c", f"{self.dir}/pgtether.conf", "--user", "postgres",
                "--agent", programs["pgtether-agent"]]

    def write_config(self, owner):
        self.write_file("pgtether.conf", self.config_text(), owner)

    def config_text(self, watchdog="off"):
        hosts = ", ".join(f'"{n.address}:{etcd.CLIENT_PORT}"' for n in self.cluster.store)
        users = "\n".join(f'        {kind}: {{ username = "{USER[kind]}"; password = "{PASSWORD[kind]}"; }};'
                          for kind in USER)
        dynamic = _libconfig(self.dynamic())
        return f'''# Written by the lab.
scope = "{self.cluster.scope}";
namespace = "/service/";
name = "{self.name}";
restapi: {{ listen = "{self.address}:{REST_PORT}"; connect_address = "{self.address}:{REST_PORT}"; }};
etcd3: {{ hosts = [ {hosts} ]; {self.etcd_login()} }};
state_dir = "{self.paths.state}";
watchdog: {{ mode = "{watchdog}"; }};
bootstrap: {{
    dcs: {dynamic};
    # The last one for PostgreSQL 13, whose passwords would be MD5 otherwise.
    initdb = ( "data-checksums", {{ encoding = "UTF8"; }}, {{ locale = "C.UTF-8"; }},
               {{ auth-host = "scram-sha-256"; }} );
}};
postgresql: {{
    listen = "{"*" if self.cluster.vips else self.address}:{PG_PORT}";
    connect_address = "{self.address}:{PG_PORT}";
    data_dir = "{self.paths.data}";
    bin_dir = "{PG_BIN}";
    run_dir = "{self.paths.run}";
    log_file = "{self.paths.log}";
    pgpass = "{self.paths.pgpass}";
    authentication: {{
{users}
    }};
    parameters: {{ unix_socket_directories = "{self.paths.sockets}"; }};
    pg_hba = [ {", ".join(json.dumps(line) for line in self.hba())} ];
{self.cluster.postgresql_config.replace("@", self.dir)}
}};
{self.vip_text()}{self.cluster.extra_config}{self.own_config}
'''

    def etcd_login(self):
        user = self.cluster.etcd_user
        return f'username = "{user[0]}"; password = "{user[1]}";' if user else ""

    def vip_text(self):
        entries = ", ".join(f'{{ address = "{self.cluster.vip(role)}/24"; interface = "eth0"; for = "{role}"; }}'
                            for role in self.cluster.vips)
        return f"vip = ( {entries} );\n" if entries else ""


def _libconfig(value):
    """A JSON-like value in libconfig's syntax."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "{ " + " ".join(f"{k} = {_libconfig(v)};" for k, v in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "( " + ", ".join(map(_libconfig, value)) + " )"
    return json.dumps(value)


class PatroniNode(Node):
    def agent_pid(self):
        return next((p.pid for p in self.processes() if "/usr/bin/patroni" in p.command and p.comm != "postgres"), None)

    def command(self):
        return ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "/usr/bin/python3",
                "/usr/bin/patroni", f"{self.dir}/patroni.yml"]

    def write_config(self, owner):
        """JSON is YAML."""
        t = self.cluster.timing
        dcs = {**self.dynamic(), "ttl": max(t.ttl, 20), "retry_timeout": max(t.retry_timeout, 3)}
        config = {
            "scope": self.cluster.scope, "namespace": "/service/", "name": self.name, "log": {"level": "INFO"},
            "restapi": {"listen": f"{self.address}:{REST_PORT}", "connect_address": f"{self.address}:{REST_PORT}"},
            "etcd3": {"hosts": [f"{n.address}:{etcd.CLIENT_PORT}" for n in self.cluster.store]},
            "watchdog": {"mode": "off"},
            "bootstrap": {"dcs": dcs,
                          "initdb": ["data-checksums", {"encoding": "UTF8"}, {"locale": "C.UTF-8"},
                                     {"auth-host": "scram-sha-256"}]},
            "postgresql": {
                "listen": f"{self.address}:{PG_PORT}", "connect_address": f"{self.address}:{PG_PORT}",
                "data_dir": self.data_dir, "bin_dir": PG_BIN, "pgpass": f"{self.dir}/pgpass",
                "authentication": {kind: {"username": USER[kind], "password": PASSWORD[kind]} for kind in USER},
                "parameters": {"unix_socket_directories": self.dir}, "pg_hba": self.hba()}}
        self.write_file("patroni.yml", json.dumps(config, indent=1), owner)


def write_patronictl_config(cluster):
    """For the reference's own command line, which must understand our cluster too."""
    path = f"{cluster.dir}/patronictl.yml"
    with open(path, "w") as f:
        json.dump({"scope": cluster.scope, "namespace": "/service/",
                   "etcd3": {"hosts": [f"{n.address}:{etcd.CLIENT_PORT}" for n in cluster.store]}}, f)
    return path


AGENTS = {"pgtether": PgtetherNode, "patroni": PatroniNode}


class Programs:
    """The programs under test: of a build directory or an installation.

    They are copied to where user postgres may execute them: a checkout below /root is out of its reach.
    """

    NAMES = {"pgtetherd": "sbin", "pgtether-agent": "libexec/pgtether", "pgtether-probe": "libexec/pgtether",
             "pgtether-net": "libexec/pgtether", "pgtether-gate": "libexec/pgtether",
             "pgtetherctl": "bin"}

    def __init__(self, where=None):
        top = os.path.abspath(f"{__file__}/../../../..")
        self.where = os.path.abspath(where or os.environ.get("PGTETHER_BUILD") or f"{top}/build")

    def find(self, name):
        for path in (f"{self.where}/{name}", f"{self.where}/{self.NAMES[name]}/{name}"):
            if os.access(path, os.X_OK):
                return path
        raise FileNotFoundError(f"{self.where}/{name} is not built")

    @staticmethod
    def directory(lab_id):
        return f"/var/tmp/pgtether-lab-{lab_id}-programs"

    def install(self, lab_id):
        """{name: path}; what was built since the last call replaces the copy, running processes keep theirs."""
        directory = self.directory(lab_id)
        os.makedirs(directory, mode=0o755, exist_ok=True)
        for name in self.NAMES:
            source, copy = self.find(name), f"{directory}/{name}"
            if not os.path.exists(copy) or os.stat(copy).st_mtime < os.stat(source).st_mtime:
                shutil.copy2(source, copy + ".new")
                os.chmod(copy + ".new", 0o755)
                os.rename(copy + ".new", copy)
        return {name: f"{directory}/{name}" for name in self.NAMES}


STOP, CONT, KILL = signal.SIGSTOP, signal.SIGCONT, signal.SIGKILL
