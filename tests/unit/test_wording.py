"""Nouns in messages agree with their counts, and alternatives are listed as in English."""

from __future__ import annotations

import pytest

from plainstack.inventory.stack import Stack
from plainstack.secrets.format import Store
from plainstack.secrets.store import Opened
from plainstack.secrets.store_files import Found, path
from plainstack.wording import counted, one_of


@pytest.mark.parametrize(
    ("count", "words", "said"),
    [
        (0, ("host",), "0 hosts"),
        (1, ("host",), "1 host"),
        (2, ("host",), "2 hosts"),
        (1, ("data directory", "data directories"), "1 data directory"),
        (3, ("data directory", "data directories"), "3 data directories"),
    ],
)
def test_a_noun_agrees_with_its_count(count: int, words: tuple[str, ...], said: str) -> None:
    assert counted(count, *words) == said


def test_alternatives_are_listed_with_one_or() -> None:
    assert [one_of("abc"[:count]) for count in range(4)] == ["", "a", "a or b", "a, b or c"]


def test_a_single_certificate_would_be_generated(stack: Stack) -> None:
    opened = Opened(stack, Found(Store()), Store(pki={"site": {}}))
    assert opened.unsaved == (f"generate 1 certificate, kept in {path(stack)}",)
