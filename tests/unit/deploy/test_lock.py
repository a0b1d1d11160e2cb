"""Locks over a real sshd on loopback: which runs are refused, with which message, and that they keep no lock."""

from __future__ import annotations

import fcntl
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Timer

import pytest

from plainstack.deploy import lock
from plainstack.deploy.lock import Locks
from plainstack.errors import Refused
from plainstack.ssh.connections import Sessions
from plainstack.ssh.session import Session
from tests import sshd
from tests.sshd import Server
from tests.waiting import PATIENCE

pytestmark = [pytest.mark.programs, sshd.needed]
Take = Callable[..., list[lock.Release]]


@pytest.fixture
def session(server: Server, tmp_path: Path) -> Iterator[Session]:
    with Sessions(server.stack(tmp_path)) as sessions:
        yield sessions.to("db1")


@pytest.fixture
def take(session: Session, tmp_path: Path) -> Take:
    """Return a function that takes the locks of hosts; all names mean the same host, so two names conflict."""

    def hold(reported: str, *, names: str = "a", drill: bool = False, in_drill: bool = False) -> list[lock.Release]:
        work, drills = str(tmp_path / "work lock"), str(tmp_path / "drill-lock")
        locks = Locks(work, shared="" if in_drill else drills) if not drill else Locks(drills, sharer=work)
        return lock.hold(names, lambda _: session, reported, locks)

    return hold


def free(session: Session, path: Path) -> bool:
    return session.run(f"flock -w {PATIENCE} '{path}' true").code == 0


def test_a_second_run_is_refused_with_the_name_of_the_first(take: Take, session: Session, tmp_path: Path) -> None:
    name = r"""ann@desk 'quoted' (pid 1) since noon: inv secrets.edit --editor='C:\new\1'"""
    (release,) = take(name)
    with pytest.raises(Refused, match=f"^a: another run is at work: {re.escape(name)}$"):
        take("bob")
    release()
    assert free(session, tmp_path / "work lock")
    assert len(take("bob")) == 1


def test_if_one_host_is_busy_the_locks_of_the_others_are_released(take: Take, session: Session, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="another run is at work: ann"):
        take("ann", names="ab")
    assert free(session, tmp_path / "work lock")
    assert len(take("bob")) == 1


def test_a_drill_blocks_every_run_except_its_own(take: Take) -> None:
    held = take("drill", drill=True)
    with pytest.raises(Refused, match="another run is at work: drill"):
        take("deploy")
    with pytest.raises(Refused, match="another run is at work: drill"):
        take("second drill", drill=True)
    assert len(take("promote", in_drill=True)) == len(held)


def test_a_run_blocks_drills_and_is_named_in_the_error(take: Take) -> None:
    held = take("deploy")
    with pytest.raises(Refused, match="another run is at work: deploy"):
        take("drill", drill=True)
    held[0]()


def test_observing_blocks_no_run(take: Take, tmp_path: Path) -> None:
    """A probe holds a shared lock for a moment, to see whether a run holds the lock."""
    path = tmp_path / "work lock"
    path.write_text("")
    with path.open() as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        done = Timer(0.2, fcntl.flock, (looking, fcntl.LOCK_UN))
        done.start()
        assert len(take("ann")) == 1
        done.join()


def test_a_host_that_changed_since_the_plan_is_reported(session: Session, tmp_path: Path) -> None:
    with pytest.raises(
        Refused, match=r"^a: another run changed this host since the plan was made\. Run the same command again$"
    ):
        lock.hold("a", lambda _: session, "ann", Locks(str(tmp_path / "lock")), generations={"a": "older"})
    assert free(session, tmp_path / "lock")
