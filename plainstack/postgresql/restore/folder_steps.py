"""Decides what a restore does with folders of services: copied early, exchanged while the processes are stopped."""

from __future__ import annotations

from collections.abc import Iterator

from plainstack.postgresql.restore.acts import Act, Part, RestoreStep
from plainstack.postgresql.restore.quiet import request_marks
from plainstack.postgresql.restore.situation import Request, Situation

_COPIED = "files-copied"
# It exists while a restore of the folder is under way.
_BEGUN = "request.json"


def copy(now: Situation, request: Request) -> Part:
    """Copy the snapshots to the hosts of their folders, while the site is open."""
    if not request.files or _COPIED in request_marks(now):
        return now
    now = yield tuple(
        RestoreStep(Act.PREPARE_FILES, one.host, f"prepare to restore {one.key}", (request.id, *one.words))
        for one in request.files
    )
    now = yield tuple(
        RestoreStep(Act.COPY_FILES, now.backup, f"copy {one.key} to {one.host}", one.words) for one in request.files
    )
    now = yield (RestoreStep(Act.MARK, now.backup, "record that the files are copied", (request.id, _COPIED)),)
    return now


def exchange(now: Situation, request: Request) -> Part:
    """Put the copied files in the place of the folders; hosts that are away keep theirs."""
    steps = tuple(
        RestoreStep(Act.SWAP_FILES, one.host, f"put the files of {one.key} in place", (request.id, *one.words))
        for one in request.files
        if (names := now.files.get((one.host, one.key))) is not None
        and (f"before-{request.id}" not in names or _BEGUN in names)
    )
    if steps:
        now = yield steps
    return now


def exchanged(now: Situation, restore: str) -> bool:
    """Return whether a restore has exchanged a folder, or is about to."""
    return any(f"before-{restore}" in names or "ready" in names for names in now.files.values())


def put_back(now: Situation, restore: str) -> Part:
    """Put back the folders that a restore has exchanged, and forget what it only copied."""
    steps = tuple(
        RestoreStep(Act.UNDO_FILES, host, f"put the old files of {key} back", (restore, key))
        for (host, key), names in now.files.items()
        if names & {f"before-{restore}", _BEGUN}
    )
    if steps:
        now = yield steps
    return now


def aside(now: Situation, restores: frozenset[str]) -> Iterator[tuple[str, str, str]]:
    """Yield the host, the folder and the name of everything that these restores have put aside."""
    for (host, key), names in now.files.items():
        for name in sorted(names):
            if name.partition("-")[0] in ("before", "undone") and name.partition("-")[2] in restores:
                yield host, key, name
