"""The second copy in `inv status`, `inv backups` and before a deploy: how recent it is, and what is wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from plainstack.dataclass import dataclass
from plainstack.engine.observed import Observed
from plainstack.engine.sayings import Answers, Finding, Status
from plainstack.inventory.stack import Stack
from plainstack.postgresql.backup import barman
from plainstack.postgresql.restore import scratch
from plainstack.postgresql.second_copy_settings import SecondCopy
from plainstack.postgresql.settings import Backup
from plainstack.services.folders import kept
from plainstack.wording import counted, duration


@dataclass(frozen=True)
class Tested:
    """A restore test from the copy: of which backup, when it began, and whether it passed."""

    backup: str
    at: datetime
    passed: bool

    def as_data(self) -> dict[str, object]:
        """Return the result as a JSON object; the time is in ISO 8601."""
        return {"backup": self.backup, "at": self.at.isoformat(), "passed": self.passed}


@dataclass(frozen=True)
class Copied:
    """What the last run of the copy achieved.

    All that the backup host had at `until` is in the copy. `problem` is a sentence, empty if the run succeeded;
    `unknown` are backups in the copy that the backup host does not know; `tested` is the last restore test from it.
    All snapshots of services' files that existed at `files_until` are in the copy; `unknown_files` are those in the
    copy that the backup host does not know.
    """

    at: datetime
    until: datetime | None
    problem: str
    kind: str
    unknown: tuple[str, ...]
    tested: Tested | None = None
    files_until: datetime | None = None
    unknown_files: tuple[str, ...] = ()

    def as_data(self) -> dict[str, object]:
        """Return the state as a JSON object; times are in ISO 8601."""
        return {
            "at": self.at.isoformat(),
            "until": self.until.isoformat() if self.until else None,
            "problem": self.problem or None,
            "unknown": list(self.unknown),
            "files_until": self.files_until.isoformat() if self.files_until else None,
            "unknown_files": list(self.unknown_files),
            "restore_test": self.tested.as_data() if self.tested else None,
        }


def facts(stack: Stack) -> str:
    """Return shell code for the probe.

    It prints second_copy, what the last run achieved, and second_copy_test, the last restore test from the copy, both
    as JSON.
    """
    if stack.settings(Backup).second_copy is None:
        return ""
    path = f"${{ROOT:-}}{barman.copy_file(stack)}"
    tests = f"${{ROOT:-}}{scratch.TESTS}/from-copy"
    return (
        f'[ ! -s "{path}" ] || printf "second_copy=%s\\n" "$(cat "{path}")"\n'
        f'newest=$(ls -t "{tests}"/*.json 2>/dev/null | head -n 1)\n'
        '[ ! -s "$newest" ] || printf "second_copy_test=%s\\n" "$(cat "$newest")"\n'
    )


def parse(facts: Mapping[str, str]) -> Copied | None:
    """Return what the last run achieved, from the facts of the probe; None if there was no run yet."""
    try:
        data = json.loads(facts.get("second_copy", ""))
        until, files_until = data.get("until"), data.get("files_until")
        return Copied(
            datetime.fromtimestamp(data["at"], UTC),
            datetime.fromtimestamp(until, UTC) if until else None,
            str(data.get("problem", "")),
            str(data.get("kind", "")),
            tuple(data.get("unknown", ())),
            _tested(facts.get("second_copy_test", ""), data.get("first", 0)),
            datetime.fromtimestamp(files_until, UTC) if files_until else None,
            tuple(data.get("unknown_files", ())),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _tested(text: str, first: float) -> Tested | None:
    """Return a restore test from the facts of the probe.

    Return None if the test is older than the copy, because it was of a copy at another destination.
    """
    try:
        data = json.loads(text)
        tested = Tested(str(data["backup"]), datetime.fromisoformat(data["at"]), bool(data["passed"]))
    except (ValueError, KeyError, TypeError):
        return None
    return tested if tested.at.timestamp() >= first else None


def read(printed: str) -> Copied | None:
    """Return the same from the output of the shell code of `facts`."""
    return parse(dict(line.split("=", 1) for line in printed.splitlines() if "=" in line))


def problems(stack: Stack, seen: Copied | None, now: datetime) -> Iterator[str]:
    """Yield what is wrong with the second copy, as sentences."""
    wanted = stack.settings(Backup).second_copy
    if wanted is None:
        return
    if seen is None:
        yield "the second copy of the backups was never tried. Run: inv deploy --role=backup"
        return
    if seen.problem:
        yield f"the second copy of the backups fails: {seen.problem}"
    elif seen.until is None:
        yield "the first run of the second copy has not ended yet"
    elif (age := (now - seen.until).total_seconds()) > wanted.max_age_hours * 3600:
        yield f"the second copy of the backups is {duration(age)} old"
    if kept(stack) and not seen.problem and seen.until:
        yield from _of_files(wanted, seen, now)
    if seen.tested and not seen.tested.passed:
        yield (
            f"backup {seen.tested.backup} could not be restored from the second copy. See why:"
            f" inv restore-test --from-copy --backup={seen.tested.backup}"
        )
    if seen.unknown:
        yield (
            f"the second copy has {counted(len(seen.unknown), 'backup')} that this host does not know, from"
            f" {seen.unknown[0]} on; if this host was rebuilt, bring them back: inv backups --fetch-copy"
        )
    if seen.unknown_files:
        yield (
            f"the second copy has {counted(len(seen.unknown_files), 'snapshot')} of services' files that this host does"
            " not know; if this host was rebuilt, bring them back: inv backups --fetch-copy"
        )


def _of_files(wanted: SecondCopy, seen: Copied, now: datetime) -> Iterator[str]:
    if seen.files_until is None:
        yield "the first copy of the files of services has not ended yet"
    elif (age := (now - seen.files_until).total_seconds()) > wanted.max_age_hours * 3600:
        yield f"the second copy of the files of services is {duration(age)} old"


def findings(stack: Stack, observed: Observed) -> Iterator[Finding]:
    """Report a failing copy in plans and deploys; if it was never tried, the deploy tries it."""
    seen = parse(observed.facts)
    for text in problems(stack, seen, datetime.now(UTC)) if seen and seen.problem else ():
        yield Finding(text, refused=False)


def with_copy(stack: Stack, backups: Status, answers: Answers, now: float) -> Status:
    """Return the status of the backups with that of the second copy."""
    if stack.settings(Backup).second_copy is None:
        return backups
    at = datetime.fromtimestamp(now, UTC)
    seen = {name: parse(facts) for name, facts in answers.items() if facts is not None}
    cells = {name: f"{text}; {cell(seen[name], at)}" if name in seen else text for name, text in backups.cells.items()}
    wrong = [(name, text) for name, one in seen.items() for text in problems(stack, one, at)]
    return Status(cells, [*backups.problems, *wrong], backups.notes)


def cell(seen: Copied | None, now: datetime) -> str:
    """Return the second copy's part of a cell in `inv status`."""
    if seen is None or seen.until is None:
        return "no second copy"
    return f"copied {duration((now - seen.until).total_seconds())} ago"


def sentence(stack: Stack, seen: Copied | None, now: datetime) -> str:
    """Return up to which time the backups are copied, as `inv backups` shows it; empty without a second copy."""
    wanted = stack.settings(Backup).second_copy
    if wanted is None:
        return ""
    if seen is None or seen.until is None:
        return f"second copy at {wanted.to}: none yet"
    age = duration((now - seen.until).total_seconds())
    copied = f"second copy at {wanted.to}: copied until {seen.until:%Y-%m-%d %H:%M:%S} UTC, {age} ago"
    if kept(stack):
        files = f"{duration((now - seen.files_until).total_seconds())} ago" if seen.files_until else "not yet"
        copied = f"{copied}; files of services: {files}"
    if seen.tested is None:
        return f"{copied}; not restored as a test yet"
    verdict = "restored as a test" if seen.tested.passed else "failed a restore test"
    return f"{copied}; {verdict} {duration((now - seen.tested.at).total_seconds())} ago"
