"""The vocabulary of desired state: what a role may ask of a host, as data.

A role yields these in any order within a kind. A wave applies them as one transaction: users, directories, files and
links first (staged, validated as a whole, then put in place together), then units and commands in the order the role
named them. Packages, preseeds and files marked `early` belong to the package transaction before all waves.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A Debian package that must be installed; never removed unless `purge` is set and it is no longer declared.

    One of the packages in `instead` does as well: where it is installed already, this one is not. `replaces` names the
    packages that apt may remove to install this one; any other removal is refused.
    """

    name: str
    purge: bool = False
    instead: tuple[str, ...] = ()
    replaces: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        return f"package {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Preseed:
    """A debconf answer given before `package` is installed, in the format of debconf-set-selections."""

    package: str
    question: str
    kind: str
    value: str

    @property
    def key(self) -> str:
        return f"preseed {self.package} {self.question}"


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A system account with its own group; `groups` are supplementary and must exist."""

    name: str
    home: str = "/nonexistent"
    shell: str = "/usr/sbin/nologin"
    groups: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        return f"user {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Directory:
    """A directory with its mode and owner; on removal it goes only when empty.

    With `purge` it goes with all that is in it, if it was Plainstack that made it. Version 0.1.0 did not note that: a
    directory of its time counts as made by Plainstack when it holds nothing but names of `layout`.
    """

    path: str
    mode: int = 0o755
    owner: str = "root"
    group: str = "root"
    purge: bool = False
    layout: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        return f"directory {self.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file with its whole content; `early` files are placed before packages are installed.

    A `secret` file is never shown in a diff. A file that is `ahead` is there for the commands that are; see Command.
    """

    path: str
    content: bytes
    mode: int = 0o644
    owner: str = "root"
    group: str = "root"
    secret: bool = False
    early: bool = False
    ahead: bool = False

    @property
    def key(self) -> str:
        return f"file {self.path}"

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A symbolic link."""

    path: str
    target: str

    @property
    def key(self) -> str:
        return f"link {self.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Absent:
    """A file or link that a package ships and this stack does not want; never a directory."""

    path: str

    @property
    def key(self) -> str:
        return f"absent {self.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sysctl:
    """A kernel parameter's live value, as /proc/sys shows it; a managed file in /etc/sysctl.d keeps it over a boot.

    When it is no longer declared it goes back to the value that it had before.
    """

    name: str
    value: str

    @property
    def key(self) -> str:
        return f"sysctl {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """A command run before anything changes, in a mount namespace where /etc already holds the wave's new files.

    It runs only when one of `reads` (path prefixes) changes; a non-zero exit stops the wave with nothing touched.
    """

    name: str
    run: str
    reads: tuple[str, ...]

    @property
    def key(self) -> str:
        return f"validation {self.name}"


@dataclass(frozen=True, slots=True)
class Listen:
    """A port that a unit binds, on one IPv4 address or, when `address` is empty, on all.

    An `adopted` one belongs to a daemon that every host runs before the first deploy.
    """

    port: int
    protocol: Literal["tcp", "udp"] = "tcp"
    address: str = ""
    adopted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """A systemd unit with its wanted state and the inputs it must have been loaded with.

    `reload_on` and `restart_on` name inputs: a managed file's path stands for that file's content, mode and owner, a
    path ending in / for all managed files below it, anything else is a literal token. The host keeps the hash of the
    inputs the unit was last loaded with; a difference is an owed reload or restart, whenever it arose. The unit's own
    file and drop-ins under /etc/systemd/system count as `restart_on` without being named.

    `health` is a shell command awaited after every start, reload or restart, at most `timeout` seconds; when it
    does not come true the whole transaction is rolled back. The ports in `listens` must then be held by the unit's
    own processes; a port that another program holds is refused before anything changes. `intact` is a shell command
    evaluated by every probe; when it fails a reload is owed. `guarded` arms the lock-out guard: the host itself
    rolls the transaction back unless a new connection confirms; `snapshot` and `restore` are shell commands that
    save and bring back kernel state that no file holds, with a directory in $KEEP.
    """

    name: str
    enabled: bool = True
    running: bool = True
    reload_on: tuple[str, ...] = ()
    restart_on: tuple[str, ...] = ()
    health: str = ""
    listens: tuple[Listen, ...] = ()
    intact: str = ""
    timeout: int = 30
    guarded: bool = False
    snapshot: str = ""
    restore: str = ""

    @property
    def key(self) -> str:
        return f"unit {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """Local files that travel with a command if, and only if, it runs: `files` as (name, local path).

    When `requirements` names one of the files, a locked requirements file, its wheels are fetched on the operator's
    machine and travel as wheels/*.whl. The command finds everything under $PAYLOAD. Modes do not travel: `executables`
    are the paths below source/ that the command makes executable.

    Between plan and command somebody may save a file: with a `digest` only what was hashed for the
    plan travels. `stays` names what of the same folder does not travel, for people to read.
    """

    files: tuple[tuple[str, str], ...] = ()
    executables: tuple[str, ...] = ()
    requirements: str = ""
    digest: str = ""
    stays: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """An imperative step: `run` is done by sh when `unless` (evaluated by the probe, and again then) does not exit 0.

    `unless` must exit 0 after `run` succeeded. Both may be multi-line scripts, run with `set -eu`; neither may hold a
    secret: what is secret is read from a managed file on the host. `undo` is run when the transaction is rolled back.
    `why` is the sentence that plan and progress show; by `id`, where it has one, its role knows it in a plan.

    A command that is `ahead` runs on all hosts of its role before the role changes anything else on any of them, in a
    transaction of its own with the accounts, directories and files (`ahead`) that it needs. It must leave what is
    running alone.
    """

    name: str
    why: str
    run: str
    unless: str
    undo: str = ""
    payload: Payload | None = None
    timeout: int = 120
    ahead: bool = False
    id: str = ""

    @property
    def key(self) -> str:
        return f"command {self.name}"


Resource = Package | Preseed | User | Directory | File | Link | Absent | Sysctl | Validation | Unit | Command
