"""The command lines of hooks: how mistakes in them are reported, and how sh reads them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plainstack.errors import InventoryError
from plainstack.services.hooks import shell_line
from tests.unit.services.hooked import stack

pytestmark = pytest.mark.programs


@pytest.mark.parametrize(
    ("keys", "reported"),
    [
        ("before: [migrate]", "services.tool.before: must be a mapping"),
        ("before: {a: {}}", "services.tool.before.a.command: is missing"),
        ("before: {a: {command: ''}}", "services.tool.before.a.command: must be a command on one line"),
        ("before: {a: {command: x && y}}", "systemd runs it without a shell"),
        ("before: {a: {comand: x}}", "unknown key, did you mean 'command'"),
        ("before: {a: {command: x, once: maybe}}", "services.tool.before.a.once: must be"),
        ("before: {a: {command: x, timeout: 0}}", "services.tool.before.a.timeout: must be at least 1"),
        ("before: {'a b': {command: x}}", "services.tool.before"),
        ("after: {a: {command: 'x ${databse.url}'}}", "unknown reference ${databse.url}, did you mean 'database.url'"),
        ("after: {a: {command: 'x ${secret.KEY}'}}", "${secret.KEY} on a command line could be read by every account"),
        ("after: {a: {command: 'x ${port}'}}", "unknown reference ${port}"),
        ("timers: {a: {command: 'x ${port}', calendar: daily}}", "unknown reference ${port}"),
        ("build: npm run build", "services.tool.build: must be a mapping with local, output, host, timeout"),
        ("build: {host: make}", "services.tool.build.host: must be a list"),
        ("build: {host: ['${secret.KEY}']}", "services.tool.build.host.0: ${secret.KEY} on a command line"),
        ("build: {local: ''}", "services.tool.build.local: must be a command on one line"),
        ("build: {local: make, output: [../dist]}", "services.tool.build.output.0: must be a path inside the source"),
        ("build: {output: [dist]}", "services.tool.build.output: needs services.tool.build.local"),
    ],
)
def test_every_mistake_is_reported_with_its_place(tmp_path: Path, keys: str, reported: str) -> None:
    with pytest.raises(InventoryError) as error:
        stack(f"    {keys}\n", tmp_path)
    assert reported in str(error.value)
    assert str(error.value).startswith("test.yaml:13: ")


WORDS = st.text(st.characters(exclude_characters="\0\n\r", exclude_categories=["Cs"]), max_size=12)


@given(st.lists(WORDS.map(lambda word: word.replace("$", "$$")), min_size=1, max_size=4))
def test_sh_receives_every_word_as_written(words: list[str]) -> None:
    quoted = " ".join("'" + word.replace("'", "'\"'\"'") + "'" for word in words)
    line = shell_line(f"printf '%%s\\n' {quoted}".replace("%%", "%"))
    printed = subprocess.run(["/bin/sh", "-c", line], capture_output=True, check=True, text=True).stdout
    assert printed == "".join(f"{word.replace('$$', '$')}\n" for word in words)


def test_variables_are_replaced_as_systemd_does() -> None:
    line = shell_line("printf '[%s]' $TWO a${TWO} '$TWO' $$TWO *")
    ran = subprocess.run(["/bin/sh", "-c", line], capture_output=True, check=True, text=True, env={"TWO": "b c"})
    assert ran.stdout == "[b][c][ab c][b][c][$TWO][*]"
    assert shell_line("manage.py migrate").startswith('set -f; exec "python" "manage.py"')
