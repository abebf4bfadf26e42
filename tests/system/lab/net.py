"""Network namespaces: a switch, the nodes, a client; and ways to cut a node off.

The bridge lives in a namespace of its own, so nothing of the host's network is touched and two labs never meet.
"""

import contextlib
import ctypes
import os
import subprocess

_libc = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET = 0x40000000


def path(ns):
    return f"/run/netns/{ns}"


def run(*argv, check=True, text=None):
    done = subprocess.run(argv, input=text, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if check and done.returncode != 0:
        raise RuntimeError(f"{' '.join(argv)}: {done.stdout.strip()}")
    return done.stdout


@contextlib.contextmanager
def inside(ns):
    """What is opened or started in this block belongs to the namespace. Only the calling thread moves.

    Unlike `ip netns exec` and `ip -n` this keeps /sys as it is, with the control groups that a node may want to use, and
    works where / is not a mount point (chroot).
    """
    with open("/proc/thread-self/ns/net") as home, open(path(ns)) as there:
        _setns(there.fileno())
        try:
            yield
        finally:
            _setns(home.fileno())


def _setns(fd):
    if _libc.setns(fd, _CLONE_NEWNET) != 0:
        err = ctypes.get_errno()
        raise OSError(err, f"setns: {os.strerror(err)}")


class Network:
    def __init__(self, lab_id):
        self.id = lab_id
        self.prefix = f"lab-{lab_id}"
        self.subnet = f"10.77.{lab_id}"
        self.switch = f"{self.prefix}-sw"
        self.client = f"{self.prefix}-client"

    def namespace(self, node):
        return f"{self.prefix}-{node}"

    def address(self, number):
        """Of node number 1, 2, …; 0 is the client."""
        return f"{self.subnet}.{10 + number if number else 2}"

    def create(self, nodes):
        run("ip", "netns", "add", self.switch)
        with inside(self.switch):
            run("ip", "link", "add", "br0", "type", "bridge", "stp_state", "0", "forward_delay", "0")
            run("ip", "link", "set", "br0", "up")
        for number, node in enumerate(["client"] + list(nodes)):
            self._plug(self.namespace(node), self.address(number), f"p{number}")

    def _plug(self, ns, address, port):
        run("ip", "netns", "add", ns)
        with inside(self.switch):
            run("ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", ns)
            run("ip", "link", "set", port, "master", "br0", "up")
        with inside(ns):
            run("ip", "link", "set", "lo", "up")
            run("ip", "addr", "add", f"{address}/24", "dev", "eth0")
            run("ip", "link", "set", "eth0", "up")

    def destroy(self):
        for ns in self.namespaces():
            run("ip", "netns", "del", ns, check=False)

    def namespaces(self):
        return [ns for ns in namespaces() if ns.startswith(self.prefix + "-")]

    def cut_from(self, node, addresses, but_ports=()):
        """Nothing passes between the node and these addresses, in both directions; everyone else still reaches it.

        What they have to do with these ports of the node still passes.
        """
        them = ", ".join(addresses)
        ports = ", ".join(map(str, but_ports))
        spare_out, spare_in = (f"tcp sport != {{ {ports} }}", f"tcp dport != {{ {ports} }}") if ports else ("", "")
        self._filter(node, [f"out ip daddr {{ {them} }} {spare_out} drop", f"in ip saddr {{ {them} }} {spare_in} drop"])

    def cut_ports(self, node, ports, itself=True):
        """Nothing passes between the node and these ports of anybody, itself included or not; others still reach its own.

        Both ways: with its acknowledgements dropped alone it would still be sent what the sender's window holds.
        """
        ports = ", ".join(map(str, ports))
        passes = [] if itself else ["out oifname lo accept", "in iifname lo accept"]
        self._filter(node, passes + [f"out tcp dport {{ {ports} }} drop", f"in tcp sport {{ {ports} }} drop"])

    def refuse(self, node, address, ports):
        """Nothing passes between that address and these ports of the node; all else does."""
        ports = ", ".join(map(str, ports))
        self._filter(node, [f"in ip saddr {address} tcp dport {{ {ports} }} drop",
                            f"out ip daddr {address} tcp sport {{ {ports} }} drop"])

    def _filter(self, node, rules):
        """Each rule begins with its chain: in or out."""
        text = "add table inet lab\ndelete table inet lab\nadd table inet lab\n"
        for chain, hook in (("in", "input"), ("out", "output")):
            text += f"add chain inet lab {chain} {{ type filter hook {hook} priority 0; }}\n"
        text += "".join(f"add rule inet lab {rule}\n" for rule in rules)
        with inside(self.namespace(node)):
            run("nft", "-f", "-", text=text)

    def heal(self, node):
        with inside(self.namespace(node)):
            run("nft", "-f", "-", text="add table inet lab\ndelete table inet lab\n")


def namespaces():
    try:
        return sorted(os.listdir("/run/netns"))
    except OSError:
        return []
