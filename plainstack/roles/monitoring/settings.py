"""The key `monitoring` of an inventory."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from plainstack.inventory.sections import Model
from plainstack.inventory.values import Int, TimeSpan, Url


class Monitoring(Model):
    """Prometheus and Alertmanager."""

    scrape_interval: Annotated[Int, Field(ge=1, le=300)] = Field(
        15, description="Seconds between two scrapes of a target."
    )
    retention: TimeSpan = Field("30d", description="How long metrics are kept: a number with d, w or y.")
    webhook: Url | None = Field(None, description="The URL that alerts are sent to; without it they are only listed.")
