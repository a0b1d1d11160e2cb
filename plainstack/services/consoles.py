"""What `inv console` starts for each kind of service."""

from __future__ import annotations

from collections.abc import Mapping

CONSOLES: Mapping[str, tuple[str, ...]] = {"django": ("manage.py", "shell")}
_OTHERWISE = ("python",)


def console(kind: str) -> tuple[str, ...]:
    """The command of the console of a kind; without one of its own, the Python of the release."""
    return CONSOLES.get(kind, _OTHERWISE)
