"""Restore folders of services from their snapshots, over SSH, or undo that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from plainstack.deploy import lock
from plainstack.deploy.operator import commit, who
from plainstack.errors import HostFailed
from plainstack.inventory.stack import Stack
from plainstack.postgresql.backup import folder_listing, folders
from plainstack.postgresql.backup.barman import backup_host
from plainstack.postgresql.backup.folder_listing import Files, Snapshot
from plainstack.postgresql.step_frame import Origin, framed
from plainstack.services import running
from plainstack.services.folders import Kept
from plainstack.ssh.connections import Sessions
from plainstack.wording import counted

# Seconds. The time to copy depends on the size of the files.
_LONGEST = 24 * 3600
_SOON = 600


class FilesRestore:
    """Restores folders; use it in a `with` statement. `say` is called with lines of progress."""

    def __init__(self, stack: Stack, command: str, say: Callable[[str], None]) -> None:
        self._stack = stack
        self._say = say
        self._sessions = Sessions(stack)
        self._backup_host = backup_host(stack)
        self._origin = Origin(who(), commit(stack), command)
        self._releases: list[lock.Release] = []

    def __enter__(self) -> FilesRestore:
        self._sessions.__enter__()
        return self

    def __exit__(self, *details: object) -> None:
        for release in self._releases:
            release()
        self._sessions.__exit__(*details)

    def snapshots(self) -> Files:
        """Return all snapshots. Raises HostFailed."""
        return folder_listing.parse(self._read(self._backup_host, folders.list_script(self._stack), "list the files"))

    def lock(self, wanted: Sequence[Kept]) -> None:
        """Lock the hosts of the folders. Raises Refused."""
        when = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        holder = lock.holder(self._origin.who, when, self._origin.command)
        self._releases = lock.hold({one.host for one in wanted}, self._sessions.to, holder)

    def restore(self, wanted: Sequence[Snapshot]) -> None:
        """Put the files of snapshots in the place of their folders, which are kept. Raises HostFailed."""
        fresh = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
        ready: list[tuple[Snapshot, str]] = []
        for one in wanted:
            script = folders.step("prepare", one.of, id=fresh, snapshot=one.id, size=str(one.size))
            restore, state = self._do(one.of, script, f"prepare to restore {one.of.key}").split()
            if state == "empty":
                self._say(
                    f"{self._backup_host}: copying snapshot {one.id} to {one.of.host}: {counted(one.files, 'file')}"
                )
                self._read(self._backup_host, folders.send_script(one.of, one.id), "copy the files", _LONGEST)
            ready.append((one, restore))
        for one, restore in ready:
            self._say(f"{one.of.host}: exchanging {one.of.key}")
            script = folders.step("swap", one.of, id=restore)
            self._do(one.of, script, f"restore {one.of.key} from snapshot {one.id}")
        self._finish([one.of for one in wanted])

    def undo(self, wanted: Sequence[Kept]) -> list[str]:
        """Put back what the last restore has replaced; return the ids of the restores. Raises HostFailed."""
        undone = []
        for one in wanted:
            self._say(f"{one.host}: putting {one.key} back")
            undone.append(self._do(one, folders.step("undo", one), f"undo the restore of {one.key}").strip())
        self._finish(wanted)
        return undone

    def discard(self, wanted: Sequence[Kept]) -> list[str]:
        """Delete what restores have replaced; return the paths, each after its host. Raises HostFailed."""
        return [
            f"{one.host}: {path}"
            for one in wanted
            for path in self._do(one, folders.step("discard", one), f"delete old files of {one.key}").splitlines()
        ]

    def _finish(self, wanted: Sequence[Kept]) -> None:
        """Restart the running processes of the services: a process keeps the folder that it had when it started."""
        for service, host in dict.fromkeys((one.service, one.host) for one in wanted):
            units = running.units(self._stack, service, self._stack.hosts[host])
            mine = [one for one in wanted if (one.service, one.host) == (service, host)]
            script = f"systemctl try-restart {' '.join(units)}\n" + "".join(folders.step("finish", one) for one in mine)
            self._say(f"{host}: restarting {service}")
            self._do(mine[0], script, f"restart {service}")

    def _do(self, one: Kept, script: str, says: str) -> str:
        return self._read(one.host, framed(script, says, self._origin, "files"), says)

    def _read(self, host: str, script: str, step: str, timeout: float = _SOON) -> str:
        done = self._sessions.to(host).script(script, timeout=timeout, step=step)
        if done.code != 0:
            first, *rest = done.err.strip().splitlines() or ["it failed without an error message"]
            raise HostFailed(host, step, first, rest[-8:], done.code)
        return done.out
