"""The operator and the origin of a plan, which manifests record."""

from __future__ import annotations

from plainstack.dataclass import dataclass


@dataclass(frozen=True)
class Stamp:
    """The time, operator and commit of a deploy, and its version of the secret store.

    Manifests record it; plans never compare it.
    """

    when: str
    who: str
    commit: str
    store: str = ""
