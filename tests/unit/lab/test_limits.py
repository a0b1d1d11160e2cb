"""Limits of disks that this machine cannot hold are refused before anything starts."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from plainstack.lab import limits, model
from plainstack.lab.model import LabHost
from plainstack.ssh.netns import LabError


@pytest.fixture
def small_files() -> Iterator[None]:
    """Let files of this process have at most 128 MiB, as some file systems do with a larger size."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (128 << 20, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("small_files")
def test_a_limit_above_what_the_file_system_allows_is_refused_with_host_and_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model, "DISKS", tmp_path / "disks")
    small, large, none = (
        LabHost(name, f"192.168.57.1{number}", room=room)
        for number, (name, room) in enumerate({"db1": 64 << 20, "db2": 2 << 30, "db3": None}.items())
    )
    limits.refuse_impossible([small, none])
    with pytest.raises(LabError) as refused:
        limits.refuse_impossible([small, large, none])
    assert str(refused.value) == (
        f"db2: lab.disks.db2: the file system of {tmp_path}/disks cannot hold a file of 2.0 GiB (File too large)."
        " Choose a smaller size"
    )
    assert list((tmp_path / "disks").iterdir()) == []
