"""The models of holds: decisions that commands record on the hosts of a service; see plainstack.services.holds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from pydantic import Field

from plainstack.inventory.sections import Model

TIME = "%Y-%m-%dT%H:%M:%SZ"
"""The format of times in holds; later times sort later."""


class Hold(Model):
    """Base of all kinds of hold: when a command set it, and who ran the command.

    A field is a text without line breaks, or a tuple of words.
    """

    at: str = ""
    who: str = ""


def later(at: str, than: Hold | None) -> str:
    """Return the time of a new hold: `at`, or a second after the hold that it replaces if this clock is behind.

    The newest hold applies to all hosts, and the clocks of two operators may differ.
    """
    if than is None or at > than.at:
        return at
    try:
        before = datetime.strptime(than.at, TIME).replace(tzinfo=UTC)
    except ValueError:
        return at
    return (before + timedelta(seconds=1)).strftime(TIME)


class Pinned(Hold):
    """A service keeps a release that `inv rollback` chose: `release`, in the virtual environment `venv`.

    `refused` are the releases that were rolled back: a source with that content is deployed only with --again.
    """

    release: str
    venv: str = ""
    refused: tuple[str, ...] = ()


class Stopped(Hold):
    """The processes and timers of a service that are stopped on some of its hosts; see plainstack.services.stops.

    Each item contains the name, the host, the time and the operator, separated by commas. A hold without items records
    that everything was started again: it replaces an older hold on a host that was down at the time. A service with one
    host needs no such record.
    """

    items: tuple[str, ...] = ()


class Held(Model):
    """The holds of a stack, by kind and service. The name of a field is the name of its kind on the hosts.

    `aside` is not recorded on the hosts: it names the services that a command leaves alone, so that their sources are
    not read.
    """

    pinned: dict[str, Pinned] = Field({})
    stopped: dict[str, Stopped] = Field({})
    aside: tuple[str, ...] = ()
