"""Routes that pass responses on as they arrive, through a real nginx."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import inventories
from tests.lab.standin_app import GO
from tests.unit.roles.real_nginx import Edge, running

pytestmark = pytest.mark.programs

TEXT = """
stack: shop
hosts:
  lb1: {address: 10.0.0.1, roles: [balancer]}
  app1: {address: 10.0.0.3, roles: [app]}
balancer: {server_names: [shop.example]}
services:
  web:
    kind: binary
    source: "."
    routes: [/, {path: /live/, buffering: false}]
    processes: {web: {command: run, port: 8000, health: /}}
"""


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    stack = inventories.parse(TEXT, "hosts.yaml", Path.cwd())
    with running(stack, tmp_path_factory.mktemp("edge")) as started:
        yield started


def test_a_route_without_buffering_passes_each_part_on_at_once(edge: Edge) -> None:
    to = ["--connect-to", f"shop.example::127.0.0.1:{edge.port}"]
    client = subprocess.Popen(
        ["curl", "-sNk", "-m", "60", *to, "https://shop.example/live/events"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert client.stdout is not None
        assert client.stdout.readline() == "data: first\n"
        # The application sends the second part only now.
        GO.set()
        assert client.stdout.read() == "\ndata: second\n\n"
        assert client.wait(60) == 0
    finally:
        client.kill()
        client.wait()
