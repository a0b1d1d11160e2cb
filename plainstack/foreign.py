"""Whether a host was deployed with other secrets than ours: a colleague's store that we do not have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from plainstack.compare import state_of
from plainstack.observed import Observed
from plainstack.resources import File, Resource

AUTHORITY = "/etc/plainstack/tls/ca.crt"


def refusals(desired: Mapping[str, Mapping[str, Sequence[Resource]]], observed: Mapping[str, Observed]) -> list[str]:
    """Why secrets that were just generated must not replace those that the hosts have; one sentence for all of them."""
    foreign = [name for name, seen in observed.items() if _is_foreign(desired[name], seen)]
    if not foreign:
        return []
    return [
        f"{', '.join(foreign)}: deployed with other secrets than the ones here: another certificate authority signed"
        " there. Get the store (.plainstack/STACK/secrets.yaml or secrets.STACK.age) from whoever deployed the stack."
        " To replace every password and certificate on purpose: inv deploy --new-secrets"
    ]


def _is_foreign(wanted: Mapping[str, Sequence[Resource]], seen: Observed) -> bool:
    ours = {
        state_of(item)
        for resources in wanted.values()
        for item in resources
        if isinstance(item, File) and item.path == AUTHORITY
    }
    left = {entry.state for entries in seen.manifest.values() for entry in entries if entry.name == AUTHORITY}
    return bool(ours and left and not ours & left)
