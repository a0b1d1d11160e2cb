"""The author and origin of a plan, recorded in manifests."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Stamp:
    """Who deploys, when, from which commit and with which version of the secret store.

    Manifests record it; plans never compare it.
    """

    when: str
    who: str
    commit: str
    store: str = ""
