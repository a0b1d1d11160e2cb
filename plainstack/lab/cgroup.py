"""Control groups: they define which processes belong to a lab, so that none is killed by name or by a reused PID."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from plainstack.lab.model import RUN
from plainstack.ssh.netns import LabError

_TREE = "plainstack-lab"
_MOUNT = RUN / ".cgroup"
_JOIN = 'echo $$ >"$0/cgroup.procs" && exec "$@"'


def tree() -> Path:
    """Return the control group that contains all labs; mount the cgroup v2 tree if it is not mounted."""
    root = mount_point(Path("/proc/self/mounts").read_text())
    if root is None:
        root = _MOUNT
        root.mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "-t", "cgroup2", "cgroup2", str(root)], check=True)
    return root / _TREE


def release() -> None:
    """Remove the control group of all labs, and unmount the cgroup v2 tree if a lab mounted it."""
    remove(tree())
    if _MOUNT.is_mount():
        subprocess.run(["umount", str(_MOUNT)], check=True)
        _MOUNT.rmdir()


def mount_point(mounts: str) -> Path | None:
    """Return the mount point of the cgroup v2 tree, from the text of /proc/self/mounts; None if it is not mounted."""
    places = [words[1] for words in map(str.split, mounts.splitlines()) if words[2] == "cgroup2"]
    return Path(min(places, key=len)) if places else None


def make(*names: str) -> Path:
    """Make a new, empty group below the control group of all labs, in place of an existing one of that name."""
    group = tree().joinpath(*names)
    remove(group)
    group.mkdir(parents=True, exist_ok=True)
    for parent in reversed(group.parents[: len(names)]):
        for controller in (parent / "cgroup.controllers").read_text().split():
            # Limits inside a host are optional: some machines do not allow the controllers to be delegated.
            with contextlib.suppress(OSError):
                (parent / "cgroup.subtree_control").write_text(f"+{controller}")
    return group


def joined(group: Path, command: Sequence[str]) -> list[str]:
    """Return a command that joins the group and then executes the given command."""
    return ["sh", "-c", _JOIN, str(group), *command]


def detached(group: Path, command: Sequence[str]) -> list[str]:
    """Return a command that joins the group, starts the given command in it in the background, and returns."""
    # Join before the fork, so that the group is not empty when the command returns.
    return joined(group, ["setsid", "--fork", *command])


def alive(group: Path) -> bool:
    """Return whether the group or a group below it has a process."""
    try:
        return "populated 1" in (group / "cgroup.events").read_text()
    except OSError:
        return False


def frozen(group: Path) -> bool:
    """Return whether the group is frozen."""
    try:
        return "frozen 1" in (group / "cgroup.events").read_text()
    except OSError:
        return False


def set_frozen(group: Path, *, freeze: bool, seconds: float = 10) -> None:
    """Freeze or thaw the group, and wait until that has taken effect."""
    with (group / "cgroup.events").open(encoding="utf-8") as events:
        (group / "cgroup.freeze").write_text("1" if freeze else "0")
        poll = select.poll()
        poll.register(events, select.POLLPRI)
        deadline = time.monotonic() + seconds
        while frozen(group) != freeze:
            if time.monotonic() > deadline:
                raise LabError(f"processes in {group} do not {'stop' if freeze else 'continue'}")
            poll.poll(1000)
            events.seek(0)
            events.read()


def kill(group: Path, seconds: float = 10) -> None:
    """Kill every process of the group and of the groups below it, and wait until they are gone."""
    try:
        events = os.open(group / "cgroup.events", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        (group / "cgroup.kill").write_text("1")
        poll = select.poll()
        poll.register(events, select.POLLPRI)
        deadline = time.monotonic() + seconds
        while b"populated 1" in os.pread(events, 4096, 0):
            left = deadline - time.monotonic()
            if left <= 0:
                raise LabError(f"processes in {group} do not end. To list them: cat {group}/cgroup.procs")
            poll.poll(min(left, 1) * 1000)
    finally:
        os.close(events)


def remove(group: Path) -> None:
    """Kill every process of the group, and remove it and the groups below it."""
    kill(group)
    for folder, _, _ in os.walk(group, topdown=False):
        # A container may remove its own groups at the same time.
        with contextlib.suppress(FileNotFoundError):
            Path(folder).rmdir()
