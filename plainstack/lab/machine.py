"""The machine that the lab runs on: root privileges, packages, limits, and locks between lab commands."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from plainstack.lab.model import CACHE
from plainstack.ssh.netns import LabError

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
RELAY = Path("/usr/lib/systemd/systemd-socket-proxyd")
_PROGRAMS = {
    "ip": "iproute2",
    "mkfs.ext4": "e2fsprogs",
    "mmdebstrap": "mmdebstrap",
    "nginx": "nginx",
    "nsenter": "util-linux",
    "setsid": "util-linux",
    "socat": "socat",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "tc": "iproute2",
    "systemd-nspawn": "systemd-container",
    str(RELAY): "systemd",
}
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
# The systemd of each host uses five of root's inotify instances, and Linux allows root 128.
_WATCHES = Path("/proc/sys/fs/inotify/max_user_instances")
_ENOUGH_WATCHES = 1024
_POLICY = Path("/usr/sbin/policy-rc.d")
_REFUSAL = "#!/bin/sh\n# plainstack lab: packages that it installs start no services\nexit 101\n"
# The lock for what all labs share. No lab has this name.
_SHARED = ".machine"


def require_root(task: str) -> None:
    """Raise LabError unless this process runs as root."""
    if os.geteuid() != 0:
        raise LabError(f"inv {task} needs root: run it with sudo")


def missing_packages() -> list[str]:
    """Return the packages that the lab needs and this machine lacks."""
    missing = {package for program, package in _PROGRAMS.items() if not shutil.which(program, path=PATH)}
    if not _KEYRING.exists():
        missing.add("debian-archive-keyring")
    return sorted(missing)


def install(packages: list[str]) -> None:
    """Install packages on this machine without starting any service."""
    if not shutil.which("apt-get"):
        raise LabError(f"the lab needs {', '.join(packages)}, but this machine has no apt-get to install them")
    with _no_services():
        # An installation that was killed leaves packages that apt-get refuses to continue with.
        _run(["dpkg", "--configure", "--pending", "--force-confold"])
        done = _apt_get(["install", "--yes", "--no-install-recommends", *packages])
        if done.returncode != 0:
            _apt_get(["update"])
            done = _apt_get(["install", "--yes", "--no-install-recommends", *packages])
    if done.returncode != 0:
        tail = "\n".join(f"    {line}" for line in done.stdout.splitlines()[-5:])
        raise LabError(f"apt-get could not install {', '.join(packages)}:\n{tail}")
    if "nginx" in packages and shutil.which("systemctl"):
        # The lab runs its own nginx; the package's would take port 80 at the next boot.
        subprocess.run(["systemctl", "disable", "nginx.service"], capture_output=True, check=False)


def make_room() -> None:
    """Raise the inotify limit, which the hosts of several labs exceed together."""
    with contextlib.suppress(OSError):
        if int(_WATCHES.read_text()) < _ENOUGH_WATCHES:
            _WATCHES.write_text(str(_ENOUGH_WATCHES))


def shared(report: Callable[[str, str], None]) -> contextlib.AbstractContextManager[None]:
    """Hold the lock for what all labs of this machine share."""
    return locked(_SHARED, report)


@contextlib.contextmanager
def locked(name: str, report: Callable[[str, str], None]) -> Iterator[None]:
    """Hold the lock of a lab; report it if another command holds the lock."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report("lab", "waiting for another lab command to end")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _no_services() -> Iterator[None]:
    # A policy of this text was left by an installation that was killed.
    if _POLICY.exists() and _POLICY.read_text(encoding="utf-8", errors="replace") != _REFUSAL:
        yield
        return
    _POLICY.write_text(_REFUSAL, encoding="utf-8")
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink()


def _apt_get(words: list[str]) -> subprocess.CompletedProcess[str]:
    return _run(["apt-get", "-o", "DPkg::Lock::Timeout=300", *words])


def _run(words: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words,
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive", "PATH": PATH},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
