"""qemu's own control socket: what happened to the machine, and the buttons of its front panel."""

import json
import socket
import threading
import time

from lab.sysproc import now_us


class Qmp:
    """Notes every event with the time it arrived (CLOCK_BOOTTIME, as everything the lab measures)."""

    def __init__(self, path, timeout=20):
        self.events = []  # [(us, name, data)]
        self._answers = []
        self._changed = threading.Condition()
        self._closed = False
        self._socket = _connect(path, timeout)
        self._file = self._socket.makefile("r")
        threading.Thread(target=self._read, daemon=True).start()
        self.command("qmp_capabilities")

    def _read(self):
        try:
            for line in self._file:
                message = json.loads(line)
                with self._changed:
                    if "event" in message:
                        self.events.append((now_us(), message["event"], message.get("data", {})))
                    elif "return" in message or "error" in message:
                        self._answers.append(message)
                    self._changed.notify_all()
        except (OSError, ValueError):
            pass
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def command(self, name, timeout=20, **arguments):
        with self._changed:
            self._answers.clear()
            self._socket.sendall(json.dumps({"execute": name, "arguments": arguments}).encode() + b"\n")
            if not self._changed.wait_for(lambda: self._answers or self._closed, timeout) or not self._answers:
                raise OSError(f"qemu does not answer {name}")
            answer = self._answers.pop()
        if "error" in answer:
            raise OSError(f"{name}: {answer['error'].get('desc')}")
        return answer["return"]

    def named(self, name, since_us=0):
        with self._changed:
            return [(us, data) for us, event, data in self.events if event == name and us >= since_us]

    def close(self):
        self._socket.close()


def _connect(path, timeout):
    end = time.monotonic() + timeout
    while True:
        s = socket.socket(socket.AF_UNIX)
        try:
            s.connect(path)
            return s
        except OSError:
            s.close()
            if time.monotonic() > end:
                raise
            time.sleep(0.02)
