"""The kinds of resource that are paths: files, directories, links, and paths that must be absent."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence

from plainstack.engine.kinds.action import Action, Cause, Rank
from plainstack.engine.kinds.kind import (
    Difference,
    Kind,
    Leaves,
    Remembered,
    Resource,
    Situation,
    no_guards,
)
from plainstack.engine.kinds.package import Package, is_served
from plainstack.engine.kinds.path_actions import Forget, Put, Remove
from plainstack.engine.kinds.path_look import PATHS
from plainstack.engine.kinds.path_resources import Absent, Directory, File, Link
from plainstack.engine.kinds.path_state import ABSENT, Left, State
from plainstack.engine.observed import FOUND, Entry, Observed


def state_of(item: File | Directory | Link) -> str:
    """Return the desired state of a path in the manifest's format."""
    return str(item.wanted())


def seen_state(observed: Observed, path: str) -> State:
    """Return the observed state of a path."""
    return State.seen(observed.paths.get(path))


def writes(item: Resource, observed: Observed) -> Iterator[str]:
    """Yield the path of a file or link if a plan will write or remove it."""
    if isinstance(item, File | Link):
        if item.wanted() != seen_state(observed, item.path):
            yield item.path
    elif isinstance(item, Absent):
        there = observed.paths.get(item.path)
        if there and there.kind != "directory":
            yield item.path


def _compare(item: File | Directory | Link, situation: Situation) -> Iterator[Action]:
    wanted, seen = item.wanted(), seen_state(situation.observed, item.path)
    if seen != wanted:
        left = situation.left(item)
        cause = path_cause({Left.of(entry).state for entry in left}, seen, wanted)
        yield Put(item, cause, situation.observed.paths.get(item.path), _is_foreign(left, seen))


def _is_foreign(left: Sequence[Entry], seen: State) -> bool:
    """Return whether a file or link is as it was before Plainstack."""
    if seen.kind not in ("file", "link"):
        return False
    return not left or any(entry.who == FOUND and Left.of(entry).state == seen for entry in left)


def path_cause(left: set[State], seen: State, wanted: State) -> Cause:
    """Return why the observed state differs from the desired one.

    `left` are the recorded states. The cause is "drift" if the path is no longer as Plainstack left it.
    """
    if not left:
        return "new" if seen == ABSENT else "changed"
    between = len(left) > 1
    # Changing the kind of a path removes the old one first; a run may be interrupted between the two steps.
    if seen not in left and seen != wanted and not (between and seen == ABSENT):
        return "drift"
    return "interrupted" if between else "changed"


def _absent(item: Absent, situation: Situation) -> Iterator[Action]:
    there = situation.observed.paths.get(item.path)
    if there is not None:
        if there.kind != "directory":
            yield Remove(item.path, there.kind, "changed", "must be absent")
    elif any(isinstance(other, Package) and not is_served(other, situation.observed) for other in situation.wanted):
        # The file may come with a package that this deploy installs after the probe.
        yield Remove(item.path, "file", "changed", "must stay absent even if a package installs it")


def _state(item: File | Link, _situation: Situation) -> str:
    return state_of(item)


def _directory_state(item: Directory, situation: Situation) -> str:
    """Return the state with its purge flag, which is set only if Plainstack created the directory."""
    before = situation.left(item)
    empty = situation.observed.guards.get(item.key, False)
    if not before:
        # A failed first deploy leaves the files that its commands wrote, but no manifest.
        made = empty or item.path not in situation.observed.paths
    else:
        made = any(Left.of(entry).purge for entry in before) or (empty and all(entry.who != FOUND for entry in before))
    return str(Left(item.wanted(), item.purge and made))


def _found(item: File | Directory | Link, observed: Observed) -> bool:
    return seen_state(observed, item.path) == item.wanted()


def _before(entry: Entry, observed: Observed) -> str:
    seen = seen_state(observed, entry.name)
    return entry.state if seen == Left.of(entry).state else str(seen)


def _gone(_left: Sequence[Entry]) -> str:
    return str(ABSENT)


def _removed(left: Sequence[Entry], situation: Situation) -> Iterator[Action]:
    entry = left[-1]
    found = situation.observed.paths.get(entry.name)
    if found is None or is_replaced(entry, entry.name, situation):
        return
    ours = [one for one in left if one.who != FOUND]
    as_left = (entry.kind == found.kind == "directory") or State.seen(found) in {Left.of(one).state for one in ours}
    if found.kind == "directory" and _goes_whole(left) and not _holds(entry.name, situation.everything):
        yield Remove(entry.name, "tree", "undeclared", "no longer declared, with its contents")
    elif ours and as_left:
        yield Remove(entry.name, entry.kind, "undeclared", "no longer declared")
    else:
        yield Forget(entry, "no longer declared, and changed outside Plainstack")


def _goes_whole(left: Sequence[Entry]) -> bool:
    return any(one.kind == "directory" and Left.of(one).purge for one in left)


def _holds(folder: str, everything: Sequence[Resource]) -> bool:
    """Return whether any declared path is below a directory."""
    return any(path_of(item).startswith(f"{folder}/") for item in everything)


def path_of(item: Resource) -> str:
    """Return the path of a resource; "" if it has none."""
    return getattr(item, "path", "")


def is_replaced(entry: Entry, path: str, situation: Situation) -> bool:
    """Return whether an undeclared path now belongs to another resource, which a removal would delete.

    If the old or the new resource is a directory, the path must be removed first. Only the role that declares the new
    resource can do that.
    """
    new = next((item for item in situation.everything if path_of(item) == path), None)
    if new is None:
        return False
    return new not in situation.wanted or (entry.kind != "directory" and not isinstance(new, Directory))


def _drift(left: Sequence[Entry], wanted: Resource | None, observed: Observed) -> Difference | None:
    return path_drift(left[-1].name, left, item_state(wanted), observed)


def path_drift(path: str, left: Sequence[Entry], wanted: State | None, observed: Observed) -> Difference | None:
    """Return how a path differs from its recorded states; None if it has one of them or the desired state."""
    seen = seen_state(observed, path)
    # An early file is written before the manifest records it, so it may already be as wanted.
    if seen == wanted or seen in {Left.of(one).state for one in left}:
        return None
    # If the path is missing, the change time of its directory shows when it was removed.
    itself, folder = shlex.quote(path), shlex.quote(path.rpartition("/")[0] or "/")
    since = f"stat -c %Z {itself} 2>/dev/null || stat -c %Z {folder} 2>/dev/null"
    return Difference(Left.of(left[-1]).state.became(seen), since)


def item_state(item: Resource | None) -> State | None:
    """Return the state that a resource requires of its path; None if it has no path."""
    if isinstance(item, File | Directory | Link):
        return item.wanted()
    return ABSENT if isinstance(item, Absent) else None


def _layout(item: Directory) -> Mapping[str, str]:
    if not item.layout:
        return {}
    names = " ".join(f"! -name {name}" for name in item.layout)
    holds_only = f'[ -z "$(find "${{ROOT:-}}{item.path}" -mindepth 1 -maxdepth 1 {names} -print -quit)" ]'
    return {item.key: holds_only}


DIRECTORY = Kind[Directory](
    name="directory",
    resource=Directory,
    folder="",
    looks=(PATHS,),
    guards=_layout,
    rank=Rank.FOLDERS,
    compare=_compare,
    remembered=Remembered[Directory](
        state=_directory_state,
        found=_found,
        before=_before,
        gone=_gone,
        removed=_removed,
        leaves=Leaves.FOLDERS,
        drift=_drift,
    ),
    functions="files",
)
FILE = Kind[File](
    name="file",
    resource=File,
    folder="",
    looks=(PATHS,),
    guards=no_guards,
    rank=Rank.FILES,
    compare=_compare,
    remembered=Remembered[File](
        state=_state, found=_found, before=_before, gone=_gone, removed=_removed, leaves=Leaves.PATHS, drift=_drift
    ),
    functions="files",
)
LINK = Kind[Link](
    name="link",
    resource=Link,
    folder="",
    looks=(PATHS,),
    guards=no_guards,
    rank=Rank.LINKS,
    compare=_compare,
    remembered=Remembered[Link](
        state=_state, found=_found, before=_before, gone=_gone, removed=_removed, leaves=Leaves.PATHS, drift=_drift
    ),
    functions="files",
)
ABSENT_PATH = Kind[Absent](
    name="absent",
    resource=Absent,
    folder="",
    looks=(PATHS,),
    guards=no_guards,
    rank=Rank.ABSENT,
    compare=_absent,
    remembered=None,
    functions="files",
)
KINDS = (DIRECTORY, FILE, LINK, ABSENT_PATH)
