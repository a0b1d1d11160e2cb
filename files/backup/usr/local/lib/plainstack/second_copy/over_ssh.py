"""A machine that holds the second copy: ssh and rsync to it, and what their errors mean."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from destination import Destination, Failed

# rsync's exit codes for files that vanished, and for files that could not be transferred.
VANISHED, PARTLY = 24, 23
_FILE_ERROR = 11
_SSH_FAILED = 255
_KEEP = ("--recursive", "--links", "--perms", "--times", "--compress")
# Files that do not change once they are complete. A damaged one must not replace the good one in the copy.
_ONCE = ("--ignore-existing", "--partial-dir=.rsync-partial")


@dataclass(frozen=True)
class Machine(Destination):
    """A folder on a machine: user@host:path."""

    user: str
    host: str
    path: str
    port: int
    key: Path
    known_hosts: Path

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
                f" {self.user}, replace the line of the key with the one that inv backups --copy-key prints",
            )
        if "SSH_ORIGINAL_COMMAND" not in ran.stderr:
            raise self.failure(ran.returncode, ran.stderr)

    def send(
        self, source: Path, only: Sequence[str] | None = None, *, once: bool = False, without: Sequence[str] = ()
    ) -> bool:
        """Send files by rsync, which works in the order of their names."""
        words = [*_KEEP, "--chmod=D700,F600", *(_ONCE if once else ()), *_rules(only, without)]
        return self._rsync([*words, f"{source}/", ":"], [VANISHED])[0] == VANISHED

    def fetch(self, only: Sequence[str], into: Path, *, once: bool = False, without: Sequence[str] = ()) -> None:
        """Receive files by rsync."""
        self._rsync([*_KEEP, *(_ONCE if once else ()), *_rules(only, without), ":", f"{into}/"])

    def fetch_listed(self, names: Iterable[str], into: Path) -> None:
        """Receive these files; rsync would need very long for that many rules."""
        listed = into / ".listed"
        listed.write_text("".join(f"{name}\n" for name in names))
        self._rsync([*_KEEP, f"--files-from={listed}", ":", f"{into}/"])
        listed.unlink()

    def names(self, folder: str) -> list[str]:
        """Ask rsync for a list."""
        # The filter, unlike a path, is no error if the folder does not exist.
        _, out = self._rsync(["--recursive", "--list-only", *_rules([f"{folder}/"], ()), ":"])
        found = (line.split(None, 4) for line in out.splitlines() if line.startswith("-"))
        return [words[4].removeprefix(f"{folder}/") for words in found if len(words) == 5]

    def remove(self, names: Sequence[str], stage: Path) -> None:
        """Let rsync delete what an empty tree does not have."""
        nothing = stage / "nothing"
        shutil.rmtree(nothing, ignore_errors=True)
        paths = [name.rstrip("/") for name in names]
        for path in paths:
            (nothing / path).parent.mkdir(parents=True, exist_ok=True)
        rules = stage / "rules"
        # R: may be removed; P: is protected. rsync looks only into the folders that exist here.
        rules.write_text("".join(f"R /{path}\nR /{path}/***\n" for path in paths) + "P *\n")
        self._rsync(["--recursive", "--delete", "--force", f"--filter=merge {rules}", f"{nothing}/", ":"])

    def _rsync(self, words: Iterable[str], accepted: Iterable[int] = ()) -> tuple[int, str]:
        """Run rsync; return its exit code, 0 or one that is accepted, and its output. `:` is the remote side."""
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
        if code == _FILE_ERROR:
            # The other end has closed the connection before rsync could say why.
            return Failed("full", f"the disk of {self.host} is full, or fails: rsync ended with code {code}", details)
        if code == _SSH_FAILED:
            return Failed("unreachable", f"{self.host} cannot be reached: {first}", details)
        return Failed("rsync", f"rsync to {self.host} failed with code {code}: {first}", details)


def _rules(only: Sequence[str] | None, without: Sequence[str]) -> list[str]:
    """Return the filters of rsync that choose files."""
    rules = [f"--exclude={pattern}" for pattern in without]
    if only is None:
        return rules
    for name in only:
        path = PurePosixPath(name)
        rules += [f"--include=/{parent}/" for parent in reversed(path.parents) if parent.name]
        rules.append(f"--include=/{path}/***" if name.endswith("/") else f"--include=/{path}")
    return [*dict.fromkeys(rules), "--exclude=*"]


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
