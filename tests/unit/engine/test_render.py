"""Templates: errors are reported with their line, and a template that prints a secret makes a secret file."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from plainstack import shipped
from plainstack.engine import render
from plainstack.engine.resources import File
from plainstack.errors import InventoryError
from plainstack.inventory.stack import Stack
from plainstack.secrets.values import Secret
from tests.waiting import PATIENCE

SECRET = Secret("db", "correct horse")
Rendering = Callable[..., File]


@pytest.fixture
def rendered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rendering:
    """Return a function that renders a text as templates/app/etc/app.conf.j2."""
    templates = tmp_path / "templates"
    (templates / "app/etc").mkdir(parents=True)
    monkeypatch.setattr(shipped, "ROOT", tmp_path)

    def render_text(text: str, **values: Any) -> File:
        (templates / "app/etc/app.conf.j2").write_text(text, encoding="utf-8")
        return render.template("app", "/etc/app.conf", **values)

    return render_text


def problem(rendered: Rendering, text: str, **values: Any) -> str:
    with pytest.raises(InventoryError) as caught:
        rendered(text, **values)
    (reported,) = caught.value.problems
    return reported


def test_a_template_becomes_the_file_at_its_path(rendered: Rendering) -> None:
    file = rendered(
        "a = {{ a }}\n{% if a %}\nb\n{% endif %}\n\n", a=1, mode=0o640, owner="app", group="adm", early=True
    )
    assert file == File(
        path="/etc/app.conf", content=b"a = 1\nb\n\n", mode=0o640, owner="app", group="adm", secret=False, early=True
    )


def test_square_bracket_templates_keep_curly_brackets(rendered: Rendering) -> None:
    assert (
        rendered("{{ $labels.x }} [[ a ]] [% if a %]yes[% endif %]", a=1, square=True).content
        == b"{{ $labels.x }} 1 yes"
    )


@pytest.mark.parametrize(
    ("text", "reported"),
    [
        ("ok\n\nport = {{ prot }}\n", "templates/app/etc/app.conf.j2:3: 'prot' is undefined"),
        ("ok\n{% if prot %}{% endif %}\n", "templates/app/etc/app.conf.j2:2: 'prot' is undefined"),
        (
            "{{ host.adress }}\n",
            "templates/app/etc/app.conf.j2:1: 'plainstack.inventory.sections.Host object' has no attribute 'adress'",
        ),
        ("\n{{ host.public }}\n", "templates/app/etc/app.conf.j2:2: a printed value is None"),
        ("\n{{ 1 + 'a' }}\n", "templates/app/etc/app.conf.j2:2: unsupported operand type(s) for +: 'int' and 'str'"),
        ("\n{{ 1 // 0 }}\n", "templates/app/etc/app.conf.j2:2: integer division or modulo by zero"),
        ("\n\n{% include 'app/etc/inner.j2' %}\n", "templates/app/etc/inner.j2:2: 'nothing' is undefined"),
    ],
)
def test_an_expression_that_cannot_be_rendered_is_reported_with_its_line_and_host(
    rendered: Rendering, stack: Stack, text: str, reported: str
) -> None:
    (shipped.ROOT / "templates/app/etc/inner.j2").write_text("\n{{ nothing }}\n", encoding="utf-8")
    assert problem(rendered, text, host=stack.hosts["db1"]) == f"{reported} (host db1)"


def test_a_template_with_a_syntax_error_is_reported_with_its_line(rendered: Rendering) -> None:
    reported = problem(rendered, "a\n{% if a %}\n")
    assert reported.startswith("templates/app/etc/app.conf.j2:2: Unexpected end of template")


def test_the_error_names_a_missing_template_or_file() -> None:
    with pytest.raises(InventoryError, match=r"^templates/app/etc/none.j2: no such template$"):
        render.template("app", "/etc/none")
    with pytest.raises(InventoryError, match=r"^files/app/etc/none: no such file$"):
        render.verbatim("app", "/etc/none")


def test_a_verbatim_file_is_copied_byte_for_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipped, "ROOT", tmp_path)
    (tmp_path / "files/app/bin").mkdir(parents=True)
    (tmp_path / "files/app/bin/tool").write_bytes(b"{{ not a template }}\xff\r\n")
    assert render.verbatim("app", "/bin/tool", mode=0o755) == File(
        path="/bin/tool", content=b"{{ not a template }}\xff\r\n", mode=0o755
    )


def test_a_secret_in_a_template_makes_the_file_secret(rendered: Rendering) -> None:
    assert not rendered("{{ user }}", user="x", mode=0o600, secret=SECRET).secret
    file = rendered("password = {{ secret }}", secret=SECRET, mode=0o600)
    assert (file.content, file.secret) == (b"password = correct horse", True)
    assert not rendered("{{ user }}", user="x").secret, "the next file is judged by itself"


def test_nested_renderings_track_their_secrets_separately(rendered: Rendering) -> None:
    """A secret in one of two nested renderings makes only that file a secret."""
    inner = partial(rendered, secret=SECRET, mode=0o600)
    assert not rendered("{{ inner('{{ secret }}').secret }}", inner=inner).secret
    assert rendered("{{ secret }}{{ inner('x').secret }}", secret=SECRET, inner=inner, mode=0o600).secret


def test_renderings_in_several_threads_do_not_mix_their_secrets(rendered: Rendering) -> None:
    rendered("{{ meet() }}{% if secret %}{{ secret }}{% endif %}{{ meet() }}", meet=lambda: "", secret="")
    meet = threading.Barrier(2, timeout=PATIENCE)

    def one(secret: Secret | str) -> File:
        return render.template("app", "/etc/app.conf", meet=meet.wait, secret=secret, mode=0o600)

    with ThreadPoolExecutor(2) as pool:
        assert [file.secret for file in pool.map(one, [SECRET, ""])] == [True, False]


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o601, 0o666])
def test_a_secret_in_a_world_readable_file_is_refused(rendered: Rendering, mode: int) -> None:
    assert problem(rendered, "{{ secret }}", secret=SECRET, mode=mode) == (
        f"templates/app/etc/app.conf.j2: holds a secret and would have mode {mode:04o}, readable by every account"
    )


@pytest.mark.parametrize(
    "expression",
    [
        "secret | upper",
        "secret | urlencode",
        "secret | e",
        "secret | tojson",
        "secret | length",
        "secret | replace('<', '')",
        "[secret] | map('upper') | join",
        "[secret] | tojson",
        "[secret] | join(',')",
        "secret ~ '!'",
        "'%s' % secret",
        "secret + 'x'",
        "[secret]",
        "secret.reveal()",
        "secret._value",
    ],
)
def test_text_derived_from_a_secret_is_refused_and_not_shown(rendered: Rendering, expression: str) -> None:
    reported = problem(rendered, f"\n{{{{ {expression} }}}}", secret=SECRET, mode=0o600)
    assert reported.startswith("templates/app/etc/app.conf.j2:")
    assert "correct horse" not in reported
