"""A MariaDB server for unit tests, of Debian 13's version; without one on this machine, they are skipped.

`python -m tests.mariadb` installs it on Debian 13. On an older system, it is only unpacked, into the virtual
environment.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from plainstack.lab import mirror
from tests.waiting import until

ROOT = Path(__file__).resolve().parent.parent
UNPACKED = Path(sys.prefix) / "mariadb"
OLDEST = (11, 8)
PASSWORD = "sesame"


def program(root: Path) -> list[str]:
    """Return the command of the server below a root folder; unpacked programs need the libraries beside them."""
    server = root / "usr/sbin/mariadbd"
    if root == Path("/"):
        return [str(server)]
    libraries = next((root / "usr/lib").glob("*-linux-gnu"), root)
    loader = next(libraries.glob("ld-linux-*"), libraries)
    return [str(loader), "--library-path", str(libraries), str(server)]


def version(root: Path) -> tuple[int, ...]:
    """Return the version of the server below a root folder, such as (11, 8, 3); () if there is none."""
    if not (root / "usr/sbin/mariadbd").exists():
        return ()
    said = subprocess.run([*program(root), "--no-defaults", "--version"], capture_output=True, text=True, check=True)
    found = re.search(r"Ver (\d+)\.(\d+)\.(\d+)-MariaDB", said.stdout)
    return tuple(map(int, found.groups())) if found else ()


def root() -> Path | None:
    """Return the folder below which the server is: / if it is installed."""
    return next((each for each in (Path("/"), UNPACKED) if version(each) >= OLDEST), None)


needed = pytest.mark.skipif(root() is None, reason=f"needs MariaDB {OLDEST[0]}.{OLDEST[1]}: make programs")


@contextmanager
def running() -> Iterator[Path]:
    """Start a server that listens only at a socket, and yield its path. The user is `test`, with PASSWORD."""
    where = root()
    assert where
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    shared = next(each for each in (where / "usr/share/mariadb", where / "usr/share/mysql") if each.is_dir())
    command = [
        *program(where),
        *("--no-defaults", "--user=root", "--log-warnings=0", "--skip-networking"),
        *("--innodb-flush-method=nosync", "--innodb-log-file-size=16M"),
        *(f"--datadir={folder}/data", f"--socket={folder}/s"),
        *(f"--lc-messages-dir={shared}", f"--character-sets-dir={shared}/charsets"),
    ]
    tables = [path.read_text(encoding="utf-8") for path in sorted(shared.glob("*_system_tables*.sql"))]
    # One statement a line: that is how a server that bootstraps reads them.
    script = [
        *("create database mysql;", "use mysql;", "set @auth_root_socket=NULL;", *tables, "flush privileges;"),
        f"create user test@localhost identified by '{PASSWORD}';",
        *("grant all on *.* to test@localhost;", ""),
    ]
    try:
        (folder / "data").mkdir()
        bootstrap = [*command, "--bootstrap"]
        done = subprocess.run(bootstrap, input="\n".join(script), text=True, check=False, capture_output=True)
        assert done.returncode == 0, done.stderr
        log = (folder / "log").open("w", encoding="utf-8")
        with log, subprocess.Popen(command, stdout=log, stderr=log) as server:
            try:
                until(lambda: (folder / "s").is_socket() or server.poll() is not None, "MariaDB does not start")
                assert server.poll() is None, (folder / "log").read_text(encoding="utf-8")
                yield folder / "s"
            finally:
                server.kill()
    finally:
        shutil.rmtree(folder)


def provide() -> None:
    """Install the server, or unpack it if this system's own is too old."""
    package = "mariadb-server-core"
    if root():
        return
    said = subprocess.run(["apt-cache", "policy", package], capture_output=True, text=True, check=True).stdout
    candidate = re.search(r"Candidate: (?:\d+:)?(\d+)\.(\d+)", said)
    if candidate and tuple(map(int, candidate.groups())) >= OLDEST:
        subprocess.run([ROOT / "bin/apt-install", package], check=True)
        return
    subprocess.run([ROOT / "bin/apt-install", "mmdebstrap"], check=True)
    half = UNPACKED.with_suffix(".half")
    shutil.rmtree(half, ignore_errors=True)
    sys.stdout.write(f"== unpacking {package} of Debian 13\n")
    command = ["mmdebstrap", "--quiet", "--variant=extract", f"--include={package}", mirror.SUITES[13], str(half)]
    done = subprocess.run([*command, *mirror.find().sources(13)], check=False, capture_output=True, text=True)
    if done.returncode == 0:
        half.rename(UNPACKED)
    else:  # for example, for want of root
        sys.stdout.write(f"{done.stderr[-500:]}\nThe test with MariaDB is skipped.\n")


if __name__ == "__main__":
    provide()
