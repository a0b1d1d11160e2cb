"""docs/inventory.md and the JSON schema for editors agree with the inventory's models."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from plainstack.cli import reference
from plainstack.inventory import load, view
from plainstack.inventory.stack import Stack
from plainstack.inventory.yaml_reader import Text
from tests import inventories

ROOT = Path(__file__).resolve().parents[3]
SHAPE = inventories.shipped_shape()
DATA: dict[str, Any] = yaml.safe_load((ROOT / "hosts.yaml").read_text(encoding="utf-8"))


# Every worker imports this module, and only one runs its tests.
@cache
def schema() -> dict[str, Any]:
    return reference.schema(SHAPE)


@cache
def page() -> str:
    return reference.page(SHAPE)


def test_the_page_is_generated_from_the_models() -> None:
    """To regenerate the page, run: python -m plainstack.cli.reference >docs/inventory.md"""
    assert (ROOT / "docs/inventory.md").read_text(encoding="utf-8") == page()


def test_every_key_has_a_one_sentence_description() -> None:
    for name, model in (("Stack", schema()), *schema()["$defs"].items()):
        for key, field in model["properties"].items():
            about = field.get("description") or schema()["$defs"][field["$ref"].rpartition("/")[2]]["description"]
            assert about.endswith("."), f"{name}.{key}"
            assert f"| `{key}` |" in page(), f"{name}.{key}"


def test_the_schema_accepts_the_default_inventory() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    jsonschema.validate(DATA, schema())


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("stak",), "shop"),
        (("folder",), "/"),
        (("still",), {}),
        (("hosts", "db1", "name"), "db1"),
        (("hosts", "db1", "roles"), ["bd"]),
        (("hosts", "db1", "address"), 5),
        (("ssh", "port"), 65536),
        (("ssh", "port"), "22"),
        (("balancer", "tls"), {"certificate": "a.pem"}),
        (("database", "version"), 16),
        (("services", "web", "workers"), 0),
    ],
)
def test_the_schema_rejects_what_the_models_reject(keys: tuple[str, ...], value: object) -> None:
    data = copy.deepcopy(DATA)
    inner = data
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    assert list(jsonschema.Draft202012Validator(schema()).iter_errors(data)) != []


SHARED = "ssh: {user: deploy}\nmonitoring: {webhook: 'https://me:secret@hooks.example.com/T0/secret?key=secret'}\n"
OWN = "stack: shop\nextends: base.yaml\nhosts:\n  db1: {address: 10.0.0.1, roles: [db]}\ndatabase: {name: shop}\n"


def shown(folder: Path, text: str = OWN, base: str = SHARED) -> list[str]:
    (folder / "base.yaml").write_text(base, encoding="utf-8")
    found = inventories.read(text, "hosts.yaml", folder)
    return [*view.as_yaml([*view.values(load.checked(found, folder, SHAPE), found)])]


def test_every_effective_value_is_shown_with_its_origin(tmp_path: Path) -> None:
    lines = [" ".join(line.split()) for line in shown(tmp_path)]
    assert "user: deploy # base.yaml:1" in lines
    assert "address: 10.0.0.1 # hosts.yaml:4" in lines
    assert "port: 22 # default" in lines


def test_secrets_in_urls_are_masked(tmp_path: Path) -> None:
    text = "\n".join(shown(tmp_path))
    assert "webhook: https://hooks.example.com/***" in text
    assert "secret@" not in text
    assert "key=" not in text


def test_the_output_is_an_inventory_of_the_same_stack(stack: Stack) -> None:
    found: Text = load.read_file(ROOT / "hosts.yaml", SHAPE)
    text = "\n".join(view.as_yaml([*view.values(stack, found)]))
    assert inventories.parse(text, "shown.yaml", stack.folder) == stack
