"""References: values of roles that services can use in the inventory, such as `${database.url}`."""

from __future__ import annotations

from collections.abc import Callable

from plainstack.dataclass import dataclass
from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack
from plainstack.secrets.values import Vault


@dataclass(frozen=True, slots=True)
class Reference:
    """A value that a role provides under a name.

    `about` is a phrase for documentation. `value` is a pure function of the stack, the host that reads the value, and a
    vault with the passwords named in `secrets`; if there are any, the value is a secret, too.
    """

    about: str
    value: Callable[[Stack, Host, Vault], str]
    secrets: tuple[str, ...] = ()
