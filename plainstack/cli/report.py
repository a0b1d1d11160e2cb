"""Reports of plans and runs, as text and as JSON data: diffs, summary, failures, timeline."""

from __future__ import annotations

import base64
import io
import re
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from plainstack.deploy.schedule import PACKAGES, Outcome
from plainstack.engine.plan.actions import Action, HostPlan, Run, UnitAction
from plainstack.errors import HostFailed
from plainstack.secrets.values import Secret
from plainstack.wording import counted

MARK = {
    "new": "+",
    "changed": "~",
    "drift": "!",
    "owed": "~",
    "undeclared": "-",
    "interrupted": "~",
}
DONE = {"start": "started", "restart": "restarted", "reload": "reloaded", "stop": "stopped", "disable": "disabled"}
# Shorter lines of a secret, such as the last line of a key, are not masked: they occur in ordinary text.
MASKED_LENGTH = 8


def fetch_script(paths: Iterable[str]) -> str:
    """Return a script that prints files for diffs, as a tar archive in base64; it skips files that do not exist."""
    words = " ".join(shlex.quote(path) for path in paths)
    return f"tar -c -P -h --no-recursion --ignore-failed-read -f - -- {words} 2>/dev/null | base64 -w0\n"


def parse_fetched(text: str) -> dict[str, bytes]:
    """Parse the output of `fetch_script` into contents by path."""
    import tarfile

    contents = {}
    with tarfile.open(fileobj=io.BytesIO(base64.b64decode(text))) as archive:
        for member in archive:
            file = archive.extractfile(member)
            if file is not None:
                contents[member.name] = file.read()
    return contents


def changed_files(plan: HostPlan) -> list[str]:
    """Return the paths whose old content a diff of this plan needs; never those of secret files."""
    return [action.asks for _, action in plan.actions() if action.asks]


def describe(action: Action) -> str:
    """Describe an action in one line, with its reason."""
    detail = f"changed outside Plainstack: {action.detail}" if action.cause == "drift" else action.detail
    return f"{MARK[action.cause]} {action.subject()}" + (f"  ({detail})" if detail else "")


# How many of the files that a release leaves out are listed, and the folders in front of a name, which are not shown.
_NAMED = 12
_NAME_OF_PATH = re.compile(r"^.*/(?=[^/]+/?( \([^/]*\))?$)")


def plan_lines(
    plans: Mapping[str, HostPlan],
    old: Mapping[str, Mapping[str, bytes]],
    secrets: Iterable[Secret] = (),
    shortened: Collection[str] = (),
    *,
    verbose: bool = False,
) -> list[str]:
    """Return plans as lines of text, host by host; hosts in `shortened` are shown as counts by kind.

    With `verbose`, all files of a source that are not part of a release are listed, not only the first names.

    `secrets` are masked in diffs, because the old content of a file may contain one.
    """
    hidden = {part: secret for secret in secrets for part in secret.reveal().splitlines() if len(part) >= MASKED_LENGTH}
    lines: list[str] = []
    reported: set[tuple[str, ...]] = set()
    for name, plan in plans.items():
        if plan.empty:
            continue
        lines += ["", f"{name}"]
        if name in shortened:
            lines += _shortened([action for _, action in plan.actions()])
            continue
        packages = [action for role, action in plan.actions() if role == PACKAGES]
        lines += ["  packages", *(f"    {describe(action)}" for action in packages)] if packages else []
        for transaction in plan.transactions:
            lost = "  (no longer a role of this host)" if transaction.lost else ""
            lines.append(f"  {transaction.role}{'  (on all hosts first)' if transaction.ahead else ''}{lost}")
            for action in transaction.visible:
                lines.append(f"    {describe(action)}")
                lines += [f"        {_masked(line, hidden)}" for line in action.diff(old.get(name, {}))]
                stays = _stays(action)
                # Every host with this source has the same list, so it is shown once.
                lines += _left_out(stays, verbose=verbose) if stays and stays not in reported else []
                reported.add(stays)
        if plan.farewell:
            lines += ["  host", *(f"    {describe(action)}" for action in plan.farewell.actions())]
    if any(not plans[name].empty for name in shortened):
        lines += ["", "to see a first deploy in full: inv plan"]
    return lines


def _shortened(actions: Sequence[Action]) -> list[str]:
    """Return a host's first deploy as counts, followed by the actions that change something already there."""
    lines = [f"  first deploy: {', '.join(_counts(actions))}"]
    lines += [f"    {describe(action)}" for action in actions if action.cause != "new"]
    return lines


def _stays(action: Action) -> tuple[str, ...]:
    payload = action.command.payload if isinstance(action, Run) else None
    return payload.stays if payload else ()


def _left_out(stays: Sequence[str], *, verbose: bool) -> list[str]:
    """Return lines with the files that a release leaves out: each, or the first names with counts."""
    if verbose:
        return ["        not part of it:", *(f"            {path}" for path in stays)]
    by_name: dict[str, list[str]] = {}
    for path in stays:
        by_name.setdefault(_NAME_OF_PATH.sub("", path), []).append(path)
    names = sorted(paths[0] if len(paths) == 1 else f"{name} ({len(paths)})" for name, paths in by_name.items())
    more = [f"{counted(len(names) - _NAMED, 'other name')} (inv plan -v lists all)"] if len(names) > _NAMED else []
    return [f"        not part of it: {', '.join([*names[:_NAMED], *more])}"]


def _masked(line: str, hidden: Mapping[str, Secret]) -> str:
    for part, secret in hidden.items():
        line = line.replace(part, str(secret))
    return line


def as_data(plans: Mapping[str, HostPlan]) -> dict[str, Any]:
    """Return plans as JSON data, which contains no file content, and therefore no secrets."""
    return {
        name: [
            {
                "role": role,
                "action": action.word,
                "subject": action.subject(),
                "cause": action.cause,
                "detail": action.detail,
                **({"stays": stays} if (stays := _stays(action)) else {}),
            }
            for role, action in plan.actions()
        ]
        for name, plan in plans.items()
    }


def merged(passes: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the plans of several passes, as JSON data, merged into one."""
    hosts: dict[str, Any] = {}
    for plans in passes:
        for name, actions in plans.items():
            hosts[name] = [*hosts.get(name, []), *actions]
    return hosts


def timeline(outcomes: Sequence[Outcome], total: float) -> list[str]:
    """Return the duration of every stage, as bars on one time axis."""
    width = 40
    scale = width / max(total, 0.001)
    lines = []
    for outcome in outcomes:
        if outcome.skipped:
            continue
        begin, end = int(outcome.begin * scale), max(int(outcome.end * scale), int(outcome.begin * scale) + 1)
        bar = " " * begin + "█" * (end - begin)
        took = outcome.end - outcome.begin
        lines.append(f"  {outcome.node.host:<10} {outcome.node.stage:<11} {bar:<{width}} {took:6.1f} s")
    return lines


def failures(failed: Mapping[str, HostFailed], outcomes: Sequence[Outcome]) -> list[str]:
    """Return the failures and skipped stages of a run; each names its host."""
    lines = [str(error) for error in failed.values()]
    lines += _joined([outcome.error for outcome in outcomes if outcome.error])
    lines += [
        f"{outcome.node.host}: {outcome.node.stage}: not attempted: {outcome.skipped}"
        for outcome in outcomes
        if outcome.skipped
    ]
    return lines


def _joined(errors: Sequence[HostFailed]) -> list[str]:
    """Return the messages of errors; hosts on which the same step failed with the same output share one."""
    same: dict[tuple[object, ...], list[HostFailed]] = {}
    for error in errors:
        same.setdefault((error.step, error.reason, error.tail, error.code), []).append(error)
    lines = []
    for first, *others in same.values():
        hosts = " and ".join(error.host for error in (first, *others))
        lines.append(str(HostFailed(hosts, first.step, first.reason, first.tail, first.code)))
    return lines


def failed_hosts(failed: Mapping[str, HostFailed], outcomes: Sequence[Outcome]) -> dict[str, str]:
    """Return the failures of a run by host; a host that was left out because of another is not among them."""
    found = {name: str(error) for name, error in failed.items()}
    return found | {outcome.node.host: str(outcome.error) for outcome in outcomes if outcome.error}


def summary(plans: Mapping[str, HostPlan], outcomes: Sequence[Outcome]) -> list[str]:
    """Return what was changed on each host, as counts by kind."""
    done = {
        (outcome.node.host, outcome.node.stage) for outcome in outcomes if not outcome.error and not outcome.skipped
    }
    lines = []
    for name, plan in plans.items():
        actions = [action for stage, action in plan.by_stage() if (name, stage) in done]
        if not actions:
            continue
        parts = _counts(actions)
        parts += [
            f"{DONE[action.verb]} {action.unit.name}"
            for action in actions
            if isinstance(action, UnitAction) and action.verb not in ("enable", "unmask")
        ]
        lines.append(f"  {name:<10} {', '.join(parts) or 'its manifest entry'}")
    return lines


def _counts(actions: Sequence[Action]) -> list[str]:
    counts = dict.fromkeys(("package", "file", "removal", "account"), 0)
    for action in actions:
        if action.counted:
            counts[action.counted] = counts.get(action.counted, 0) + action.count
    # Commands come last.
    counts["command"] = counts.pop("command", 0)
    return [counted(count, kind) for kind, count in counts.items() if count]
