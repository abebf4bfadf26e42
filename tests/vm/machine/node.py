"""The machine as a node of the lab: what the lab asks of a node, answered through qemu and the hand in the guest."""

import json
import os
import pwd
import shlex
import shutil

from lab import etcd
from lab.node import PG_PORT, REST_PORT, Host, Paths, PgtetherNode
from lab.sysproc import now_us

from . import image, package, payload
from .guest import GuestGone
from .vm import Machine

UNIT = "pgtether@lab"
CONFIG = "/etc/pgtether/lab.conf"


class VmNode(PgtetherNode):
    def __init__(self, cluster, number):
        super().__init__(cluster, number)
        self.paths = Paths("/data/pg/data", "/run/pgtether", "/var/log/postgresql/pgtether.log",
                           "/var/lib/postgresql/pgpass-lab", "/run/postgresql", "/var/lib/pgtether")
        self.machine = None

    @property
    def guest(self):
        if not self.machine or not self.machine.guest:
            raise GuestGone("the machine is switched off")
        return self.machine.guest

    def prepare(self):
        Host.prepare(self)
        self.write_config(pwd.getpwnam("postgres"))
        self.machine = Machine(self.dir, image.get(), self.cluster.net, self.name, self.number, self.address)
        self.machine.make_disks()
        payload.write(f"{self.dir}/payload.tar", self.config_text(), package.get(), package.newer(self.dir))

    def config_text(self, watchdog="required"):
        return super().config_text(watchdog)

    # -- power -------------------------------------------------------------------------------------------------------

    def start_agent(self):
        """The whole machine; systemd does the rest."""
        if not self.machine.process:
            self.machine.power_on()

    def start(self):
        self.start_agent()

    def kill_all(self):
        if self.machine:
            self.machine.power_off()

    # -- what runs in it ---------------------------------------------------------------------------------------------

    def _pid(self, command):
        try:
            _, output = self.guest.run(command)
        except GuestGone:
            return None
        text = output.strip()
        return int(text) if text.isdigit() and text != "0" else None

    def keeper_pid(self):
        return self._pid(f"systemctl show -p MainPID --value {UNIT}")

    def agent_pid(self):
        return self._pid(f"pgrep -x pgtether-agent -P $(systemctl show -p MainPID --value {UNIT})")

    def postmaster_pid(self):
        return self._pid(f"p=$(head -1 {self.paths.data}/postmaster.pid) && kill -0 $p && echo $p")

    def postgres_pids(self):
        """Of this host: none."""
        return []

    def send(self, pid, sig):
        return self.guest.run(f"kill -{int(sig)} {pid}")[0] == 0

    def signal_all(self, sig):
        """PostgreSQL, agent, keeper. The hand, systemd and the kernel go on."""
        self.guest.run(f"pkill -{int(sig)} -x 'postgres|pgtether-agent|pgtetherd'")

    def strike(self, command, timeout=60):
        """Runs it in the machine and returns when it was sure to have been done (CLOCK_BOOTTIME of this host)."""
        self.guest.check(command, timeout)
        return now_us()

    def ctl(self, *arguments):
        return self.guest.run(f"pgtetherctl -c {CONFIG} {shlex.join(arguments)}")[1]

    def reconfigure(self, text):
        """Gives the instance this configuration, and starts it anew with it: PostgreSQL stops meanwhile."""
        self.guest.check(f"systemctl stop {UNIT}; echo {text.encode().hex()} | perl -ne 'chomp; print pack \"H*\", $_'"
                         f" >{CONFIG}", timeout=120)
        self.guest.check(f"systemctl start --no-block {UNIT}")

    def forgive(self):
        """What was done to the machine an hour ago is no reason to keep it out of the next election."""
        self.guest.run(f"pgtetherctl -c {CONFIG} clear-fence-guard; rm -f {self.paths.state}/*/fence-report.json")

    # -- its cable ---------------------------------------------------------------------------------------------------

    def _others(self):
        return [h for h in self.cluster.hosts if h is not self]

    def cut_off(self):
        for h in self._others():
            self.cluster.net.cut_from(h.name, [self.address])

    def cut_store(self):
        for h in self.cluster.store:
            self.cluster.net.refuse(h.name, self.address, [etcd.CLIENT_PORT])

    def cut_peers(self):
        """The other nodes' PostgreSQL and REST are out of reach, in both directions; the store is not."""
        for n in self._others():
            if n in self.cluster.nodes:
                self.cluster.net.cut_from(n.name, [self.address], but_ports=[etcd.CLIENT_PORT])

    def heal(self):
        for h in self._others():
            self.cluster.net.heal(h.name)

    # -- afterwards --------------------------------------------------------------------------------------------------

    def save_logs(self, where):
        os.makedirs(where, exist_ok=True)
        for name in ("journal.log", "console.log", "qemu.log", "pgtether.conf"):
            if os.path.exists(f"{self.dir}/{name}"):
                shutil.copy(f"{self.dir}/{name}", f"{where}/{self.name}-{name}")
        with open(f"{where}/{self.name}-qmp.json", "w") as f:
            json.dump(self.machine.qmp.events if self.machine and self.machine.qmp else [], f, indent=1)
        try:
            text = self.guest.run("systemctl status --no-pager -l pgtether@lab; ps axfo pid,stat,wchan:20,args;"
                                  " cat /var/log/postgresql/*.log; dmesg | tail -50", timeout=20)[1]
        except GuestGone as e:
            text = str(e)
        with open(f"{where}/{self.name}-state.txt", "w") as f:
            f.write(text)


__all__ = ["VmNode", "PG_PORT", "REST_PORT", "UNIT"]
