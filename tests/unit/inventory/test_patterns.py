"""Values that a pattern describes: messages say what to write, not the pattern."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from plainstack.errors import InventoryError
from plainstack.inventory.patterns import meaning
from tests import inventories

TEXT = """
stack: small
hosts: {a: {address: 10.0.0.2, roles: [app]}}
services:
  api:
    kind: python
    source: .
    python: "3.13"
    processes: {run: {command: serve}}
    KEY
"""


def patterns(schema: Any) -> Iterator[str]:
    """Yield the patterns in a JSON schema."""
    if isinstance(schema, dict):
        if isinstance(schema.get("pattern"), str):
            yield schema["pattern"]
        for each in schema.values():
            yield from patterns(each)
    elif isinstance(schema, list):
        for each in schema:
            yield from patterns(each)


def test_every_pattern_of_the_inventory_has_words() -> None:
    found = set(patterns(inventories.shipped_shape().model.model_json_schema()))
    assert len(found) > 10
    assert [each for each in found if meaning(each).startswith("text of the form")] == []


@pytest.mark.parametrize(
    ("key", "reported"),
    [
        ("max_body: 5MB", "services.api.max_body: must be a size in megabytes or gigabytes, such as 512M or 2G"),
        ("path: shop", "services.api.path: must be a path that starts and ends with '/', such as /shop/"),
        ("packages: [libX]", "services.api.packages.0: must be the name of a Debian package, in lower case"),
        # `python` is both a kind and a key: an error elsewhere in such a service must name the right key.
        ("env: {A: [1]}", "services.api.env.A: must be text or a whole number"),
        ("projcet: shop", "services.api.projcet: unknown key"),
    ],
)
def test_a_value_of_another_form_is_reported_in_words(tmp_path: Path, key: str, reported: str) -> None:
    with pytest.raises(InventoryError) as failed:
        inventories.parse(TEXT.replace("KEY", key), "hosts.yaml", tmp_path)
    assert f"hosts.yaml:10: {reported}" in str(failed.value)
