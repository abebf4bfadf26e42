"""What comes into the machine with a run: the program under test, its configuration, and how to begin."""

import io
import os
import tarfile

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PACKAGE = "var/lib/lab/pgtether.deb"


def _add(tar, name, data, mode=0o644):
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), mode
    tar.addfile(info, io.BytesIO(data))


def write(path, config, programs, package=None):
    """The package if there is one, else the programs as built and a unit of the test's own."""
    with tarfile.open(path, "w") as tar:
        _add(tar, "etc/pgtether/lab.conf", config.encode(), 0o644)
        if package:
            tar.add(package, PACKAGE)
            return
        for name, directory in programs.NAMES.items():
            tar.add(programs.find(name), f"usr/local/{directory}/{name}")
        tar.add(f"{HERE}/pgtether@.service", "etc/systemd/system/pgtether@.service")
