"""How long a run waits for a host to answer."""

from __future__ import annotations

from collections.abc import Mapping

from plainstack.deploy.apply import longest, work_of
from plainstack.deploy.schedule import PACKAGES
from plainstack.engine.desired import HostDesired
from plainstack.engine.observed import Observed
from plainstack.engine.plan.planner import Stamp, plan
from plainstack.engine.resources import Command, Unit

NOW = Stamp("2026-01-01T00:00:00Z", "me@here", "abc")


def test_a_deploy_waits_for_a_host_that_may_still_be_working(desired: Mapping[str, HostDesired]) -> None:
    """Copying a big database may take a day: a run that gave up earlier would leave the host copying."""
    for host, wanted in desired.items():
        bare = plan(host, wanted, Observed(), NOW)
        assert longest(work_of(bare, PACKAGES)) >= 3600, "a slow mirror"
        for role, resources in wanted.items():
            if on_the_host := sum(item.timeout for item in resources if isinstance(item, Command | Unit)):
                assert longest(work_of(bare, role)) >= on_the_host, f"{role} on {host}"
