"""The key `firewall` of an inventory."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from plainstack.inventory.sections import Model


class Firewall(Model):
    """The packet filter of every host."""

    foreign: Literal["refuse", "keep", "replace"] = Field(
        "refuse",
        description=(
            "What happens to packet filter rules that Plainstack did not make. `refuse` keeps the chains of Docker, "
            "fail2ban and similar programs, and refuses to deploy if other rules would undo what Plainstack opens or "
            "closes. `keep` keeps all rules. `replace` removes them."
        ),
    )
