"""The disk image of the machine: built once per content of build-image and guest/, and shared by all runs."""

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CACHE = os.environ.get("PGTETHER_VM_CACHE") or os.path.abspath(f"{HERE}/../../build/vm")


def key():
    """Changes with everything the image is made of, but for what Debian's mirror has that day."""
    digest = hashlib.sha256()
    for path in [f"{HERE}/build-image"] + sorted(e.path for e in os.scandir(f"{HERE}/guest")):
        with open(path, "rb") as f:
            digest.update(os.path.basename(path).encode() + b"\0" + f.read())
    return digest.hexdigest()[:16]


@contextlib.contextmanager
def _lock():
    os.makedirs(CACHE, exist_ok=True)
    with open(f"{CACHE}/lock", "w") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        yield


def get():
    """The directory with vmlinuz, initrd and root.img; builds it, and removes older ones, if it is not there."""
    directory = f"{CACHE}/{key()}"
    with _lock():
        if not os.path.exists(f"{directory}/root.img"):
            for entry in os.scandir(CACHE):
                if entry.is_dir():
                    shutil.rmtree(entry.path)
            with open(f"{CACHE}/build.log", "w") as log:
                done = subprocess.run([f"{HERE}/build-image", directory], stdin=subprocess.DEVNULL, stdout=log,
                                      stderr=subprocess.STDOUT, check=False)
            if done.returncode != 0:
                raise RuntimeError(f"the image of the machine could not be built, see {CACHE}/build.log")
    return directory
