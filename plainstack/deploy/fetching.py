"""Fetch the files that commands get from other hosts, each file once in a deploy."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from dataclasses import field
from threading import Lock
from typing import TYPE_CHECKING

from plainstack.dataclass import dataclass
from plainstack.engine.resources import Fetched, Payload
from plainstack.errors import HostFailed, PlainstackError

if TYPE_CHECKING:
    from plainstack.ssh.session import Session

# Seconds.
_LIMIT = 300


@dataclass
class Fetching:
    """The files that a deploy has fetched so far; hosts that need the same file at the same time wait for it."""

    _kept: dict[Fetched, bytes] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def of(
        self, payload: Payload, to: Callable[[str], Session], report: Callable[[str], None]
    ) -> list[tuple[str, bytes]]:
        """Return the fetched file of a payload, if it has one, as a list of one (name, content) pair.

        `to` opens the connection to a host. Raises PlainstackError, with what each host answered, if none has the file.
        """
        wanted = payload.fetched
        if wanted is None:
            return []
        with self._lock:
            if wanted not in self._kept:
                self._kept[wanted] = _from_any(wanted, to, report)
            return [(wanted.name, self._kept[wanted])]


def _from_any(wanted: Fetched, to: Callable[[str], Session], report: Callable[[str], None]) -> bytes:
    reasons = []
    for host in wanted.hosts:
        report(f"fetching {wanted.what} from {host}")
        try:
            answer = to(host).script(wanted.script, timeout=_LIMIT, step=f"fetch {wanted.what}")
            if answer.code == 0:
                return base64.b64decode(answer.out, validate=True)
            reasons.append(f"{host}: {(answer.err.strip().splitlines() or [f'exit code {answer.code}'])[-1]}")
        except HostFailed as error:
            reasons.append(f"{host}: {error.reason}")
        except binascii.Error:
            reasons.append(f"{host}: the answer is incomplete")
    raise PlainstackError("\n".join([f"no host could provide {wanted.what}", *reasons]))
