"""A simulated host: a folder as its root, the real /bin/sh and coreutils, and stand-ins for what needs systemd.

The scripts are those of the engine, unchanged, run with ROOT=<folder>. The stand-ins are copied from standins/ to
<folder>/bin. systemctl keeps its state in files and logs every call; a unit "loads" a copy of the files that it reads.
getent, id and the useradd family work on <folder>/etc/passwd; dpkg-query and apt-get work on a list of names.
"""

from __future__ import annotations

import itertools
import os
import shutil
import stat
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from plainstack.engine import probe
from plainstack.engine.observed import Observed
from plainstack.engine.plan.actions import HostPlan, PackageTransaction
from plainstack.engine.plan.author import Stamp
from plainstack.engine.plan.planner import plan
from plainstack.engine.resources import Resource
from plainstack.engine.transaction import script
from plainstack.engine.transaction.bundle import Members
from plainstack.engine.transaction.result import Answer
from plainstack.engine.transaction.script import Script

STAMP = Stamp("2026-01-01T00:00:00Z", "me@here", "abc")

STANDINS = Path(__file__).parent / "standins"
# As in the engine, no two runs share a name: a process left over from a run looks for the folder with its run's name.
RUNS = itertools.count(1)
FOLDERS = ("active", "activating", "failed", "enabled", "masked", "packaged", "loaded", "reads")


@dataclass
class Done:
    """The result of a script on a sandbox."""

    answer: Answer
    code: int
    text: str

    @property
    def ok(self) -> bool:
        return self.answer.done and not self.answer.failed


@dataclass
class Sandbox:
    """A simulated host, by its root folder."""

    root: Path

    @classmethod
    def new(cls, root: Path) -> Sandbox:
        """Make an empty host."""
        for folder in ("bin", "run", "etc", "usr/sbin", "var/lib/apt/lists", *(f"systemd/{name}" for name in FOLDERS)):
            (root / folder).mkdir(parents=True)
        for standin in STANDINS.iterdir():
            shutil.copy(standin, root / "bin")
        (root / "packages").touch()
        (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n", encoding="utf-8")
        (root / "etc/group").write_text("root:x:0:\nadm:x:4:\n", encoding="utf-8")
        (root / "etc/login.defs").write_text("USERGROUPS_ENAB yes\n", encoding="utf-8")
        (root / "etc/shadow").write_text("root:*:1::::::\n", encoding="utf-8")
        return cls(root)

    def copy(self, root: Path) -> Sandbox:
        """Copy the host to another folder."""
        subprocess.run(["cp", "-a", str(self.root), str(root)], check=True)
        return Sandbox(root)

    def sh(self, command: str, stdin: bytes = b"", *, hold: bool = False, leave_at: bytes = b"") -> tuple[int, str]:
        """Run a command as a connection would; return its exit code and its output.

        With `hold`, its input stays open until the command ends. A line of output with `leave_at` ends the connection.
        """
        with subprocess.Popen(
            ["/bin/sh", "-c", command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={"ROOT": str(self.root), "PATH": os.defpath},
        ) as running:
            assert running.stdin
            assert running.stdout
            running.stdin.write(stdin)
            running.stdin.flush()
            if not hold:
                running.stdin.close()
            output = b""
            while line := running.stdout.readline():
                output += line
                if leave_at and leave_at in line:
                    running.stdin.close()
                    running.stdout.close()
                    break
            code = running.wait()
        return code, output.decode()

    def observe(self, resources: Sequence[Resource]) -> Observed:
        """Run the real probe on this host."""
        _, text = self.sh(probe.script(resources))
        return probe.parse(text, str(self.root))

    def plan(self, desired: Mapping[str, Sequence[Resource]], seen: Observed | None = None) -> HostPlan:
        """Plan from the given observation, or from a new probe."""
        everything = [item for resources in desired.values() for item in resources]
        return plan("sandbox", desired, seen or self.observe(everything), STAMP)

    def run(self, work: Script, *, hold: bool = True, leave_at: bytes = b"") -> Done:
        """Send a script to this host, as the engine does."""
        code, text = self.sh(work.command, work.stream, hold=hold, leave_at=leave_at)
        answer = Answer()
        for line in text.splitlines():
            answer.read(line)
        return Done(answer, code, text)

    def deploy(
        self, desired: Mapping[str, Sequence[Resource]], *, stop_after: int | None = None, seen: Observed | None = None
    ) -> list[Done]:
        """Plan, and apply all transactions until one fails; `stop_after` kills the first after that many steps."""
        seen = seen or self.observe([item for resources in desired.values() for item in resources])
        found = self.plan(desired, seen)
        generation = seen.generation
        ended: list[Done] = []
        for work in (*filter(None, [found.packages]), *found.transactions):
            sent = build(work, stop_after=stop_after, planned_at=generation)
            ended.append(self.run(sent))
            generation = sent.generation
            if not ended[-1].ok:
                break
        return ended

    def tree(self, *without: str) -> dict[str, tuple[object, ...]]:
        """Return every path's mode, owner, group and content, without stand-ins, logs and what differs in every run."""
        ignored = ("bin", "run", "systemd/log", "var/log", "var/lib/plainstack/generation", "etc/.pwd.lock", *without)
        seen: dict[str, tuple[object, ...]] = {}
        for folder, folders, files in os.walk(self.root):
            for name in [*folders, *files]:
                path = Path(folder, name)
                shown = str(path.relative_to(self.root))
                if any(shown == one or shown.startswith(f"{one}/") for one in ignored) or shown.endswith("-"):
                    continue
                info = path.lstat()
                content: object = None
                if stat.S_ISLNK(info.st_mode):
                    content = path.readlink()
                elif stat.S_ISREG(info.st_mode):
                    content = path.read_bytes()
                seen[shown] = (stat.filemode(info.st_mode), info.st_uid, info.st_gid, content)
        return seen

    def generation(self) -> str:
        """Return the generation that a probe reports: the ID of the last change."""
        return self.observe([]).generation

    def states(self) -> dict[str, bytes]:
        """Return the manifests and stamps by path."""
        kept = self.root / "var/lib/plainstack"
        return {str(path): path.read_bytes() for path in (*kept.glob("manifest/*"), *kept.glob("units/*"))}

    def calls(self) -> list[str]:
        """Return the changing calls of systemctl and the other stand-ins since the last call of this method."""
        log = self.root / "systemd/log"
        lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return lines

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file, as somebody else would on the host."""
        there = self.root / path.lstrip("/")
        there.parent.mkdir(parents=True, exist_ok=True)
        there.write_text(text, encoding="utf-8")
        there.chmod(mode)

    def read(self, path: str) -> str:
        """Return the content of a file."""
        return (self.root / path.lstrip("/")).read_text(encoding="utf-8")

    def reads(self, unit: str, *paths: str) -> None:
        """Tell the stand-in which files a unit reads."""
        self.write(f"systemd/reads/{unit}", "\n".join(paths) + "\n")

    def remove(self) -> None:
        """Remove the host."""
        shutil.rmtree(self.root)


def build(
    work: object,
    payloads: Mapping[str, Members] | None = None,
    stop_after: int | None = None,
    planned_at: str | None = None,
) -> Script:
    """Return the script of a transaction."""
    run_id = f"run-{next(RUNS)}"
    audit = {"who": "me", "commit": "abc", "command": "inv deploy"}
    if isinstance(work, PackageTransaction):
        return script.packages(work, run_id, audit, stop_after=stop_after, planned_at=planned_at)
    return script.transaction(work, run_id, audit, payloads or {}, stop_after=stop_after, planned_at=planned_at)  # type: ignore[arg-type]
