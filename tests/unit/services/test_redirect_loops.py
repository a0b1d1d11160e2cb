"""Redirects that lead a browser in a circle are refused, and only those."""

from __future__ import annotations

from pathlib import Path

import pytest

from plainstack.errors import InventoryError
from tests import inventories

TEXT = """\
stack: shop
hosts:
  lb1: {address: 10.0.0.1, roles: [balancer]}
  app1: {address: 10.0.0.3, roles: [app]}
balancer: {server_names: [shop.example, www.shop.example, "*.tenant.example"], redirects: [REDIRECTS]}
services:
  web: {kind: binary, source: ., routes: [/, /news/], processes: {web: {command: run, port: 8000, health: /up}}}
"""


def said(redirects: str) -> list[str]:
    """Return the problems of redirects, without the place that they have in common."""
    try:
        inventories.parse(TEXT.replace("REDIRECTS", redirects), "hosts.yaml", Path.cwd())
    except InventoryError as error:
        return [
            line.removeprefix("hosts.yaml:5: balancer.redirects.").removesuffix(". Change one of them")
            for line in str(error).splitlines()
        ]
    return []


@pytest.mark.parametrize(
    ("redirects", "problems"),
    [
        (
            "{path: /a, to: /b}, {path: /b, to: /a}",
            [
                "0.to: redirects lead in a circle: shop.example/a -> shop.example/b -> shop.example/a",
                "1.to: redirects lead in a circle: shop.example/b -> shop.example/a -> shop.example/b",
            ],
        ),
        (
            "{host: www.shop.example, to: 'https://shop.example'}, {path: /a/, to: 'https://www.shop.example/a/'}",
            ["1.to: redirects lead in a circle: shop.example/a/page -> www.shop.example/a/page -> shop.example/a/page"],
        ),
        (
            "{path: /a/, to: 'http://shop.example/a/'}",
            ["0.to: http://shop.example/a/ is redirected again by the same rule"],
        ),
        ("{path: /a/, to: /a/b/}", ["0.to: /a/b/ is redirected again by the same rule"]),
        (
            "{host: '*.tenant.example', to: 'https://a.tenant.example'}",
            ["0.to: https://a.tenant.example is redirected again by the same rule"],
        ),
        (
            "{host: '*.tenant.example', to: 'https://a.tenant.example'},"
            "{host: a.tenant.example, path: /b, to: 'https://shop.example/b'}",
            ["0.to: https://a.tenant.example is redirected again by the same rule"],
        ),
    ],
)
def test_a_circle_is_shown_with_its_places(redirects: str, problems: list[str]) -> None:
    assert said(redirects) == problems


@pytest.mark.parametrize(
    "redirects",
    [
        "{path: /a, to: /a/}",
        "{path: /a/, to: /a}",
        "{path: /a/, to: /b/}, {path: /b/, to: /c/}",
        # A route with a longer path answers.
        "{path: /news/old/, to: /news/}",
        "{host: www.shop.example, to: 'https://shop.example'}, {path: /a/, to: 'https://other.example/a/'}",
        "{host: '*.tenant.example', to: 'https://shop.example'}",
        # The second one takes precedence under its name, and leads to another site.
        "{path: /x, to: /y}, {host: www.shop.example, path: /y, to: 'https://other.example/x'}",
    ],
)
def test_redirects_that_end_at_a_page_are_accepted(redirects: str) -> None:
    assert said(redirects) == []
