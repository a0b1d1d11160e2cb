"""`extends`: several inventories share parts, and every error names the file that its line is in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from plainstack.errors import InventoryError
from plainstack.inventory.extends import MAX_FILES
from plainstack.inventory.services import DjangoService
from plainstack.inventory.stack import Stack
from plainstack.postgresql.settings import Database
from tests import inventories

BASE = """\
ssh: {user: deploy, allow_from: [10.0.0.0/8, 192.0.2.0/24]}
services:
  web: {source: ., project: site, workers: 8}
database:
  name: shop
  max_connections: 300
"""
PRODUCTION = """\
stack: production
extends: base.yaml
hosts:
  app1: {address: 10.0.0.2, roles: [app]}
  db1: {address: 10.0.0.3, roles: [db]}
"""


def load_in(folder: Path, text: str = PRODUCTION, **files: str) -> Stack:
    for name, content in {"base": BASE, **files}.items():
        path = folder / f"{name}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return inventories.parse(text, "my.yaml", folder)


def problems(folder: Path, text: str = PRODUCTION, **files: str) -> list[str]:
    with pytest.raises(InventoryError) as caught:
        load_in(folder, text, **files)
    return list(caught.value.problems)


def test_mappings_merge_while_lists_and_values_replace(tmp_path: Path) -> None:
    stack = load_in(tmp_path, f"{PRODUCTION}services: {{web: {{workers: 2}}}}\nssh: {{allow_from: [10.1.0.0/16]}}\n")
    assert (stack.ssh.user, [str(network) for network in stack.ssh.allow_from]) == ("deploy", ["10.1.0.0/16"])
    web = stack.services["web"]
    assert isinstance(web, DjangoService)
    assert (web.workers, web.project) == (2, "site")
    assert stack.given(Database)
    assert (stack.settings(Database).name, stack.settings(Database).max_connections) == ("shop", 300)


def test_null_removes_a_key(tmp_path: Path) -> None:
    stack = load_in(tmp_path, f"{PRODUCTION}ssh:\ndatabase: {{max_connections: null}}\n")
    assert stack.ssh == Stack.model_fields["ssh"].default
    assert stack.given(Database)
    assert stack.settings(Database).max_connections == 100


def test_null_for_a_key_that_no_base_has_is_an_error(tmp_path: Path) -> None:
    assert problems(tmp_path, f"{PRODUCTION}backup:\n") == [
        "my.yaml:6: backup: must be a mapping with retention, full, incremental, restore_test, max_age_hours,"
        " second_copy (given: nothing)"
    ]


def test_two_inventories_share_one_base(tmp_path: Path) -> None:
    production, staging = load_in(tmp_path), load_in(tmp_path, PRODUCTION.replace("production", "staging"))
    assert production.model_copy(update={"stack": "staging"}) == staging


def test_a_base_may_extend_another_one(tmp_path: Path) -> None:
    stack = load_in(tmp_path, base=f"extends: all.yaml\n{BASE}", all="ssh: {user: root, port: 2222}\n")
    assert (stack.ssh.user, stack.ssh.port) == ("deploy", 2222)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("max_connections", "max_conections", "base.yaml:6: database.max_conections: unknown key, did you mean"),
        ("workers: 8", "workers: 800", "base.yaml:3: services.web.workers: must be at most 64 (given: 800)"),
        ("  name: shop\n", "", "base.yaml:4: database.name: is missing"),
        ("workers: 8", "workers: 08", "base.yaml:3: services.web.workers: "),
        ("  name: shop", "  name: shop\n  name: shop", "base.yaml:6: database.name: given twice, first on line 5"),
        ("database:\n", "database: [\n", "base.yaml:6: not valid YAML: "),
        (BASE, "[1, 2]\n", "base.yaml:1: an inventory is a mapping; my.yaml:2 extends it"),
        (BASE, "", "base.yaml:1: an inventory is a mapping; my.yaml:2 extends it"),
        (BASE, "extends: base.yaml\n", "base.yaml:1: extends: base.yaml extends this file, so they form a loop"),
        (BASE, "extends: my.yaml\n", "base.yaml:1: extends: my.yaml extends this file, so they form a loop"),
        (BASE, "extends: none.yaml\n", "base.yaml:1: extends: there is no file none.yaml"),
    ],
)
def test_an_error_in_a_base_names_its_file_and_line(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert old in BASE
    first, *_ = problems(tmp_path, base=BASE.replace(old, new))
    assert first.startswith(expected)


def test_an_error_in_merged_data_names_the_file_that_last_set_the_value(tmp_path: Path) -> None:
    text = f"{PRODUCTION}services:\n  web: {{workers: many}}\n"
    assert problems(tmp_path, text) == [
        "my.yaml:7: services.web.workers: must be a whole number (given: 'many')",
    ]
    assert problems(tmp_path, f"{PRODUCTION}  db2: {{address: 10.0.0.3, roles: [db]}}\n") == [
        "my.yaml:6: hosts.db2.address: 10.0.0.3 is already the address of db1"
    ]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("none.yaml", "there is no file none.yaml"),
        ("./x/../none.yaml", "there is no file none.yaml"),
        (".", ". is not a regular file"),
        ("5", "must be the path of another inventory (given: 5)"),
        ("[base.yaml]", "must be the path of another inventory (given: ['base.yaml'])"),
        ("''", "must be the path of another inventory (given: '')"),
        ("null", "must be the path of another inventory (given: nothing)"),
        ("my.yaml", "my.yaml extends this file, so they form a loop"),
        ("base.yaml/x", "base.yaml/x: Not a directory"),
        ("a" * 300, "File name too long"),
        ('"\\0"', "must be the path"),
    ],
)
def test_a_base_that_cannot_be_read_is_reported_with_the_line_that_names_it(
    tmp_path: Path, value: str, expected: str
) -> None:
    (found,) = problems(tmp_path, PRODUCTION.replace("base.yaml", value))
    assert found.startswith("my.yaml:2: extends: ")
    assert expected in found


def test_an_endless_chain_of_bases_is_refused(tmp_path: Path) -> None:
    files = {f"b{number}": f"extends: b{number + 1}.yaml\n" for number in range(MAX_FILES + 1)}
    (found,) = problems(tmp_path, PRODUCTION.replace("base.yaml", "b0.yaml"), **files)
    assert found == f"b{MAX_FILES - 2}.yaml:1: extends: more than {MAX_FILES} files in one chain"


def test_relative_paths_start_from_the_file_that_contains_them(tmp_path: Path) -> None:
    (tmp_path / "shared/app").mkdir(parents=True)
    text = PRODUCTION.replace("base.yaml", "shared/base.yaml")
    stack = load_in(tmp_path, text, **{"shared/base": BASE.replace("source: .", "source: app")})
    assert stack.file(stack.services["web"].source).resolve() == (tmp_path / "shared/app").resolve()
    first, *_ = problems(tmp_path, text, **{"shared/base": BASE.replace("workers", "workerz")})
    assert first.startswith("shared/base.yaml:3: services.web.workerz")


KEYS = st.sampled_from(["a", "b", "c"])
VALUES = st.recursive(
    st.one_of(st.none(), st.integers(0, 9), st.lists(st.integers(0, 9), max_size=2)),
    lambda below: st.dictionaries(KEYS, below, max_size=3),
    max_leaves=8,
)


def merge(over: Any, base: Any) -> Any:
    """Merge two values by the rule of `extends`, in its shortest form."""
    if not (isinstance(over, dict) and isinstance(base, dict)):
        return over
    kept = {key: value for key, value in base.items() if key not in over}
    return kept | {
        key: merge(value, base.get(key)) for key, value in over.items() if value is not None or key not in base
    }


@given(over=st.dictionaries(KEYS, VALUES, max_size=3), base=st.dictionaries(KEYS, VALUES, max_size=3))
def test_any_two_files_merge_by_the_rules_and_every_value_has_a_known_place(
    tmp_path_factory: pytest.TempPathFactory, over: dict[str, Any], base: dict[str, Any]
) -> None:
    folder = tmp_path_factory.mktemp("stack")
    (folder / "base.yaml").write_text(yaml.safe_dump(base), encoding="utf-8")
    found = inventories.read(yaml.safe_dump(over | {"extends": "base.yaml"}), "my.yaml", folder)
    assert found.data == merge(over, base)

    def every(data: Any, own: Any, loc: tuple[str | int, ...]) -> None:
        for key, value in data.items():
            said = own if isinstance(own, dict) else {}
            file = "my.yaml" if key in said else "base.yaml"
            assert found.place((*loc, key)).startswith(file)
            if isinstance(value, dict):
                every(value, said.get(key), (*loc, key))

    every(found.data, over, ())
