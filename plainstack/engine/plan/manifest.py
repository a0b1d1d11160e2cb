"""The manifest entries that apply after a plan has been carried out, and those that apply while it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from plainstack.engine.kinds.kind import Situation
from plainstack.engine.kinds.registry import kind_named, kind_of
from plainstack.engine.observed import FOUND, Entry
from plainstack.engine.plan.author import Stamp
from plainstack.engine.resources import File


def manifest_entries(situation: Situation, stamp: Stamp) -> Iterator[Entry]:
    """Yield the role's manifest entries once this plan is applied; unchanged entries keep their time and operator."""
    for item in situation.wanted:
        kind = kind_of(item)
        state = kind.remembered.state(item, situation) if kind.remembered else None
        if kind.remembered is None or state is None:
            continue
        left = situation.left(item)
        kept = [entry for entry in left if entry.state == state]
        # A resource that was already on the host in its desired state must not be removed or stopped later.
        found = not left and kind.remembered.found(item, situation.observed)
        store = stamp.store if isinstance(item, File) and item.secret else ""
        by = FOUND if found else stamp.who
        name = item.key.partition(" ")[2]
        yield kept[0] if kept else Entry(kind.name, name, state, stamp.when, by, stamp.commit, store)


def entries_between(entries: Iterable[Entry], situation: Situation) -> Iterator[Entry]:
    """Yield entries for states that an interrupted run may leave and that neither the old nor the new manifest has.

    For newly managed resources, these are the states before the run; for removed resources, the state after removal.
    """
    wanted = {entry.key: entry for entry in entries}
    for entry in wanted.values():
        kind = kind_named(entry.kind)
        if kind and kind.remembered and entry.key not in situation.ours:
            state = kind.remembered.before(entry, situation.observed)
            if state != entry.state:
                yield replace(entry, state=state, who=FOUND, store="")
    for key, left in situation.ours.items():
        kind = kind_named(left[-1].kind)
        if kind and kind.remembered and key not in wanted:
            yield replace(left[-1], state=kind.remembered.gone(left), who=FOUND)
