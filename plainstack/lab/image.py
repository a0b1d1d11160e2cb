"""The hosts' common root file system: built once by mmdebstrap, kept under the hash of its recipe."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

from plainstack.lab import cgroup
from plainstack.lab.mirror import SUITES, Mirrors
from plainstack.lab.model import CACHE
from plainstack.ssh.netns import LabError

# What a host needs to boot and to let the operator in; roles must install whatever else they use.
_PACKAGES = (
    "dbus",
    "openssh-server",
    "sudo",
    "systemd",
    "systemd-sysv",
)
# Each runs on the machine with the new root as $1.
_HOOKS = (
    # Hosts get keys of their own, and no name server: they could not reach it.
    'rm -f "$1"/etc/ssh/ssh_host_*; : >"$1/etc/resolv.conf"; chmod 644 "$1/etc/resolv.conf" "$1/etc/hostname"',
    'chroot "$1" systemctl enable systemd-networkd.service',
    'chroot "$1" systemctl disable apt-daily.timer apt-daily-upgrade.timer fstrim.timer',
    # A host's first installation need not build apt's index of 65,000 packages.
    'chroot "$1" apt-get clean && chroot "$1" apt-get check',
)


def path(mirrors: Mirrors, release: int = 13) -> Path:
    """Name the image of a release of Debian by the current recipe."""
    recipe = json.dumps(_command(mirrors, Path(), release))
    return CACHE / f"{SUITES[release]}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"


def release_of(image: Path) -> int:
    """Tell the release of Debian of an image."""
    return next(release for release, suite in SUITES.items() if image.name.startswith(f"{suite}-"))


def build(mirrors: Mirrors, release: int) -> Path:
    """Build the image of a release of Debian by the current recipe."""
    target = path(mirrors, release)
    half = target.with_suffix(".half")
    # The group ends a build that outlived its lab.up; the mount namespace keeps rmtree out of its /proc and /dev.
    command = cgroup.joined(cgroup.make(".build"), ["unshare", "--mount", *_command(mirrors, half, release)])
    shutil.rmtree(half, ignore_errors=True)
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode != 0:
        shutil.rmtree(half, ignore_errors=True)
        tail = "\n".join(f"    {line}" for line in done.stdout.splitlines()[-8:])
        raise LabError(f"mmdebstrap could not build the hosts' root file system:\n{tail}")
    half.rename(target)
    return target


def _command(mirrors: Mirrors, target: Path, release: int) -> list[str]:
    return [
        "mmdebstrap",
        "--mode=root",
        "--format=directory",
        "--variant=minbase",
        "--skip=cleanup/apt/lists,cleanup/apt/cache",
        '--aptopt=Acquire::Languages "none"',
        f"--include={','.join(_PACKAGES)}",
        *(f"--customize-hook={hook}" for hook in _HOOKS),
        SUITES[release],
        str(target),
        *mirrors.sources(release),
    ]
