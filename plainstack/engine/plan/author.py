"""Who makes a plan, and from what: the manifest's history."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Stamp:
    """Who deploys, when, from which commit and which version of the secrets: written into manifests, never compared."""

    when: str
    who: str
    commit: str
    store: str = ""
