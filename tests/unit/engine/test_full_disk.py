"""A full or read-only disk: a failed transaction is undone, and reports if some of it could not be undone."""

from __future__ import annotations

import os

import pytest

from plainstack.engine.resources import Command, File, User
from plainstack.engine.transaction.result import AFTERWARDS, Answer
from tests.unit.engine.example_role import AFTER, BEFORE, app
from tests.unit.sandbox import Sandbox, build

pytestmark = [
    pytest.mark.programs,
    pytest.mark.skipif(os.geteuid() != 0, reason="changes owners and mount namespaces: needs root"),
]

# A shell script that moves the host to a small disk, leaves `free` KiB of it free, and then runs a command.
SMALL = """\
disk=$ROOT.disk
mkdir "$disk" && mount -t tmpfs -o size=4m none "$disk" && cp -a "$ROOT/." "$disk/"
# What systemd knows of units is in memory, and so is /run.
mount --bind "$ROOT/systemd" "$disk/systemd" && mount --bind "$ROOT/run" "$disk/run" && mount --rbind "$disk" "$ROOT"
mkdir -p "$ROOT/var/lib/plainstack/runs"
left=$(($(df --output=avail -k "$ROOT" | tail -n 1) - {free}))
dd if=/dev/zero of="$ROOT/bin/ballast" bs=1k count=$left 2>/dev/null
({command})
rm "$ROOT/bin/ballast"
cp -a "$ROOT/." "$ROOT.after/"
"""


def on_a_small_disk(host: Sandbox, free: int, command: str, stream: bytes) -> tuple[str, Sandbox]:
    """Run a script on a small disk; return its output, and the host as it is afterwards."""
    after = host.root.with_name(f"{host.root.name}.after")
    after.mkdir()
    host.write("bin/command", SMALL.format(free=free, command=command))
    _, text = host.sh('exec unshare --mount sh "$ROOT/bin/command"', stream, hold=True)
    return text, Sandbox(after)


def read(text: str) -> Answer:
    answer = Answer()
    for line in text.splitlines():
        answer.read(line)
    return answer


def test_a_full_disk_leaves_either_the_old_state_or_the_desired_state(deployed: Sandbox) -> None:
    """This holds even if no space is left for the undo."""
    assert deployed.deploy({"app": [*BEFORE["app"], File(path="/etc/app/large", content=b"y" * 60_000)]})[-1].ok
    wanted = {"app": [item for item in AFTER["app"] if not isinstance(item, User)]}
    wanted["app"].append(File(path="/etc/app/large", content=b"x" * 60_000))
    (work,) = deployed.plan(wanted).transactions
    before = deployed.tree("var/lib/plainstack/runs")
    failed = set()
    for free in range(120, 340, 16):
        host, script = deployed.copy(deployed.root.with_name(f"free-{free}")), build(work)
        text, after = on_a_small_disk(host, free, script.command, script.stream)
        answer = read(text)
        if answer.done:
            assert after.plan(wanted).empty
        else:
            assert after.tree("var/lib/plainstack/runs") == before, text
            failed.add((answer.outcome, answer.failed))
    # On the fullest disks, the script itself did not arrive.
    assert {("", ""), ("rolled-back", "write /etc/app/large")} <= failed


def test_failed_undo_steps_are_reported(deployed: Sandbox) -> None:
    """This happens after a disk error, when the kernel remounts the file system read-only."""
    broken = Command(name="break", why="w", run="mount -o remount,ro,bind $ROOT/etc/app; false", unless="false")
    script = build(deployed.plan(app("port = 2\n", *BEFORE["app"][-2:], broken)).transactions[0])
    deployed.write("command", f'mount --bind "$ROOT/etc/app" "$ROOT/etc/app"\n{script.command}\n')
    _, text = deployed.sh('exec unshare --mount sh "$ROOT/command"', script.stream, hold=True)
    answer = read(text)
    assert (answer.outcome, answer.failed) == ("half-undone", "run break: w")
    assert "some changes of this transaction could not be undone" in AFTERWARDS[answer.outcome]
    assert "Read-only file system" in "\n".join(answer.tail)
    assert '"half-undone"' in deployed.read("/var/log/plainstack/audit.jsonl").splitlines()[-1]
    assert deployed.deploy(BEFORE)[-1].ok
    assert deployed.plan(BEFORE).empty
    assert "port = 1" in deployed.read("systemd/loaded/app.service")


def test_a_disk_that_fills_up_halfway_leaves_the_host_as_it_was(deployed: Sandbox) -> None:
    """One file's folder is a separate disk that is too small for the file."""
    large = File(path="/etc/small/data", content=b"x" * 200_000)
    new = {"app": (File(path="/etc/app/app.conf", content=b"port = 2\n"), large)}
    (deployed.root / "etc/small").mkdir()
    before = deployed.tree()
    (work,) = deployed.plan(new).transactions
    script = build(work)
    deployed.write("command", f'mount -t tmpfs -o size=64k none "$ROOT/etc/small"\n{script.command}\n')
    _, text = deployed.sh('exec unshare --mount sh "$ROOT/command"', script.stream, hold=True)
    assert "@failed\trolled-back\t1\twrite /etc/small/data" in text
    assert "No space left on device" in text
    assert deployed.tree("command") == before
