"""An editor is terminated together with the operator's command that has opened it."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from plainstack.secrets import editor
from plainstack.secrets.declaration import Generated, Given

pytestmark = pytest.mark.programs


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_the_editor_starts_ends_the_editor_too(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[Any]] = []

    class Popen(subprocess.Popen[Any]):
        """Sends the signal when the program already runs, but the caller has no process object yet."""

        def __init__(self, *words: Any, **options: Any) -> None:
            super().__init__(*words, **options)
            started.append(self)
            os.kill(os.getpid(), number)

    script = tmp_path / "editor"
    script.write_text("#!/bin/sh\nexec sleep 30\n", encoding="utf-8")
    script.chmod(0o755)
    monkeypatch.setenv("VISUAL", str(script))
    monkeypatch.setattr(subprocess, "Popen", Popen)
    with pytest.raises(SystemExit) as ended:
        editor.edit(
            "shop", {"web/API_TOKEN": "a-value-of-the-operator"}, {"web/API_TOKEN": Generated()}, lambda _: False
        )
    (process,) = started
    try:
        assert process.poll() is not None
    finally:
        process.kill()
        process.wait()
    assert ended.value.code == 128 + number
    assert list(editor.MEMORY.glob(f"plainstack-secrets-{os.getuid()}-{os.getpid()}-*")) == []


@given(st.text(min_size=1).filter(lambda text: "\0" not in text))
@example('"quoted"')
@example("two\nlines\r\n")
@example(" spaces ")
@example("null")
def test_any_value_survives_the_editor_unchanged(value: str) -> None:
    text = f"web/KEY: {editor._quoted(value)}\n"
    assert editor.parse(text, {}, {"web/KEY": Given()}) == {"web/KEY": value}
