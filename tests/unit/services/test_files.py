"""Files of the user's own: rendered with references, linked into releases, secret where they hold a secret."""

from __future__ import annotations

import ast
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from plainstack.engine.network import Network
from plainstack.engine.plan.actions import Run
from plainstack.engine.resources import Directory, File, Payload, Resource
from plainstack.errors import InventoryError
from plainstack.inventory import references
from plainstack.inventory.stack import Stack
from plainstack.roles import app, registry
from plainstack.secrets.values import Secret, Vault
from plainstack.services import files, hooks, release, release_check
from plainstack.services.release import Release
from plainstack.services.release_steps import put_in_place
from plainstack.services.variables import Scope
from tests import inventories
from tests.unit.sandbox import Sandbox, build

TEXT = """
stack: small
hosts: {{a: {{address: 10.0.0.2, roles: [app]}}, d: {{address: 10.0.0.3, roles: [db]}}}}
services:
  tool:
    kind: binary
    source: src
    secrets: {{KEY: {{}}}}
    processes: {{run: {{command: tool}}}}
    {keys}
database: {{name: shop}}
"""
CONF = 'NAME = "${service.name}"\nKEY = "${secret.KEY}"\nLITERAL = "$${x} $x $"\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "src" / "conf").mkdir(parents=True)
    (tmp_path / "src" / "tool").write_text("true\n")
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "conf.py").write_text(CONF)
    (tmp_path / "templates" / "plain").write_text("site=${site.name}\n")
    return tmp_path


BOTH = "files: {conf/configuration.py: templates/conf.py, .settings: templates/plain}"


def stack(folder: Path, keys: str = BOTH) -> Stack:
    return inventories.parse(TEXT.format(keys=keys), "test.yaml", folder)


def scope(found: Stack, key: str = "s3cret") -> Scope:
    vault = Vault({"tool/KEY": Secret("tool/KEY", key)}, {}, "")
    return Scope(found, found.hosts["a"], "tool", "r1", vault, Network(found, registry()).references())


def rendered(found: Stack) -> dict[str, File]:
    return {item.path: item for item in files.resources(scope(found), "app-tool") if isinstance(item, File)}


def test_references_are_replaced_and_what_only_looks_like_one_is_kept(folder: Path) -> None:
    made = rendered(stack(folder))
    conf = made["/etc/plainstack/app/tool/files/conf/configuration.py"]
    assert conf.content.decode() == 'NAME = "tool"\nKEY = "s3cret"\nLITERAL = "${x} $x $"\n'
    assert (conf.mode, conf.owner, conf.group) == (0o640, "root", "app-tool")
    assert conf.secret
    assert not made["/etc/plainstack/app/tool/files/.settings"].secret


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20))
@example('it\'s "quoted" \\ ${x} $$ \n\t #: 😀\u2028\x85\x7f')
@example("null")
def test_a_quoted_value_is_read_as_itself(value: str) -> None:
    def literal(quoting: str) -> str:
        return references.resolve(f"${{secret.KEY|{quoting}}}", lambda _: value)

    assert ast.literal_eval(literal("python")) == value
    assert json.loads(literal("json")) == value
    assert yaml.safe_load(f"key: {literal('yaml')}\n") == {"key": value}
    assert shlex.split(literal("shell")) == [value]
    assert "\n" not in literal("python") + literal("json") + literal("yaml")


def test_a_template_quotes_a_secret_for_its_language(folder: Path) -> None:
    (folder / "templates" / "conf.py").write_text("KEY = ${secret.KEY|python}\n")
    made = {item.path: item for item in files.resources(scope(stack(folder), "a'b\"c"), "g") if isinstance(item, File)}
    conf = made["/etc/plainstack/app/tool/files/conf/configuration.py"]
    assert (conf.content, conf.secret) == (b"KEY = 'a\\'b\"c'\n", True)


def test_an_unknown_quoting_is_reported_with_its_line_and_the_known_ones(folder: Path) -> None:
    (folder / "templates" / "plain").write_text("\n${site.name|pyhton}\n")
    with pytest.raises(
        InventoryError, match=r"templates/plain:2: .*\$\{site.name\|pyhton\} ends with a known quoting: .*\|python"
    ):
        stack(folder)


def test_a_release_that_is_built_has_the_new_content_and_the_running_one_the_old(folder: Path) -> None:
    ahead = {path for path, item in rendered(stack(folder)).items() if item.ahead}
    assert ahead == {f"/etc/plainstack/app/tool/files.next/{name}" for name in (".settings", "conf/configuration.py")}


def wanted(found: Stack, number: str, key: str = "s3cret") -> Mapping[str, Sequence[Resource]]:
    at = scope(found, key)
    here = Release(id=number, venv="", source=Payload(), wheels=Payload())
    settings = [
        File(path=f"/etc/plainstack/app/tool{name}.env", content=b"A=1\n", ahead=name == ".next")
        for name in ("", ".next")
    ]
    folders = [Directory(path=path) for path in ("/srv/tool", "/srv/tool/releases", "/etc/plainstack/app/tool")]
    steps = put_in_place("tool", here, found.services["tool"], hooks.build_lines(at))
    return {"app": [*folders, *settings, *files.resources(at, "root"), *steps]}


@pytest.mark.programs
def test_every_release_reads_the_file_at_its_place_and_the_build_reads_the_new_one(
    tmp_path: Path, folder: Path
) -> None:
    host = Sandbox.new(tmp_path / "host")
    found = stack(folder, f"{BOTH}\n    build: {{host: [cp conf/configuration.py seen]}}")
    for number, key in (("r1", "first"), ("r2", "second"), ("r2", "third")):
        for work in host.plan(wanted(found, number, key)).transactions:
            sent = [("source/tool", b"true")] if any(isinstance(action, Run) for action in work.actions) else []
            done = host.run(build(work, {"tool: release": sent}))
            assert done.ok, done.text
        assert host.plan(wanted(found, number, key)).empty
        assert f'KEY = "{key}"' in host.read("/srv/tool/current/source/conf/configuration.py")
    assert 'KEY = "first"' in host.read("/srv/tool/releases/r1/source/seen")
    assert 'KEY = "second"' in host.read("/srv/tool/releases/r2/source/seen")


def test_only_the_place_of_a_file_is_part_of_the_release(folder: Path) -> None:
    before = release.read(stack(folder), "tool").id
    (folder / "templates" / "conf.py").write_text("other\n")
    assert release.read(stack(folder), "tool").id == before
    assert release.read(stack(folder, BOTH.replace(".settings", ".other")), "tool").id != before
    assert release.read(stack(folder, ""), "tool").id != before


def test_processes_restart_when_a_file_changes(folder: Path) -> None:
    found = stack(folder)
    vault = Vault({"tool/KEY": Secret("tool/KEY", "k"), "postgres/app": Secret("postgres/app", "p")}, {}, "")
    items = list(app.ROLE.desired(found, found.hosts["a"], vault, Network(found, registry())))
    (unit,) = [item for item in items if getattr(item, "name", "") == "plainstack-tool-run.service"]
    assert "/etc/plainstack/app/tool/files/conf/configuration.py" in unit.restart_on  # type: ignore[attr-defined]  # a Unit


def test_a_password_of_another_role_reaches_a_file(folder: Path) -> None:
    (folder / "templates" / "conf.py").write_text("${database.password}")
    found = stack(folder)
    assert "database.password" in set(files.referred(found, found.services["tool"]))


@pytest.mark.parametrize(
    ("keys", "template", "reported"),
    [
        (
            "files: {conf.py: templates/none}",
            "",
            "services.tool.files.'conf.py': templates/none: no such file",
        ),
        ("files: {conf.py: templates}", "", "templates: is not a regular file"),
        ("files: {../conf.py: t}", "x", "must be a path inside the source without '..'"),
        ("files: {/etc/passwd: t}", "x", "must be a path inside the source without '..'"),
        ("files: {a/./b: t}", "x", "must be a path inside the source without '..'"),
        ("files: {'a b': t}", "x", "must be a path inside the source without '..'"),
        ("files: {a: 3}", "x", "services.tool.files.a: must be a path"),
        ("files: [t]", "x", "services.tool.files: must be a mapping"),
        (
            "files: {a: t}",
            "one\n${databse.url}\n",
            "t:2: unknown reference ${databse.url}, did you mean 'database.url'",
        ),
        (
            "files: {a: t}",
            "\n\nx ${HOME}\n",
            "files.a: t:3: must be text whose references are of the form ${database.url}",
        ),
        ("files: {a: t}", "${secret.OTHER}", "t:1: unknown reference ${secret.OTHER}"),
        ("files: {a: t}", "${port}", "t:1: unknown reference ${port}"),
        ("files: {a: t, a/b: t}", "x", "a/b and a of services.tool.files.a cannot both be there"),
        ("files: {media/x: t}\n    writable: [media]", "x", "media/x and media of services.tool.writable cannot both"),
        ("files: {media: t}\n    writable: [media]", "x", "media and media of services.tool.writable cannot both"),
        ("files: {var: t}\n    writable: [var/media]", "x", "var and var/media of services.tool.writable cannot both"),
    ],
)
def test_every_mistake_is_reported_with_its_place(folder: Path, keys: str, template: str, reported: str) -> None:
    (folder / "t").write_text(template)
    with pytest.raises(InventoryError) as error:
        stack(folder, keys)
    assert reported in str(error.value)
    assert str(error.value).startswith("test.yaml:10: services.tool.files")


@pytest.mark.parametrize("content", [b"\xff", b"x" * ((1 << 20) + 1)])
def test_a_template_that_is_no_text_is_reported(folder: Path, content: bytes) -> None:
    (folder / "t").write_bytes(content)
    with pytest.raises(InventoryError, match=r"t: is (not UTF-8 text|larger than 1024 KiB)"):
        stack(folder, "files: {a: t}")


@pytest.mark.parametrize(("target", "there"), [("tool", "tool"), ("tool/x", "tool"), ("data", "data/file")])
def test_a_file_that_the_source_has_too_is_refused(folder: Path, target: str, there: str) -> None:
    (folder / "src" / "data").mkdir()
    (folder / "src" / "data" / "file").touch()
    (problem,) = release_check.problems(stack(folder, f"files: {{{target}: templates/plain}}"))
    assert problem.startswith(f"services.tool.files.{target}: the source contains {there}, and neither replaces")


def test_a_template_of_a_base_inventory_is_found_beside_it(folder: Path) -> None:
    (folder / "shop").mkdir()
    (folder / "base.yaml").write_text(TEXT.format(keys=BOTH))
    (folder / "shop" / "hosts.yaml").write_text("extends: ../base.yaml\n")
    found = inventories.load(folder / "shop" / "hosts.yaml")
    assert found.file(found.services["tool"].files["conf/configuration.py"]).read_text() == CONF


@given(st.text(max_size=40) | st.from_regex(r"[a./_-]{1,12}", fullmatch=True))
def test_no_path_leads_out_of_the_source(target: str) -> None:
    from plainstack.inventory.service_values import _target

    try:
        _target(target)
    except ValueError:
        return
    assert not set(target.split("/")) & {"", ".", ".."}
    assert re.fullmatch(r"[A-Za-z0-9._/-]+", target)
