"""The Debian package under test, built from this tree as anybody would, in a copy."""

import hashlib
import os
import re
import shutil
import subprocess

from .image import CACHE

TOP = os.path.abspath(f"{__file__}/../../../..")
NOT_SOURCE = {".git", "autom4te.cache", "__pycache__", "logs"}


def _sources():
    for directory, directories, files in os.walk(TOP):
        directories[:] = sorted(d for d in directories if d not in NOT_SOURCE and not (directory == TOP and d.startswith("build")))
        for name in sorted(files):
            yield os.path.relpath(os.path.join(directory, name), TOP)


def _key(paths):
    digest = hashlib.sha256()
    for path in paths:
        if path.startswith("tests/"):
            continue
        with open(f"{TOP}/{path}", "rb") as f:
            digest.update(path.encode() + b"\0" + hashlib.sha256(f.read()).digest())
    return digest.hexdigest()[:16]


def get():
    """The .deb of this tree."""
    paths = [p for p in _sources() if os.path.isfile(f"{TOP}/{p}")]
    directory = f"{CACHE}-deb/{_key(paths)}"
    if not os.path.exists(f"{directory}/done"):
        shutil.rmtree(f"{CACHE}-deb", ignore_errors=True)
        for path in paths:
            os.makedirs(os.path.dirname(f"{directory}/source/{path}"), exist_ok=True)
            shutil.copy2(f"{TOP}/{path}", f"{directory}/source/{path}")
        with open(f"{directory}/build.log", "w") as log:
            done = subprocess.run(["dpkg-buildpackage", "-b", "-us", "-uc"], cwd=f"{directory}/source", stdout=log,
                                  stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, check=False,
                                  env={**os.environ, "DEB_BUILD_OPTIONS": f"nocheck parallel={os.cpu_count()}"})
        if done.returncode != 0:
            raise RuntimeError(f"the package could not be built, see {directory}/build.log")
        open(f"{directory}/done", "w").close()
    return next(e.path for e in os.scandir(directory) if e.name.startswith("pgtether_") and e.name.endswith(".deb"))


def newer(where):
    """The same package with a higher version, written into that directory."""
    tree, path = f"{where}/newer", f"{where}/newer.deb"
    _run("dpkg-deb", "-R", get(), tree)
    with open(f"{tree}/DEBIAN/control") as f:
        control = f.read()
    with open(f"{tree}/DEBIAN/control", "w") as f:
        f.write(re.sub(r"^(Version: .*)$", r"\1+lab1", control, flags=re.M))
    _run("dpkg-deb", "--root-owner-group", "-b", tree, path)
    shutil.rmtree(tree)
    return path


def _run(*argv):
    subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
