"""The branches of a lab's network, from the inventory: sites and hosts that are behind a link of their own."""

from __future__ import annotations

from collections.abc import Iterator

from plainstack.inventory.stack import Stack
from plainstack.lab.model import Branch


def branches_of(stack: Stack) -> Iterator[Branch]:
    """Yield the branches: the sites and hosts with a link of their own, each after the site that contains it."""
    lab = stack.lab
    keys = {name: f"s{number}" for number, name in enumerate(lab.sites, 1) if name in lab.links}
    parents = {name: keys[one] for one, members in lab.sites.items() if one in keys for name in members}
    keys |= {name: f"h{number}" for number, name in enumerate((*stack.hosts, *lab.visitors), 1) if name in lab.links}
    for name, key in keys.items():
        link = lab.links[name]
        yield Branch(key, name, link.rate, link.delay, link.loss, parents.get(name, ""))


def innermost(stack: Stack, branches: tuple[Branch, ...]) -> dict[str, str]:
    """Return the key of the innermost branch of each machine that is in a branch, by name of the machine."""
    keys = {branch.name: branch.key for branch in branches}
    within = {name: keys[one] for one, members in stack.lab.sites.items() if one in keys for name in members}
    return {**within, **{name: key for name, key in keys.items() if name not in stack.lab.sites}}
