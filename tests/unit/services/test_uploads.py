"""Files that visitors upload: where a service may write them, and which hosts see them."""

from __future__ import annotations

from pathlib import Path

import pytest

from plainstack.errors import InventoryError
from plainstack.services.validation import one_host_each
from tests import inventories

ROOT = Path(__file__).parents[3]
TEXT = """
stack: small
hosts:
  lb1: {address: 10.0.0.1, roles: [balancer, db]}
  app1: {address: 10.0.0.3, roles: [app]}
  app2: {address: 10.0.0.4, roles: [app]}
services:
  web: {source: apps/incidents, project: incidents_site, WRITABLE}
database: {name: shop}
"""


def notes(writable: str) -> list[str]:
    stack = inventories.parse(TEXT.replace("WRITABLE", writable), "hosts.yaml", ROOT)
    return [f"{host.name}: {text}" for host in stack.hosts.values() for text in one_host_each(stack, host)]


def test_a_shared_folder_on_two_hosts_is_refused_with_its_line() -> None:
    with pytest.raises(InventoryError) as caught:
        notes("writable: [cache, {path: media, shared: true}]")
    (problem,) = caught.value.problems
    assert problem.startswith("hosts.yaml:8: services.web.writable: media cannot be shared by app1, app2. ")
    assert "S3 (django-storages" in problem


def test_one_host_may_have_a_shared_folder() -> None:
    assert notes("writable: [{path: media, shared: true}], hosts: [app2]") == []


def test_the_plan_says_once_that_uploads_stay_on_one_host() -> None:
    (note,) = notes("writable: [media, {path: cache, shared: false}]")
    assert note.startswith("app1: services.web.writable: media is a separate folder on app1, app2: ")
    assert note.endswith("write {path: media, shared: false}")
    assert notes("writable: [media], hosts: [app1]") == []


def test_both_notations_of_a_folder_give_the_same_release() -> None:
    one, other = (
        inventories.parse(TEXT.replace("WRITABLE", f"writable: [{text}]"), "hosts.yaml", ROOT).services["web"]
        for text in ("media", "{path: media, shared: false}")
    )
    assert one.folders == other.folders == ("media",)
