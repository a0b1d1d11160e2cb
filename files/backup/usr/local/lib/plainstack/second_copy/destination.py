"""The machine that holds the second copy: ssh and rsync to it, and what their errors mean."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CONFIG = Path("/etc/plainstack/second-copy.json")
# rsync's exit codes for files that vanished, and for files that could not be transferred.
VANISHED, PARTLY = 24, 23
_SSH_FAILED = 255


class Failed(Exception):
    """What went wrong, as one sentence. `kind` is a word for it, `details` what ssh and rsync said."""

    def __init__(self, kind: str, sentence: str, details: str = "") -> None:
        super().__init__(sentence)
        self.kind = kind
        self.details = details


@dataclass(frozen=True)
class Destination:
    """The destination as the role describes it, and the folders on this host; `bandwidth` in KiB/s, 0 without limit.

    `folder` is the server's in Barman's home, `records` has what was recorded about each backup.
    """

    here: str
    server: str
    folder: Path
    records: Path
    scratch: Path
    user: str
    host: str
    path: str
    port: int
    bandwidth: int
    key: Path
    known_hosts: Path

    @classmethod
    def read(cls, path: Path = CONFIG) -> Destination:
        """Return what the role wrote."""
        known: dict[str, Any] = json.loads(path.read_text())
        for name in ("folder", "records", "scratch", "key", "known_hosts"):
            known[name] = Path(known[name])
        return cls(**known)

    @property
    def to(self) -> str:
        """The destination as the inventory names it."""
        return f"{self.user}@{self.host}:{self.path}"

    def _ssh(self) -> list[str]:
        options = {
            "UserKnownHostsFile": self.known_hosts,
            "GlobalKnownHostsFile": "/dev/null",
            "StrictHostKeyChecking": "yes",
            "IdentitiesOnly": "yes",
            "BatchMode": "yes",
            "ConnectTimeout": 15,
            "ServerAliveInterval": 15,
            "ServerAliveCountMax": 4,
        }
        words = ["ssh", "-F", "none", "-T", "-i", str(self.key), "-p", str(self.port)]
        for name, value in options.items():
            words += ["-o", f"{name}={value}"]
        return words

    def check(self) -> None:
        """Raise Failed unless the destination accepts the key, for rsync into the one folder and nothing else."""
        # rrsync refuses all commands but rsync and, in newer versions, true.
        words = [*self._ssh(), f"{self.user}@{self.host}", "id"]
        ran = _run(words)
        if ran.returncode == 0:
            raise Failed(
                "open",
                f"{self.host} lets the key of {self.here} run any command. In the file authorized_keys of"
                f" {self.user}, replace the line of the key by the one that inv backups --copy-key prints",
            )
        if "SSH_ORIGINAL_COMMAND" not in ran.stderr:
            raise self.failure(ran.returncode, ran.stderr)

    def wait(self, seconds: float = 60) -> None:
        """Check, and wait if the other end has not noticed yet that an earlier connection broke. Raises Failed."""
        until = time.monotonic() + seconds
        while True:
            try:
                self.check()
                return
            except Failed as error:
                if error.kind != "busy" or time.monotonic() > until:
                    raise
            time.sleep(2)

    def rsync(self, *words: str, accepted: Iterable[int] = ()) -> int:
        """Run rsync, and return its exit code: 0 or one that is accepted. `words` contain the remote side as `:`."""
        code, _ = self._rsync(words, accepted)
        return code

    def names(self, folder: str) -> list[str]:
        """Return the paths of all files below a folder of the copy, relative to it; empty if it does not exist."""
        # The filter, unlike a path, is no error if the folder does not exist.
        rules = [f"--include=/{folder}/***", "--exclude=*"]
        _, out = self._rsync(["--recursive", "--list-only", *rules, ":"], ())
        found = (line.split(None, 4) for line in out.splitlines() if line.startswith("-"))
        return [words[4].removeprefix(f"{folder}/") for words in found if len(words) == 5]

    def _rsync(self, words: Iterable[str], accepted: Iterable[int]) -> tuple[int, str]:
        line = ["rsync", "--timeout=120", f"--rsh={shlex.join(self._ssh())}"]
        line += [f"--bwlimit={self.bandwidth}"] if self.bandwidth else []
        # The key is restricted to the folder, so that is where the remote side begins.
        line += [f"{self.user}@{self.host}:" if word == ":" else word for word in words]
        ran = _run(line)
        if ran.returncode and ran.returncode not in accepted:
            if ran.returncode == PARTLY and VANISHED in accepted and _only_vanished(ran.stderr):
                return VANISHED, ran.stdout
            raise self.failure(ran.returncode, ran.stderr)
        return ran.returncode, ran.stdout

    def failure(self, code: int, said: str) -> Failed:
        """Return what an exit code and the error output of ssh or rsync mean."""
        details = "\n".join(line for line in said.splitlines()[-8:] if line.strip())
        for pattern, kind, sentence in _MEANINGS:
            if match := re.search(pattern, said):
                words = {"host": self.host, "user": self.user, "path": self.path, "here": self.here}
                return Failed(kind, sentence.format(**words, said=match[0].strip()), details)
        first = next((line for line in said.splitlines() if line.strip()), f"exit code {code}")
        if code == _SSH_FAILED:
            return Failed("unreachable", f"{self.host} cannot be reached: {first}", details)
        return Failed("rsync", f"rsync to {self.host} failed with code {code}: {first}", details)


def _run(words: list[str]) -> subprocess.CompletedProcess[str]:
    # rsync and ssh must not translate the messages that are read here.
    untranslated = {**os.environ, "LC_ALL": "C"}
    return subprocess.run(
        words, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, env=untranslated
    )


def _only_vanished(said: str) -> bool:
    """Return whether all errors are about files of this host that have vanished."""
    errors = [line for line in said.splitlines() if line.startswith("rsync: ")]
    return bool(errors) and all("[sender]" in line and "No such file" in line for line in errors)


# Patterns of error output, in the order in which they are tried.
_MEANINGS = (
    (
        r"REMOTE HOST IDENTIFICATION HAS CHANGED|Host key verification failed|No \S+ host key is known",
        "host key",
        "{host} has another host key than backup.second_copy.host_key. If the machine was replaced, write its new key"
        " into the inventory and deploy; if not, another machine answers at its address",
    ),
    (
        r"Permission denied \((?=[^)]*[a-z])[^)]*\)",
        "key",
        "{host} refuses the key of {here}. Add the line that inv backups --copy-key prints to the file authorized_keys"
        " of {user} there",
    ),
    (
        r"Could not resolve hostname.*|Connection refused|Connection timed out|No route to host"
        r"|Network is unreachable|Operation timed out|Connection reset by \S+",
        "unreachable",
        "{host} cannot be reached: {said}",
    ),
    (r"Restricted directory does not exist", "folder", "{host} has no folder {path}. Create it there, as {user}"),
    (r"rrsync: (?:command )?not found|rrsync: No such file", "rrsync", "{host} has no rrsync. Install rsync there"),
    (r"No space left on device|Disk quota exceeded", "full", "the disk of {host} is full: {said}"),
    (
        r"Another instance of rrsync",
        "busy",
        "another copy to {path} on {host} is running. If no other backup host uses this folder, the next run succeeds",
    ),
    (r"Permission denied \(13\)|Read-only file system", "folder", "{user} cannot write to {path} on {host}: {said}"),
    (
        r"connection unexpectedly closed|timeout in data send/receive|Broken pipe|Timeout, server \S+ not responding",
        "interrupted",
        "the connection to {host} was interrupted. The next run continues",
    ),
)
