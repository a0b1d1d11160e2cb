"""`inv cache.purge` on a balancer: which responses of a real nginx it removes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from plainstack import shipped
from plainstack.services import cache
from tests.unit.roles.cached_edge import caching, found, stack_with_cache
from tests.unit.roles.real_nginx import Edge

pytestmark = pytest.mark.programs

PROGRAM = shipped.FILES / "balancer/usr/local/lib/plainstack/edge_cache"


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    with caching(tmp_path_factory.mktemp("edge")) as started:
        yield started


def purge(edge: Edge, wanted: cache.Purge) -> int:
    """Run the script of `inv cache.purge`."""
    script = wanted.script().replace(f"python3 {cache.PROGRAM}", f"{sys.executable} {PROGRAM}")
    ran = subprocess.run(
        ["sh", "-c", script], env={**os.environ, "ROOT": str(edge.folder)}, capture_output=True, text=True, check=True
    )
    return int(ran.stdout.removeprefix("purged="))


def test_a_page_and_all_pages_below_a_path_are_purged_with_their_variants(edge: Edge) -> None:
    stack = stack_with_cache()

    def selected(typed: str) -> cache.Purge:
        return cache.purge(stack, typed, "", everything=False)

    pages = ["/news/told", "/news/told?page=2", "/news/more/told?Vary=Accept-Language", "/newspaper/told"]
    german = ("-H", "Accept-Language: de")

    def seen() -> list[str]:
        return [*(found(edge, page)[0] for page in pages), found(edge, pages[2], *german)[0]]

    assert (seen(), seen()) == (["miss"] * 5, ["hit"] * 5)
    assert purge(edge, selected("/news/told")) == 2
    assert seen() == ["miss", "miss", "hit", "hit", "hit"]
    assert purge(edge, selected("/news/told?page=2")) == 1
    assert seen() == ["hit", "miss", "hit", "hit", "hit"]
    assert purge(edge, selected("https://www.shop.example/news/*")) == 0
    assert purge(edge, selected("/news/*")) == 4
    assert seen() == ["miss", "miss", "miss", "hit", "miss"]
    odd = f"{pages[0]}?f[a]={{\u00e9|}}"
    assert [found(edge, odd, "-g")[0] for _ in range(2)] == ["miss", "hit"]
    assert purge(edge, selected(odd)) == 1
    assert found(edge, odd, "-g")[0] == "miss"
    assert purge(edge, cache.purge(stack, "", "web", everything=True)) > 5
    assert seen() == ["miss"] * 5
    assert not [line for line in (edge.folder / "error").read_text().splitlines() if "[crit]" in line]
