"""How the health of a process is checked: its health page, and its watchdog."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from plainstack.inventory.sections import Model
from plainstack.inventory.service_values import Seconds, Status
from plainstack.inventory.values import Int
from plainstack.inventory.web_values import HostHeader, PagePath


class Health(Model):
    """How a page shows that a process is ready to serve requests."""

    path: PagePath = Field(description="The page, requested at the process itself.")
    status: Status | Annotated[tuple[Status, ...], Field(min_length=1)] | None = Field(
        None,
        description="The status, or the list of statuses, with which a healthy process answers; by default any 2xx.",
    )
    host: HostHeader | None = Field(
        None, description="The Host of the request; by default the site's name, as in a visitor's request."
    )
    timeout: Annotated[Int, Field(ge=1, le=60)] = Field(5, description="Seconds that the process has to answer.")
    interval: Annotated[Int, Field(ge=1, le=60)] = Field(
        2, description="Seconds between two requests while the process is healthy."
    )

    @property
    def statuses(self) -> tuple[str, ...]:
        """The statuses of a healthy process, as patterns of sh and of Python's fnmatch."""
        if self.status is None:
            return ("2??",)
        return tuple(str(one) for one in (self.status if isinstance(self.status, tuple) else (self.status,)))


class Watchdog(Model):
    """Restarts a process that runs but whose health page reports that it is not healthy."""

    interval: Seconds = Field(5, description="Seconds between two checks.")
    failures: Annotated[Int, Field(ge=1, le=100)] = Field(
        3, description="The number of failed checks in a row after which the process is restarted."
    )
    startup: Seconds = Field(30, description="Seconds after a start during which nothing is checked.")
