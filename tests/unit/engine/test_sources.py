"""A stack's own templates, files and checks replace the shipped ones, and a plan names each replacement."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from plainstack import shipped
from plainstack.cli import deploy_commands
from plainstack.deploy import conclusions, verify
from plainstack.deploy.check_result import CheckResult
from plainstack.deploy.observe import Observer, View
from plainstack.deploy.verify import Verifier
from plainstack.engine import desired
from plainstack.engine.resources import File
from plainstack.engine.role import Role
from plainstack.engine.sources import Sources
from plainstack.errors import InventoryError
from plainstack.inventory.stack import Stack
from plainstack.secrets.values import Vault
from plainstack.ssh.session import Output

HOSTS = "templates/base/etc/hosts.j2"
JOURNAL = "files/base/etc/systemd/journald.conf.d/10-plainstack.conf"
CHECK = "checks/test_firewall.py"


@pytest.fixture
def shop(tmp_path: Path, stack: Stack) -> Stack:
    """Return the default stack, with its inventory in a folder of its own."""
    return stack.model_copy(update={"folder": tmp_path})


def write(stack: Stack, name: str, text: str) -> Path:
    path = stack.folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def files(stack: Stack, vault: Vault, registry: Mapping[str, Role], host: str = "db1") -> dict[str, File]:
    wanted = desired.assemble(stack, vault, registry, [host])[host]
    return {item.path: item for items in wanted.values() for item in items if isinstance(item, File)}


def test_a_template_and_a_file_of_the_stack_replace_only_the_shipped_ones_with_their_name(
    shop: Stack, vault: Vault, registry: Mapping[str, Role]
) -> None:
    before = files(shop.model_copy(update={"folder": shipped.ROOT}), vault, registry)
    write(shop, HOSTS, "127.0.0.1 {{ host.name }}\n")
    write(shop, JOURNAL, "[Journal]\nStorage=none\n")
    after = files(shop, vault, registry)
    assert {path: file.content for path, file in after.items() if file != before[path]} == {
        "/etc/hosts": b"127.0.0.1 db1\n",
        "/etc/systemd/journald.conf.d/10-plainstack.conf": b"[Journal]\nStorage=none\n",
    }


def test_an_error_names_the_file_of_the_stack_with_its_line(
    shop: Stack, vault: Vault, registry: Mapping[str, Role], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = write(shop, HOSTS, "\n{{ nothing }}\n")
    for here, shown in ((shipped.ROOT, str(place)), (shop.folder.parent, f"{shop.folder.name}/{HOSTS}")):
        monkeypatch.chdir(here)
        with pytest.raises(InventoryError) as caught:
            files(shop, vault, registry)
        assert list(caught.value.problems) == [f"{shown}:2: 'nothing' is undefined (host db1)"]
    write(shop, HOSTS, "\n{% if %}\n")
    with pytest.raises(InventoryError, match=rf"{shop.folder.name}/{HOSTS}:2: Expected an expression"):
        files(shop, vault, registry)


def test_an_error_in_a_shipped_template_names_the_shipped_file(
    shop: Stack, vault: Vault, registry: Mapping[str, Role], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = tmp_path / "shipped"
    (ours / HOSTS).parent.mkdir(parents=True)
    (ours / HOSTS).write_text("{{ nothing }}", encoding="utf-8")
    monkeypatch.setattr(shipped, "ROOT", ours)
    with pytest.raises(InventoryError) as caught:
        files(shop, vault, registry)
    assert f"{HOSTS}:1: 'nothing' is undefined (host db1)" in caught.value.problems


def checked(stack: Stack, vault: Vault, registry: Mapping[str, Role]) -> list[CheckResult]:
    class Session:
        def script(self, *_: object, **__: object) -> Output:
            return Output(0, "", "")

    class Sessions:
        def to(self, _name: str) -> Any:
            return Session()

    sessions: Any = Sessions()
    verifier = Verifier(stack, vault, sessions, registry, ("base", "firewall"), ["db1"])
    verify.run(verifier)
    return verifier.results


def test_a_check_of_the_stack_replaces_the_shipped_one_with_its_name_and_other_checks_are_added(
    shop: Stack, vault: Vault, registry: Mapping[str, Role], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = shop.folder / "shipped"
    for role in ("base", "firewall"):
        path = ours / f"checks/test_{role}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("def test_shipped(): pass\n", encoding="utf-8")
    monkeypatch.setattr(shipped, "ROOT", ours)
    write(shop, CHECK, "def test_replaced(): assert False, 'ours'\n")
    write(shop, "checks/test_more.py", 'import words\nROLE = "base"\ndef test_added(said): assert said == words.SAID\n')
    write(shop, "checks/words.py", "SAID = 'x'\n")
    write(shop, "checks/conftest.py", "import pytest\n@pytest.fixture\ndef said(): return 'x'\n")
    # An application may lie in the same folder; its tests are not checks.
    write(shop, "checks/tests/test_models.py", "import nothing_like_it\n")
    write(shop, "conftest.py", "import nothing_like_it\n")
    results = checked(shop, vault, registry)
    assert {(one.role, one.promise, one.passed) for one in results} == {
        ("base", "shipped", True),
        ("firewall", "replaced", False),
        ("base", "added", True),
    }


def test_an_error_in_a_check_names_the_file_of_the_stack(
    shop: Stack, vault: Vault, registry: Mapping[str, Role], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipped, "ROOT", shop.folder / "shipped")
    write(shop, CHECK, "def test_replaced(nothing): pass\n")
    (bad,) = checked(shop, vault, registry)
    assert bad.why == f"{shop.folder}/{CHECK}:1: there is no fixture 'nothing'"


def test_overrides_are_the_shipped_files_of_these_roles_that_the_folder_replaces(shop: Stack) -> None:
    for name in (HOSTS, JOURNAL, CHECK, "templates/base/etc/of_our_own.j2", "templates/db/usr/x.j2", "templates/index"):
        write(shop, name, "x")
    write(shop, "templates/app/etc/systemd/system/plainstack-service.service.j2", "x")
    overrides = Sources.of(shop.folder).overrides(("base", "firewall"))
    assert overrides == {name: str(shop.folder / name) for name in (CHECK, JOURNAL, HOSTS)}


def test_the_folder_of_the_shipped_files_overrides_nothing(registry: Mapping[str, Role]) -> None:
    for folder in (shipped.ROOT, Path(os.path.relpath(shipped.ROOT))):
        assert Sources.of(folder).overrides(registry) == {}


def test_a_plan_marks_each_override(
    shop: Stack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(shop, HOSTS, "x")
    write(shop, CHECK, "x")
    monkeypatch.chdir(shop.folder.parent)
    monkeypatch.setattr(deploy_commands, "load", lambda _: shop)
    monkeypatch.setattr(Observer, "observe", lambda self, *_, **__: View(self.stack))
    monkeypatch.setattr(conclusions, "refusals", lambda *_: [])
    monkeypatch.setattr(desired, "check", lambda *_: None)
    deploy_commands.plan(str(shop.folder / "hosts.yaml"), "", "", json=False)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("override: ")]
    folder = shop.folder.name
    assert lines == [f"override: {CHECK} from {folder}/{CHECK}", f"override: {HOSTS} from {folder}/{HOSTS}"]
    deploy_commands.plan(str(shop.folder / "hosts.yaml"), "", "", json=True)
    assert f'"{HOSTS}": "{folder}/{HOSTS}"' in capsys.readouterr().out
