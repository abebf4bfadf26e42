"""What comes into the machine with a run: the package under test and its configuration."""

import io
import tarfile

PACKAGE, NEWER = "/var/lib/lab/pgtether.deb", "/var/lib/lab/newer.deb"


def _add(tar, name, data, mode=0o644):
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), mode
    tar.addfile(info, io.BytesIO(data))


def write(path, config, package, newer):
    with tarfile.open(path, "w") as tar:
        _add(tar, "etc/pgtether/lab.conf", config.encode())
        tar.add(package, PACKAGE[1:])
        tar.add(newer, NEWER[1:])
