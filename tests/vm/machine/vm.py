"""One qemu: its disks, its cable to the lab's switch, its front panel."""

import contextlib
import fcntl
import os
import struct
import subprocess

from lab import net
from lab.sysproc import now_us

from .guest import Guest
from .qmp import Qmp

# TUNSETIFF, IFF_TAP, IFF_NO_PI: linux/if_tun.h
_TUNSETIFF, _TAP, _NO_PI = 0x400454CA, 0x0002, 0x1000
MEMORY_MB, DATA_MB = 768, 1024


class Machine:
    """Lives in a namespace of its own without any network: its only cable is a tap on the lab's switch."""

    def __init__(self, directory, image, network, name, number, address):
        self.dir, self.image, self.network = directory, image, network
        self.name, self.number, self.address = name, number, address
        self.mac = f"52:54:00:77:{network.id:02x}:{number:02x}"
        self.process = self.qmp = self.guest = None

    # -- power -------------------------------------------------------------------------------------------------------

    def make_disks(self):
        """The root disk is what differs from the image; the data disk is new; the payload is there already."""
        net.run("qemu-img", "create", "-q", "-f", "qcow2", "-b", f"{self.image}/root.img", "-F", "raw",
                f"{self.dir}/root.qcow2")
        net.run("mke2fs", "-q", "-t", "ext4", "-L", "data", "-E", "lazy_itable_init=1,lazy_journal_init=1",
                f"{self.dir}/data.img", f"{DATA_MB}m")

    def power_on(self):
        tap = self._plug()
        try:
            with net.inside(self.network.namespace(self.name)), open(f"{self.dir}/qemu.log", "ab") as log:
                self.process = subprocess.Popen(self._command(tap), pass_fds=[tap], stdin=subprocess.DEVNULL, stdout=log,
                                                stderr=subprocess.STDOUT, start_new_session=True, cwd=self.dir)
        finally:
            os.close(tap)
        self.qmp = Qmp(f"{self.dir}/qmp.sock")
        self.guest = Guest(f"{self.dir}/agent.sock")

    def power_off(self):
        """Pulls the plug."""
        if self.process:
            self.process.kill()
            self.process.wait()
        for end in (self.qmp, self.guest):
            if end:
                end.close()
        self.process = self.qmp = self.guest = None

    def _plug(self):
        """The tap goes away with the last process that has it open."""
        with net.inside(self.network.switch):
            fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
            fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", f"tap{self.number}".encode(), _TAP | _NO_PI))
            net.run("ip", "link", "set", f"tap{self.number}", "master", "br0", "up")
        return fd

    def _command(self, tap):
        # The processor's counter is the host's, and its rate a guess that a busy host makes wrong, even tenfold.
        kernel = ("root=/dev/disk/by-label/root rw console=ttyS0 loglevel=4 printk.time=1 systemd.show_status=0 mitigations=off nokaslr"
                  f" no_timer_check tsc=reliable clocksource=acpi_pm net.ifnames=0 lab.name={self.name} lab.address={self.address}/24")
        # No device that is not named here. Flushes are ignored: it is the guest that crashes, not the host.
        return ["qemu-system-x86_64", "-name", self.name, "-nodefaults", "-no-user-config", "-display", "none",
                "-machine", "pc", "-accel", "tcg,thread=multi", "-cpu", "Nehalem", "-smp", "2", "-m", str(MEMORY_MB),
                "-kernel", f"{self.image}/vmlinuz", "-initrd", f"{self.image}/initrd", "-append", kernel,
                *_disk("root", "root.qcow2", "qcow2"), *_disk("data", "data.img", "raw"),
                *_disk("payload", "payload.tar", "raw", ",readonly=on"),
                "-netdev", f"tap,id=net,fd={tap}",
                "-device", f"virtio-net-pci,netdev=net,romfile=,mac={self.mac}",
                "-device", "virtio-rng-pci", "-device", "virtio-serial-pci",
                "-chardev", "socket,id=agent,path=agent.sock,server=on,wait=off",
                "-device", "virtserialport,chardev=agent,name=lab.agent",
                "-chardev", "file,id=journal,path=journal.log,append=on", "-device", "virtconsole,chardev=journal",
                "-chardev", "file,id=console,path=console.log,append=on", "-serial", "chardev:console",
                "-qmp", "unix:qmp.sock,server=on,wait=off",
                "-device", "i6300esb", "-action", "watchdog=reset"]

    # -- front panel -------------------------------------------------------------------------------------------------

    def watchdog_resets(self, since_us=0):
        """When the watchdog has fired."""
        return [us for us, _ in self.qmp.named("WATCHDOG", since_us)]

    def resets(self, since_us=0):
        """When the machine began anew, whoever wanted it: watchdog, kernel, button."""
        return [us for us, _ in self.qmp.named("RESET", since_us)]

    def press_reset(self):
        self.qmp.command("system_reset")

    @contextlib.contextmanager
    def paused(self):
        """As a hypervisor does it: the watchdog pauses, too."""
        self.qmp.command("stop")
        try:
            yield now_us()
        finally:
            self.qmp.command("cont")


def _disk(name, file, kind, more=""):
    return ["-drive", f"file={file},format={kind},if=none,id={name},cache=unsafe{more}",
            "-device", f"virtio-blk-pci,drive={name},serial={name}"]
