"""Processes as /proc shows them. Nothing here keeps pids: a lab finds its processes by their network namespace."""

import os
import signal
import time


def now_us():
    """CLOCK_BOOTTIME, the clock of the daemon and of all measurements."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000


def _read(path):
    try:
        with open(path, "rb") as f:
            return f.read()
    except OSError:
        return b""


class Process:
    """One process at the time it was looked at."""

    def __init__(self, pid):
        self.pid = pid
        stat = _read(f"/proc/{pid}/stat").decode(errors="replace")
        head, _, tail = stat.rpartition(")")
        fields = tail.split()
        self.comm = head.partition("(")[2]
        self.state = fields[0] if fields else ""
        self.ppid = int(fields[1]) if fields else 0
        self.start = int(fields[19]) if fields else 0

    @property
    def alive(self):
        return self.state not in ("", "Z", "X")

    @property
    def command(self):
        return _read(f"/proc/{self.pid}/cmdline").replace(b"\0", b" ").decode(errors="replace").strip()


def identity(pid):
    """[pid, start time]: says whether a pid is still the same process."""
    return [pid, Process(pid).start]


def is_same(ident):
    p = Process(ident[0])
    return p.alive and p.start == ident[1]


def in_namespace(path):
    """The processes of the network namespace mounted at path, without ourselves."""
    try:
        inode = os.stat(path).st_ino
    except OSError:
        return []
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        try:
            if os.stat(f"/proc/{entry}/ns/net").st_ino != inode:
                continue
        except OSError:
            continue
        p = Process(int(entry))
        if p.alive:
            found.append(p)
    return found


def send(pid, sig):
    try:
        os.kill(pid, sig)
        return True
    except ProcessLookupError:
        return False


def kill_namespace(path, timeout=20):
    """SIGKILL to everything in the namespace until nothing is left: a process may fork while we look."""
    end = time.monotonic() + timeout
    while True:
        left = in_namespace(path)
        if not left:
            return
        if time.monotonic() > end:
            raise RuntimeError(f"processes of {path} do not die: {[(p.pid, p.comm) for p in left]}")
        for p in left:
            send(p.pid, signal.SIGKILL)
        time.sleep(0.02)
