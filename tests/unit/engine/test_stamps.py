"""Stamps of units: which files are inputs of a unit, and which changes call for a reload or a restart."""

from __future__ import annotations

import dataclasses

import pytest

from plainstack.engine.resources import Absent, File, Link, Resource, Unit
from plainstack.engine.stamps import inputs, reloads, stamp_without, unit_stamp

CONF = File(path="/etc/app/app.conf", content=b"a")
KEY = File(path="/etc/app/key", content=b"k", mode=0o600)
LINK = Link(path="/etc/app/on", target="/x")
GONE = Absent(path="/etc/app/default")
OTHER = File(path="/etc/other", content=b"o")
ALL: list[Resource] = [CONF, KEY, LINK, GONE, OTHER]
UNIT = Unit(name="app.service", reload_on=("/etc/app/", "release:1"), restart_on=(KEY.path,))


def parts(unit: Unit, managed: list[Resource]) -> tuple[str, str]:
    restart, _, reload = unit_stamp(unit, managed).partition(" ")
    return restart, reload


def swapped(old: Resource, new: Resource) -> list[Resource]:
    return [new if item is old else item for item in ALL]


def test_a_path_with_a_trailing_slash_covers_the_whole_folder() -> None:
    assert inputs(UNIT, ALL) == {CONF.path, KEY.path, LINK.path, GONE.path}
    assert inputs(UNIT, ALL, reload=False) == {KEY.path}
    assert inputs(Unit(name="x.service", reload_on=("/etc/app",)), ALL) == frozenset()


@pytest.mark.parametrize(
    ("unit", "path", "counts"),
    [
        ("app.service", "/etc/systemd/system/app.service", True),
        ("app", "/etc/systemd/system/app.service", True),
        ("app.service", "/etc/systemd/system/app.service.d/10.conf", True),
        ("app.timer", "/etc/systemd/system/app.timer", True),
        ("app@one.service", "/etc/systemd/system/app@.service", True),
        ("app@one.service", "/etc/systemd/system/app@one.service.d/10.conf", True),
        ("app@one.service", "/etc/systemd/system/app@two.service", False),
        ("app.service", "/etc/systemd/system/app.timer", False),
        ("app.service", "/etc/systemd/system/my-app.service", False),
    ],
)
def test_a_units_own_files_are_inputs_without_being_named(unit: str, path: str, counts: bool) -> None:
    assert bool(inputs(Unit(name=unit), [File(path=path, content=b"")], reload=False)) is counts


@pytest.mark.parametrize(
    ("managed", "unit", "restart", "reload"),
    [
        (ALL[::-1], UNIT, False, False),
        (swapped(OTHER, dataclasses.replace(OTHER, content=b"new")), UNIT, False, False),
        (swapped(CONF, dataclasses.replace(CONF, content=b"new")), UNIT, False, True),
        (swapped(CONF, dataclasses.replace(CONF, mode=0o600)), UNIT, False, True),
        (swapped(CONF, dataclasses.replace(CONF, owner="app")), UNIT, False, True),
        (swapped(CONF, dataclasses.replace(CONF, early=True, secret=True)), UNIT, False, False),
        (swapped(LINK, dataclasses.replace(LINK, target="/y")), UNIT, False, True),
        ([item for item in ALL if item is not CONF], UNIT, False, True),
        ([item for item in ALL if item is not GONE], UNIT, False, True),
        (swapped(KEY, dataclasses.replace(KEY, content=b"new")), UNIT, True, True),
        (ALL, dataclasses.replace(UNIT, reload_on=("/etc/app/", "release:2")), False, True),
        (ALL, dataclasses.replace(UNIT, restart_on=(KEY.path, "release:2")), True, False),
        (ALL, dataclasses.replace(UNIT, health="new", timeout=9, enabled=False), False, False),
    ],
)
def test_a_stamp_changes_with_its_inputs(managed: list[Resource], unit: Unit, restart: bool, reload: bool) -> None:
    before, after = parts(UNIT, ALL), parts(unit, managed)
    assert (before[0] != after[0], before[1] != after[1]) == (restart, reload)


def test_a_unit_without_inputs_has_no_stamp_and_one_with_only_reload_inputs_has_half_of_one() -> None:
    assert unit_stamp(Unit(name="x.service"), ALL) == ""
    assert unit_stamp(Unit(name="x.service", reload_on=(CONF.path,)), ALL).startswith("- ")


def test_if_only_reload_inputs_changed_the_restart_half_of_the_stamp_is_kept() -> None:
    kept = unit_stamp(UNIT, ALL)
    assert stamp_without(UNIT, ALL, {CONF.path}, kept) == f"{kept.split(' ')[0]} ?"
    assert stamp_without(UNIT, ALL, {CONF.path, KEY.path}, kept) == ""


def test_only_unit_files_need_a_daemon_reload() -> None:
    unit_file = File(path="/etc/systemd/system/app.service", content=b"u")
    assert reloads(ALL) == ""
    assert reloads([*ALL, unit_file]) == reloads([unit_file])
    assert reloads([unit_file]) != reloads([dataclasses.replace(unit_file, content=b"v")])
