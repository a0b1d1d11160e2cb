"""The hosts' common root file system: mmdebstrap builds it once, and its name contains a hash of the recipe."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from plainstack.lab import cgroup
from plainstack.lab.mirror import SUITES, Mirrors
from plainstack.lab.model import CACHE
from plainstack.ssh.netns import LabError

# What a host needs to boot and to accept the operator's login; roles must install everything else that they use.
_PACKAGES = (
    "dbus",
    "openssh-server",
    "sudo",
    "systemd",
    "systemd-sysv",
)
# These look for boot options, consoles and devices that a container does not have. systemd runs all generators whenever
# it reloads its units, which the installation of a daemon makes it do. Without these, a reload takes half the CPU time.
_IDLE_GENERATORS = ("debug", "getty", "gpt-auto", "hibernate-resume", "run", "ssh", "system-update", "tpm2")
# Each hook runs on this machine, with the new root as $1.
_HOOKS = (
    # Hosts get their own keys, and no name server, because they could not reach one.
    'rm -f "$1"/etc/ssh/ssh_host_*; : >"$1/etc/resolv.conf"; chmod 644 "$1/etc/resolv.conf" "$1/etc/hostname"',
    # Debian runs six programs for every connection to make a message of the day, which nobody reads on a lab host.
    'sed -i /pam_motd/d "$1/etc/pam.d/sshd"',
    'chroot "$1" systemctl enable systemd-networkd.service',
    'chroot "$1" systemctl disable apt-daily.timer apt-daily-upgrade.timer fstrim.timer',
    'mkdir "$1/etc/systemd/system-generators"',
    *(f'ln -s /dev/null "$1/etc/systemd/system-generators/systemd-{each}-generator"' for each in _IDLE_GENERATORS),
    # `apt-get check` builds the cache of 65,000 packages here, so that a host need not build it at its first
    # installation.
    'chroot "$1" apt-get clean && chroot "$1" apt-get check',
)


def path(mirrors: Mirrors, release: int = 13, packages: Sequence[str] = ()) -> Path:
    """Return the path of the image of a Debian release by the current recipe; the image may not exist yet.

    `packages` are in it besides those that every host needs.
    """
    recipe = json.dumps(_command(mirrors, Path(), release, packages))
    return CACHE / f"{SUITES[release]}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"


def release_of(image: Path) -> int:
    """Return the Debian release of an image."""
    return next(release for release, suite in SUITES.items() if image.name.startswith(f"{suite}-"))


def build(mirrors: Mirrors, release: int, packages: Sequence[str] = ()) -> Path:
    """Build the image of a Debian release, and return its path. Raises LabError if mmdebstrap fails."""
    target = path(mirrors, release, packages)
    half = target.with_suffix(".half")
    # The control group serves to end a build whose lab.up was killed. The mount namespace keeps rmtree out of the
    # build's /proc and /dev.
    command = cgroup.joined(cgroup.make(".build"), ["unshare", "--mount", *_command(mirrors, half, release, packages)])
    shutil.rmtree(half, ignore_errors=True)
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode != 0:
        shutil.rmtree(half, ignore_errors=True)
        tail = "\n".join(f"    {line}" for line in done.stdout.splitlines()[-8:])
        raise LabError(f"mmdebstrap could not build the hosts' root file system:\n{tail}")
    half.rename(target)
    return target


def _command(mirrors: Mirrors, target: Path, release: int, packages: Sequence[str]) -> list[str]:
    return [
        "mmdebstrap",
        "--mode=root",
        "--format=directory",
        "--variant=minbase",
        "--skip=cleanup/apt/lists,cleanup/apt/cache",
        '--aptopt=Acquire::Languages "none"',
        f"--include={','.join((*_PACKAGES, *sorted(packages)))}",
        *(f"--customize-hook={hook}" for hook in _HOOKS),
        SUITES[release],
        str(target),
        *mirrors.sources(release),
    ]
