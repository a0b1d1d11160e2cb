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
            "What becomes of packet filter rules that Plainstack did not make: `refuse` deploys nothing where "
            "they would undo what it opens or closes, and leaves the chains of Docker, fail2ban and the like "
            "alone; `keep` leaves all of them alone; `replace` removes them."
        ),
    )
