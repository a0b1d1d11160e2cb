"""`plainstack init` makes a folder for a new stack and changes no file that was there before."""

from __future__ import annotations

from pathlib import Path

import pytest

from plainstack.cli import main as command
from plainstack.cli.init import init
from plainstack.errors import Refused
from plainstack.postgresql.settings import Database
from plainstack.shipped import ROOT
from tests import inventories


def test_a_new_stack_is_the_example_with_its_own_name(tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    init(folder)
    for name in ("hosts.yaml", "tasks.py", "fabfile.py"):
        assert (folder / name).read_text(encoding="utf-8") == (ROOT / name).read_text(encoding="utf-8")
    stack = inventories.load(folder / "hosts.yaml")
    assert stack.stack == "shop"
    assert stack.file(stack.services["web"].source).is_dir()


def test_the_stacks_name_may_differ_from_the_folders(tmp_path: Path) -> None:
    init(tmp_path / "My Stack", "my-shop")
    stack = inventories.load(tmp_path / "My Stack/hosts.yaml")
    assert stack.given(Database)
    assert (stack.stack, stack.settings(Database).name) == ("my-shop", "my_shop")


def test_other_files_in_the_folder_are_kept(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("mine", encoding="utf-8")
    init(tmp_path, "shop")
    assert (tmp_path / "notes").read_text(encoding="utf-8") == "mine"


def test_an_unset_variable_is_not_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="1"):
        command.main(["init", ""])
    assert "argument DIR: it is empty; for this folder, write ." in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["hosts.yaml", "tasks.py", "fabfile.py", ".gitignore", "README.md", "apps/incidents"])
def test_existing_files_are_not_overwritten(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).symlink_to("nowhere")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(Refused, match=f"{name} already exists; nothing was written"):
        init(tmp_path, "shop")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("Shop", "stack: must be lower case letters"),
        ("shop.example", "stack: must be lower case letters"),
        ("null", "stack: must be text"),
        ("5", "stack: must be text"),
        ("a" * 33, "stack: must be lower case letters"),
        ("x, y: z", ""),
        ("x\nhosts: {}", ""),
    ],
)
def test_an_invalid_stack_name_is_refused_before_anything_is_written(tmp_path: Path, name: str, reason: str) -> None:
    folder = tmp_path / "new"
    with pytest.raises(Refused, match=f"^{reason}(.|\n)*--name=NAME$"):
        init(folder, name)
    assert not folder.exists()


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "shop").touch()
    with pytest.raises(Refused, match="shop is not a folder"):
        init(tmp_path / "shop")


@pytest.mark.parametrize(
    ("words", "said"), [([], "COMMAND"), (["init"], "DIR"), (["inti", "x"], "inti"), (["-x"], "COMMAND")]
)
def test_a_usage_error_says_what_is_missing_and_exits_with_1(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(words)
    assert ended.value.code == 1
    assert said in capsys.readouterr().err


def test_the_error_names_a_folder_that_cannot_be_created(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit, match="file"):
        command.main(["init", str(tmp_path / "file/shop")])
