"""Control groups: they know which processes are a lab's, so no process is ever ended by a name or a stale number."""

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
    """Find the labs' branch of the machine's version 2 tree, mounting that tree if nobody has."""
    root = mount_point(Path("/proc/self/mounts").read_text())
    if root is None:
        root = _MOUNT
        root.mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "-t", "cgroup2", "cgroup2", str(root)], check=True)
    return root / _TREE


def release() -> None:
    """Remove the labs' branch, and the mount if it is ours."""
    remove(tree())
    if _MOUNT.is_mount():
        subprocess.run(["umount", str(_MOUNT)], check=True)
        _MOUNT.rmdir()


def mount_point(mounts: str) -> Path | None:
    """Pick the place of the version 2 tree from the text of /proc/self/mounts."""
    places = [words[1] for words in map(str.split, mounts.splitlines()) if words[2] == "cgroup2"]
    return Path(min(places, key=len)) if places else None


def make(*names: str) -> Path:
    """Make a new, empty group below the labs' branch."""
    group = tree().joinpath(*names)
    remove(group)
    group.mkdir(parents=True, exist_ok=True)
    for parent in reversed(group.parents[: len(names)]):
        for controller in (parent / "cgroup.controllers").read_text().split():
            # Limits inside a host are a bonus: not every machine lets us hand them on.
            with contextlib.suppress(OSError):
                (parent / "cgroup.subtree_control").write_text(f"+{controller}")
    return group


def joined(group: Path, command: Sequence[str]) -> list[str]:
    """Word a command that joins the group and then becomes the given one."""
    return ["sh", "-c", _JOIN, str(group), *command]


def detached(group: Path, command: Sequence[str]) -> list[str]:
    """Word a command that joins the group, leaves the given one running there and returns."""
    # Joined before the fork, so the group is never empty by the time this returns.
    return joined(group, ["setsid", "--fork", *command])


def alive(group: Path) -> bool:
    """Tell whether the group or one below it has a process."""
    try:
        return "populated 1" in (group / "cgroup.events").read_text()
    except OSError:
        return False


def frozen(group: Path) -> bool:
    """Tell whether the processes of the group are stopped."""
    try:
        return "frozen 1" in (group / "cgroup.events").read_text()
    except OSError:
        return False


def set_frozen(group: Path, *, freeze: bool, seconds: float = 10) -> None:
    """Stop the processes of the group, or let them go on, and wait until they do."""
    with (group / "cgroup.events").open(encoding="utf-8") as events:
        (group / "cgroup.freeze").write_text("1" if freeze else "0")
        poll = select.poll()
        poll.register(events, select.POLLPRI)
        deadline = time.monotonic() + seconds
        while frozen(group) != freeze:
            if time.monotonic() > deadline:
                raise LabError(f"processes in {group} do not {'stop' if freeze else 'go on'}")
            poll.poll(1000)
            events.seek(0)
            events.read()


def kill(group: Path, seconds: float = 10) -> None:
    """End every process of the group and of those below it, and wait until they are gone."""
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
                raise LabError(f"processes in {group} do not end; see {group}/cgroup.procs")
            poll.poll(min(left, 1) * 1000)
    finally:
        os.close(events)


def remove(group: Path) -> None:
    """End every process of the group and remove it with all below it."""
    kill(group)
    for folder, _, _ in os.walk(group, topdown=False):
        # The processes' own last groups may go with them, under our feet.
        with contextlib.suppress(FileNotFoundError):
            Path(folder).rmdir()
