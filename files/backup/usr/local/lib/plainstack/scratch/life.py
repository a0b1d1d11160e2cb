"""The life of a scratch cluster: it is restored, recovered, perhaps served, and deleted."""

from __future__ import annotations

import contextlib
import errno
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import base_backup
import postmaster
import recovery
from base_backup import BaseBackup
from disk import megabytes, room, size_of
from place import Cluster, Failed, NoRoom, last_lines
from postmaster import Postmaster
from recovery import Logged, Target
from wal_files import Wal, position

Say = Callable[[str], None]


@dataclass(frozen=True)
class Wanted:
    """What a scratch cluster is made from; `timeline` 0 is the latest one that contains the backup."""

    backup: str = "latest"
    target: Target = field(default_factory=Target)
    timeline: int = 0
    serve: bool = False
    dump: bool = False
    or_end: bool = False


class Life:
    """One scratch cluster from the restore to its end. `say` is called with lines of progress."""

    def __init__(self, cluster: Cluster, wanted: Wanted, say: Say) -> None:
        self.cluster = cluster
        self.server: Postmaster | None = None
        self._wanted = wanted
        self._say = say
        self._began = time.monotonic()
        self.backup: BaseBackup
        self.timeline = 0

    def restore(self) -> None:
        """Restore the backup into the data directory. Raises Failed."""
        cluster = self.cluster
        remove(cluster)
        self.backup = backup = base_backup.find(cluster.place, self._wanted.backup)
        wal = Wal.read(cluster.place.archive, backup.segment_size)
        self.timeline = wal.to_follow(backup.timeline, position(backup.end), self._wanted.timeline)
        cluster.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        room(cluster.folder, backup.size)
        self._say(f"restoring backup {backup.id}, {megabytes(backup.size)}")
        self._barman(backup)
        postmaster.configure(cluster, serve=self._wanted.serve, dump=self._wanted.dump)

    def _barman(self, backup: BaseBackup) -> None:
        cluster = self.cluster
        staging = cluster.folder / "staging"
        staging.mkdir(mode=0o700)
        config = ["-c", str(cluster.place.config)] if cluster.place.config else []
        words = ["barman", *config, "restore", "--get-wal", "--local-staging-path", str(staging)]
        for name in backup.tablespaces:
            cluster.tablespace(name).mkdir(mode=0o700, parents=True)
            words += ["--tablespace", f"{name}:{cluster.tablespace(name)}"]
        words += [cluster.place.server, backup.id, str(cluster.data)]
        with (cluster.folder / "barman.log").open("wb") as log:
            running = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=cluster.folder)
            try:
                while True:
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        code = running.wait(3)
                        break
                    self._say(f"restored {megabytes(size_of(cluster.folder))} of {megabytes(backup.size)}")
            finally:
                running.kill()
        if code:
            shown = last_lines(cluster.folder / "barman.log")
            if recovery.NO_SPACE in shown:
                raise NoRoom(self._full(""), shown)
            raise Failed(f"Barman could not restore backup {backup.id}", shown)
        # Barman 3.13 leaves this folder out of a combined incremental backup without tablespaces; the server needs it.
        (cluster.data / "pg_tblspc").mkdir(mode=0o700, exist_ok=True)
        shutil.rmtree(staging, ignore_errors=True)

    def recover(self, target: Target) -> dict[str, Any]:
        """Start the server, and wait until it has reached the target. Raises Failed.

        A cluster that was recovered before, and stopped while it was paused, continues from there.
        """
        logged = self._replay(target)
        if logged.ended_early and self._wanted.or_end and not target.pause:
            self._stop()
            self._say("the WAL ends before the target; recovering to its end")
            logged = self._replay(Target())
        if not (logged.up or logged.paused):
            self._stop()
            raise self._not_reached(target, logged)
        ended = not logged.stopped
        if ended and logged.full:
            self._stop()
            raise NoRoom(self._full(logged.last_file), last_lines(self.cluster.log))
        if ended and (why := self._incomplete(logged)):
            self._stop()
            raise Failed(why, last_lines(self.cluster.log))
        if self._wanted.dump:
            postmaster.query(self.cluster, postmaster.DUMPER_ROLE)
        return self._described(logged, "end of WAL" if ended else "target")

    def _replay(self, target: Target) -> Logged:
        cluster = self.cluster
        wanted = postmaster.settings(
            cluster, postmaster.control_data(cluster), serve=self._wanted.serve or self._wanted.dump
        )
        wanted |= target.settings(self.timeline)
        wanted["restore_command"] = postmaster.fetch_command(cluster, self.backup.segment_size)
        # A server that admits readers stops if the primary's limits were raised on the way.
        wanted["hot_standby"] = "on" if target.pause else "off"
        (cluster.data / "recovery.signal").touch(mode=0o600)
        self._say(f"recovering: timeline {self.timeline}, {target.described()}")
        self.server = Postmaster(cluster, wanted)
        shown = time.monotonic()
        for seen in self.server.await_ready():
            if seen.last_file and time.monotonic() - shown > 3:
                shown = time.monotonic()
                self._say(f"recovering: {seen.restored} WAL files replayed, the last is {seen.last_file}")
        return self.server.log

    def _not_reached(self, target: Target, logged: Logged) -> Failed:
        log = last_lines(self.cluster.log)
        if logged.full:
            return NoRoom(self._full(logged.last_file), log)
        if logged.tablespace:
            return Failed(
                f"a tablespace was created in {logged.tablespace} after this backup; restore a later backup, or a"
                " moment before that",
                log,
            )
        if (logged.damaged or logged.lacks_wal) and (why := self._incomplete(logged)):
            return Failed(why, log)
        if not logged.ended_early:
            return Failed(f"the restored cluster does not start: {logged.fatal or 'see its log'}", log)
        last = f"; the newest commit in it is from {logged.last_commit}" if logged.last_commit else ""
        hint = "" if target.pause else ". With --or-end, recovery ends there"
        return Failed(f"the WAL ends before {target.described()} is reached{last}{hint}", log)

    def explained(self, error: Exception) -> Failed:
        """Return an error as the reason why the cluster failed; call it before the cluster is removed."""
        if isinstance(error, Failed):
            return error
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            return NoRoom(self._full(self.server.log.last_file if self.server else ""), last_lines(self.cluster.log))
        return Failed(str(error))

    def _full(self, last_file: str) -> str:
        """Return a sentence about a full disk; `last_file` is the last WAL file that was replayed, if any."""
        folder = self.cluster.folder
        left = ""
        if last_file:
            wal = Wal.read(self.cluster.place.archive, self.backup.segment_size)
            left = f" {wal.after(last_file)} WAL files were not replayed yet."
        return (
            f"the disk of {folder} became full: the restored cluster has {megabytes(size_of(folder))} by now.{left}"
            f" Free some there or make it larger. Nothing has changed but {folder}, which is deleted"
        )

    def _incomplete(self, logged: Logged) -> str:
        """Return a sentence if recovery ended although there is more WAL on this timeline."""
        if logged.damaged:
            return logged.damaged
        wal = Wal.read(self.cluster.place.archive, self.backup.segment_size)
        until = f" The newest commit before it is from {logged.last_commit}." if logged.last_commit else ""
        return wal.interrupted(self.timeline, position(logged.redo_done or self.backup.begin), until)

    def _described(self, logged: Logged, reached: str) -> dict[str, Any]:
        cluster = self.cluster
        timeline, fork = self.timeline, ""
        if logged.up:
            timeline = int(postmaster.query(cluster, "select left(pg_walfile_name(pg_current_wal_lsn()), 8)"), 16)
            history = (cluster.data / "pg_wal" / f"{timeline:08X}.history").read_text().splitlines()
            fork = next(line.split()[1] for line in reversed(history) if line.strip() and not line.startswith("#"))
        return {
            "backup": self.backup.id,
            "timeline": timeline,
            "fork_lsn": fork,
            "last_commit": logged.last_commit or None,
            "reached": reached,
            "stopped": logged.stopped or None,
            "socket": str(cluster.socket),
            "port": cluster.place.port,
            "tablespaces": {
                name: {"was": was, "is": str(cluster.tablespace(name))} for name, was in self.backup.tablespaces.items()
            },
            "seconds": round(time.monotonic() - self._began, 1),
        }

    def _stop(self) -> None:
        if self.server:
            self.server.stop()

    def stop(self) -> None:
        """End the server, if it runs."""
        self._stop()


def remove(cluster: Cluster) -> None:
    """Delete a cluster that does not run, except for its state."""
    for path in cluster.folder.glob("*"):
        if path == cluster.state or path.name.startswith("."):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        cluster.folder.rmdir()
