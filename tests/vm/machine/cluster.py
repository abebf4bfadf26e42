"""A lab whose last node is a machine. The store's members are on this host: it is the machine that gets broken."""

import contextlib
import json

from lab import etcd, net, sysproc
from lab.cluster import Cluster
from lab.node import Host, PgtetherNode

from .node import VmNode


class VmNetwork(net.Network):
    """The machine's namespace gets no cable: qemu holds the end of a tap instead."""

    machine = None

    def _plug(self, ns, address, port):
        if ns == self.namespace(self.machine):
            net.run("ip", "netns", "add", ns)
        else:
            super()._plug(ns, address, port)


class VmCluster(Cluster):
    def __init__(self, state):
        super().__init__(state)
        self.net.machine = self.vm.name
        self.address = f"{self.net.subnet}.100"
        self.extra_config += f'vip = ( {{ address = "{self.address}/24"; interface = "eth0"; }} );'

    def _make_network(self):
        return VmNetwork(self.id)

    def _make_nodes(self):
        size = self.state["size"]
        return [PgtetherNode(self, i + 1) for i in range(size - 1)] + [VmNode(self, size)]

    def _make_store(self):
        return self.nodes[:-1] + [Host(self, len(self.nodes) + 1, "store")]

    @property
    def vm(self):
        return self.nodes[-1]

    @property
    def machine(self):
        return self.vm.machine

    @property
    def guest(self):
        return self.vm.guest

    def destroy(self):
        self.vm.kill_all()
        super().destroy()

    def lead_with_vm(self, timeout=120):
        """Makes the machine's node the leader: the others stop in good order, so it takes over at once."""
        if self.wait_whole(timeout) is self.vm:
            return
        with self.others_stopped():
            self.wait(lambda: self.leader() is self.vm and self.accepts_writes(self.vm), timeout, "the machine leads")
        self.wait_whole(timeout)

    @contextlib.contextmanager
    def others_stopped(self):
        """In good order, the leader last."""
        leader = self.leader()
        others = [n for n in self.nodes if n not in (self.vm, leader)] + [n for n in (leader,) if n not in (None, self.vm)]
        try:
            for n in others:
                sysproc.send(n.keeper_pid(), sysproc.signal.SIGTERM)
                self.wait(lambda: not n.keeper_pid() and not n.postgres_pids(), 30, f"{n.name} stops")
            yield
        finally:
            for n in others:
                n.start()

    def set_timing(self, timing):
        """Changes the dynamic configuration, and waits until every node lives by it."""
        if self.timing == timing:
            return
        self.timing = timing
        config = json.loads(self.keys()["config"])
        config.update(ttl=timing.ttl, loop_wait=timing.loop_wait, retry_timeout=timing.retry_timeout)
        if not etcd.put(self.net.client, [h.address for h in self.store], f"/service/{self.scope}/config",
                        json.dumps(config)):
            raise OSError("the store does not take the configuration")
        self.wait(lambda: all(self._lives_by(n, timing) for n in self.nodes), 60, f"every node knows {timing}")

    def _lives_by(self, node, timing):
        _, text = self.rest(node, "/config", timeout=5)
        try:
            return json.loads(text).get("ttl") == timing.ttl
        except ValueError:
            return False
