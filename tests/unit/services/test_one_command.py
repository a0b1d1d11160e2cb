"""The control group of a command that runs on one host: next to that of its supervisor, within that of the unit."""

from __future__ import annotations

from pathlib import Path

import pytest
from command import NotDelegated, group


def test_the_command_has_a_control_group_beside_the_supervisors() -> None:
    membership = "4:memory:/\n0::/system.slice/beat.service/supervisor\n"
    assert group(membership, Path("/cgroup")) == Path("/cgroup/system.slice/beat.service/command")


@pytest.mark.parametrize("membership", ["0::/system.slice/beat.service\n", "0::/\n", "1:name=systemd:/\n"])
def test_a_unit_without_its_own_control_group_is_refused_with_the_missing_settings(membership: str) -> None:
    with pytest.raises(NotDelegated, match=r"Delegate=yes and DelegateSubgroup=supervisor"):
        group(membership)
