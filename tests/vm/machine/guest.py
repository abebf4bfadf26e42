"""The other end of guest/agent.pl: runs commands as root in the machine, without its network."""

import itertools
import threading

from .qmp import _connect


class GuestGone(Exception):
    """The machine was reset, or does not answer in time."""


class Guest:
    def __init__(self, path):
        self._socket = _connect(path, 20)
        self._file = self._socket.makefile("r", errors="replace")
        self._ids = itertools.count(1)
        self._waiting = {}  # id: None or (status, output)
        self._changed = threading.Condition()
        self._closed = False
        self.boot_id = None
        self.boots = 0  # how many boots have come so far that this hand is there
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        try:
            for line in self._file:
                words = line.split()
                with self._changed:
                    if len(words) == 2 and words[0] == "hello":
                        self._hello(words[1])
                    elif len(words) in (2, 3) and words[0] in self._waiting:
                        self._waiting[words[0]] = (int(words[1]), bytes.fromhex("".join(words[2:])).decode(errors="replace"))
                    self._changed.notify_all()
        except (OSError, ValueError):
            pass
        with self._changed:  # qemu has ended
            self._closed = True
            self._waiting.clear()
            self._changed.notify_all()

    def _hello(self, boot_id):
        if boot_id != self.boot_id:
            self.boot_id = boot_id
            self.boots += 1
            self._waiting.clear()

    def start(self, command):
        """Sends the command and does not wait."""
        number = str(next(self._ids))
        with self._changed:
            if self._closed:
                raise GuestGone("the machine is switched off")
            self._waiting[number] = None
            self._socket.sendall(f"{number} {command.encode().hex()}\n".encode())
        return number

    def result(self, number, timeout):
        """(status, output)"""
        with self._changed:
            done = self._changed.wait_for(lambda: self._waiting.get(number, ()) is not None, timeout)
            answer = self._waiting.pop(number, None)
        if not done or not answer:
            raise GuestGone("the machine was reset meanwhile" if done else f"no answer within {timeout} s")
        return answer

    def run(self, command, timeout=60):
        return self.result(self.start(command), timeout)

    def check(self, command, timeout=60):
        """Its output; an exit status other than 0 is an error."""
        status, output = self.run(command, timeout)
        if status != 0:
            raise RuntimeError(f"in the machine: {command}: status {status}: {output.strip()}")
        return output

    def wait_boot(self, boots, timeout):
        with self._changed:
            if not self._changed.wait_for(lambda: self.boots >= boots or self._closed, timeout) or self._closed:
                raise GuestGone(f"the machine has not come up within {timeout} s")

    def close(self):
        self._socket.close()
