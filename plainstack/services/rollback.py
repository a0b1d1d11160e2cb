"""Decides which release a service is rolled back to, from the releases that its hosts keep; does no I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from plainstack.errors import Refused
from plainstack.inventory.held import Pinned, later
from plainstack.services.holds import rolled_back
from plainstack.services.kept import OnHost
from plainstack.wording import did_you_mean, one_of

Hosts = Mapping[str, OnHost]


def target(service: str, hosts: Hosts, wanted: str, at: str, who: str) -> Pinned:
    """Return what `inv rollback` pins a service to; `hosts` are the hosts that could be reached, at least one.

    `wanted` is the release in --to, or the beginning of its id; "" means the previous release. Raises Refused, with the
    possible releases, if one of these hosts cannot run the release.
    """
    pinned = newest(hosts)
    release = _named(service, hosts, wanted) if wanted else _previous(service, hosts, pinned)
    if lacking := list(_lacking(hosts, release)):
        raise Refused(f"{service} cannot go back to {release}: {'; '.join(lacking)}. {choice(service, hosts)}")
    running = [seen.current for seen in hosts.values() if seen.current != release]
    if not running and all(seen.pinned and seen.pinned.release == release for seen in hosts.values()):
        raise Refused(f"{service} was rolled back to {release} already. {choice(service, hosts)}")
    if not running and pinned is None:
        raise Refused(f"{service} runs {release} already. {choice(service, hosts)}")
    earlier = pinned.refused if pinned else ()
    if pinned and pinned.release == release and set(running) <= {*earlier}:
        # Continue the same rollback on the hosts that it has not reached.
        return pinned
    refused = tuple(name for name in dict.fromkeys([*running, *earlier]) if name != release)
    venv = next(iter(hosts.values())).releases[release].venv
    return Pinned(release=release, venv=venv, refused=refused, at=later(at, pinned), who=who)


def newest(hosts: Hosts) -> Pinned | None:
    """Return the newest pin of a service, which applies to all its hosts."""
    pins = [seen.pinned for seen in hosts.values() if seen.pinned]
    return max(pins, key=lambda pin: pin.at, default=None)


def candidates(hosts: Hosts) -> list[str]:
    """Return the releases that every host could run and at least one host does not, newest first.

    Those that were rolled back come last.
    """
    order = dict.fromkeys(name for seen in hosts.values() for name in [*seen.ready, seen.current] if name)
    found = [
        name
        for name in order
        if not list(_lacking(hosts, name)) and any(seen.current != name for seen in hosts.values())
    ]
    pinned = newest(hosts)
    return sorted(found, key=lambda name: pinned is not None and name in pinned.refused)


def choice(service: str, hosts: Hosts) -> str:
    """Return the sentence that lists the releases to which a service can be rolled back."""
    found = candidates(hosts)
    if not found:
        return f"There is no release that {service} can be rolled back to; inv releases shows what the hosts keep"
    return f"{service} can be rolled back to {one_of(found)}: inv rollback --service={service} --to={found[0]}"


def differing(service: str, hosts: Hosts) -> str:
    """Return the sentence that says which release each host runs; empty if all run the same one."""
    if len({seen.current for seen in hosts.values()}) < 2:
        return ""
    runs = [f"{name} runs {seen.current or 'no release'}" for name, seen in hosts.items()]
    return f"{service}: {', '.join(runs[:-1])}, and {runs[-1]}"


def advice(service: str, hosts: Hosts) -> str:
    """Return what to do when the hosts run different releases."""
    pinned = newest(hosts)
    if pinned:
        return (
            f"To continue the rollback to {pinned.release}: inv rollback --service={service}. To deploy the source"
            " again on all hosts: inv deploy --again"
        )
    try:
        back = _previous(service, hosts, None)
    except Refused:
        return "Fix the cause, and run inv deploy again"
    ahead = [name for name, seen in hosts.items() if seen.current != back]
    return (
        f"Fix the cause, and run inv deploy again. To return {' and '.join(ahead)} to {back}: inv rollback"
        f" --service={service}"
    )


def migrations(hosts: Hosts, release: str) -> list[str]:
    """Return the known migrations that were applied after those of `release`, oldest first."""
    since = min((seen.releases[release].migrated for seen in hosts.values() if release in seen.releases), default="")
    later = [
        kept
        for seen in hosts.values()
        for kept in seen.releases.values()
        if kept.id != release and kept.migrations and kept.applied > since
    ]
    return list(
        dict.fromkeys(name for kept in sorted(later, key=lambda kept: kept.applied) for name in kept.migrations)
    )


def _lacking(hosts: Hosts, release: str) -> Iterator[str]:
    for name, seen in hosts.items():
        if release not in seen.releases:
            yield f"{name} has no release {release}"
        elif seen.releases[release].lacks and seen.current != release:
            yield f"{name}: {seen.releases[release].lacks}"


def _named(service: str, hosts: Hosts, wanted: str) -> str:
    known = dict.fromkeys(name for seen in hosts.values() for name in seen.releases)
    found = [name for name in known if name.startswith(wanted)]
    if len(found) == 1 or wanted in known:
        return wanted if wanted in known else found[0]
    if found:
        raise Refused(f"--to={wanted}: {service} has several such releases: {', '.join(found)}")
    raise Refused(
        f"--to={wanted}: no host has such a release of {service}{did_you_mean(wanted, list(known))}."
        f" {choice(service, hosts)}"
    )


def _previous(service: str, hosts: Hosts, pinned: Pinned | None) -> str:
    running = {seen.current for seen in hosts.values()}
    if pinned is not None:
        if running == {pinned.release} and all(seen.pinned == pinned for seen in hosts.values()):
            raise Refused(
                f"{rolled_back(service, pinned)}. To go back further, name the release. {choice(service, hosts)}."
                " To deploy the source again: inv deploy --again"
            )
        # An earlier rollback did not reach all hosts.
        return pinned.release
    before = dict.fromkeys(seen.previous for seen in hosts.values() if seen.previous)
    if len(running) > 1:
        # A deploy did not reach all hosts: some run the release that the others ran before.
        before = {name: None for name in before if name in running}
        if len(before) != 1:
            raise Refused(f"{differing(service, hosts)}. Name a release with --to. {choice(service, hosts)}")
    if not before:
        raise Refused(f"the hosts know no previous release of {service}. {choice(service, hosts)}")
    return next(iter(before))
