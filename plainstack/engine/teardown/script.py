"""A farewell -> the tar stream with its POSIX sh script."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

from plainstack.engine.teardown.farewell import Farewell
from plainstack.engine.transaction.script import Script, alone_on_the_host, finish

_FUNCTIONS = Path(__file__).with_name("farewell.sh")


def farewell(
    work: Farewell,
    run_id: str,
    audit: Mapping[str, object],
    probe: str = "",
    stop_after: int | None = None,
    planned_at: str | None = None,
) -> Script:
    """Return the script of the last transaction of a teardown; for the arguments, see `transaction`."""
    bundle = alone_on_the_host(planned_at)
    bundle.file("farewell.sh", _FUNCTIONS.read_text(encoding="utf-8"))
    bundle.lines.insert(0, '. "$RUN/farewell.sh"')
    bundle.step("begin", "begin")
    ours = " ".join([*work.purge, *work.remove])
    bundle.step("finish an interrupted dpkg", "finish_dpkg")
    for verb, names, shown in (("remove", work.remove, "uninstall"), ("purge", work.purge, "purge")):
        if names:
            count = f"{len(names)} package{'s' if len(names) != 1 else ''}"
            bundle.step(f"{shown} {count}", "remove_packages", verb, ours, *names)
    for one in work.paths:
        bundle.step(f"delete {one.path}", "delete_tree", one.path)
    bundle.step("restore what packages removed", "restore_originals")
    bundle.step("remove empty folders", "remove_folders", *work.folders)
    bundle.step("remove accounts", "remove_accounts")
    words = ["forget_host", "yes" if work.data else "no", *(one.path for one in work.stays)]
    return finish(bundle, run_id, audit, probe, stop_after, (shlex.join(words),))
