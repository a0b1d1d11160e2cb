"""The labs of the tests: their names, the folders of their inventories, and the snapshot that they start from.

The names of labs and snapshot begin with PLAINSTACK_TEST_LAB, or else with a hash of this clone's path, so that the
tests of two clones use different labs. PLAINSTACK_KEEP_LAB=1 leaves a module's lab up for inspection.
PLAINSTACK_SNAPSHOT=new deploys bare hosts once per run, even if an earlier run left a snapshot.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from plainstack.cli import lab_commands
from plainstack.lab import cgroup, image, keep, machine, mirror, model, up
from plainstack.lab import snapshot as snapshots
from plainstack.lab.of_inventory import of
from plainstack.ssh.netns import LabError
from plainstack.wording import duration
from tests import installed, inventories
from tests.lab import connections
from tests.lab.operator import ROOT, Operator
from tests.lab.spent import SPENT
from tests.lab.spent import hosts as hosts_cpu
from tests.lab.whole import await_site

KEEP = bool(os.environ.get("PLAINSTACK_KEEP_LAB"))
NEW = os.environ.get("PLAINSTACK_SNAPSHOT") == "new"
NAME = os.environ.get("PLAINSTACK_TEST_LAB") or f"t{hashlib.sha256(str(ROOT).encode()).hexdigest()[:6]}"
FOLDER = Path(f"/var/tmp/plainstack-{NAME}")
STACK = "testlab"
# Every lab has a network namespace of its own, so all of them have the same addresses.
NETWORKS = ("192.168.59", "192.168.60")
BALANCERS, APPS = ("lb1", "lb2"), ("app1", "app2")
# Backups and restore tests are made when a test asks for them: one that began in the middle of a test, because the run
# happens to go on past two o'clock, would be another that the test does not know of. The backup of a snapshot that an
# earlier run has left is never too old.
UNSCHEDULED = 'full: "*-02-29 02:00", incremental: "*-02-29 02:30", restore_test: "*-02-29 03:00", max_age_hours: 9999'
# For the same reason, hosts do not look for updates in the morning and in the evening: apt would be locked meanwhile,
# and services could restart. Their timers run, as a check demands.
NO_UPDATES = """
for timer in apt-daily.timer apt-daily-upgrade.timer; do
    mkdir -p /etc/systemd/system/$timer.d
    printf '[Timer]\\nOnCalendar=\\nOnCalendar=*-02-29 06:00\\n' >/etc/systemd/system/$timer.d/lab.conf
done
systemctl daemon-reload
systemctl restart apt-daily.timer apt-daily-upgrade.timer
"""
# Half of what an idle stack uses of the processors goes to the scrapes, which the other labs of the run need more.
SCRAPES = "monitoring: {scrape_interval: 30}\n"
# Bare hosts of most modules already have these packages, none of which contains a service: roles install and configure
# the rest. Unpacking them takes half the time of a deploy. The hosts of the snapshot and of test_one_host have none.
PACKAGES = (
    "ca-certificates",
    "curl",
    "iproute2",
    "iptables",
    "libglib2.0-0t64",
    "libllvm19",
    "locales",
    "openssl",
    "perl",
    "postgresql-client-17",
    "python3-apt",
    "python3-dbus",
    "python3-distro-info",
    "python3-pip-whl",
    "ssl-cert",
    "xz-utils",
)
# Identifies one run of pytest, with all its workers.
RUN = os.environ.get("PYTEST_XDIST_TESTRUNUID") or f"{os.getpid()} {time.time()}"


def default_inventory() -> str:
    """Return the default inventory with another name, other networks, and a user who needs sudo: the harder case.

    Logins as root are covered by modules with an inventory of their own, and by demos.
    """
    text = (ROOT / "hosts.yaml").read_text(encoding="utf-8")
    text = text.replace("stack: shop", f"stack: {STACK}", 1).replace("user: root", "user: ops", 1)
    text = text.replace("192.168.57.", f"{NETWORKS[0]}.").replace("192.168.3.", f"{NETWORKS[1]}.")
    text = re.sub(r", full: .*, incremental: .*}", f", {UNSCHEDULED}}}", text, count=1)
    text = text.replace("\nlab:\n", f"\n{SCRAPES}lab:\n")
    return text.replace("apps/incidents", str(ROOT / "apps/incidents"))


@contextmanager
def lab(
    what: str, text: str, project: Path, hosts: tuple[str, ...] = (), packages: tuple[str, ...] = ()
) -> Iterator[Operator]:
    """Yield the operator of a lab with this inventory. The lab is not started yet; it is removed afterwards.

    No other test uses the lab at the same time. New hosts already have the Debian packages `packages`.
    """
    name = f"{NAME}-{what}"[:30].rstrip("-")
    stack = text.partition("stack:")[2].split(None, 1)[0]
    text = (
        text.replace("\nlab:\n", f"\nlab:\n  name: {name}\n  packages: [{', '.join(packages)}]\n")
        if "\nlab:\n" in text
        else f"{text}lab: {{name: {name}, packages: [{', '.join(packages)}]}}\n"
    )
    folder = FOLDER / name
    operator = Operator(folder / "hosts.yaml", stack, project, name, hosts)

    def begin() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        operator.inventory.write_text(text, encoding="utf-8")

    FOLDER.mkdir(exist_ok=True)
    with _lock(name) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        begin()
        if name in model.labs(cgroup.tree()):
            # A killed run has left the lab up.
            operator.inv("lab.down")
            begin()
        try:
            yield operator
        finally:
            SPENT.labs += hosts_cpu(name)
            if not KEEP:
                # The tests may have left another inventory.
                operator.inventory.write_text(text, encoding="utf-8")
                operator.inv("lab.down")
                shutil.rmtree(folder)
                shutil.rmtree(connections.SOCKETS / name, ignore_errors=True)


@contextmanager
def from_snapshot(what: str, text: str, project: Path, hosts: tuple[str, ...] = ()) -> Iterator[Operator]:
    """Start a lab with this inventory from the snapshot of the deployed stack: with these hosts, or with all."""
    make_snapshot(project)
    with lab(what, text, project, hosts) as operator:
        operator.inv("lab.up", f"--from={NAME}", *([f"--host={','.join(hosts)}"] if hosts else []))
        # A balancer that booted before the application hosts needs a moment to use them.
        doors, apps = ([name for name in pair if not hosts or name in hosts] for pair in (BALANCERS, APPS))
        if doors and apps:
            await_site(operator, f"{NETWORKS[1]}.230", doors, apps)
        yield operator


def remove_leftovers() -> None:
    """Remove labs that killed test runs of this clone left up. The labs of running tests are locked, and stay."""
    for name in model.labs(cgroup.tree()):
        if name.startswith(f"{NAME}-") and (FOLDER / f"{name}.lock").exists():
            with _lock(name) as file, suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                with machine.locked(name, _silent):
                    up.remove(name, _silent)


def make_snapshot(project: Path) -> None:
    """Deploy bare hosts and save them as the snapshot, unless this run or an earlier one has left a usable one."""
    FOLDER.mkdir(exist_ok=True)
    with _lock("snapshot") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        made = made_before()
        if made.get("run") == RUN:
            assert not made.get("failed"), "the deploy of bare hosts failed in another process of this run"
            return
        remove_leftovers()
        if made and not NEW and usable():
            return
        with suppress(LabError):
            keep.forget(NAME, _silent)
        _write_made(run=RUN, failed=True)
        with lab("deploy", default_inventory(), project) as operator:
            operator = _elsewhere(operator)
            began = time.monotonic()
            operator.inv("lab.up", timeout=900)
            up_at = time.monotonic()
            stages = operator.json("deploy", timeout=1800)["stages"]
            deployed_at = time.monotonic()
            for host in inventories.load(operator.inventory).hosts:
                operator.on(host, NO_UPDATES)
            operator.inv("verify")
            # Saving takes the lab down, which loses its count of CPU time.
            SPENT.labs += hosts_cpu(operator.lab)
            operator.inv("lab.save", NAME, "--down")
        packages = [stage for stage in stages if stage["stage"] == "packages"]
        _write_made(
            run=RUN,
            commit=_commit(),
            at=datetime.now(UTC).isoformat(timespec="seconds"),
            lab_up=round(up_at - began),
            deploy=round(deployed_at - up_at),
            apt=round(max((stage["end"] for stage in packages), default=0)),
            save=round(time.monotonic() - deployed_at),
        )


def _elsewhere(operator: Operator) -> Operator:
    """Return the operator as somebody who installed the package and ran `plainstack init` in another folder."""
    folder, text = operator.inventory.parent, operator.inventory.read_text(encoding="utf-8")
    package = folder / "package"
    package.mkdir()
    programs = installed.install(installed.build(package), package / "environment")
    operator.inventory.unlink()
    words = [str(programs / "plainstack"), "init", str(folder), f"--name={STACK}"]
    subprocess.run(words, cwd="/", env=installed.environment(), check=True, stdout=subprocess.DEVNULL)
    operator.inventory.write_text(text, encoding="utf-8")
    return replace(operator, project=folder, programs=programs)


def of_this_run() -> bool:
    """Return whether this run deployed the snapshot, with the code under test."""
    return bool(made_before().get("run") == RUN)


def made_before() -> dict[str, Any]:
    """Return the notes about the latest snapshot; empty if there are none."""
    try:
        data: dict[str, Any] = json.loads((FOLDER / "made.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return data


def usable() -> bool:
    """Return whether the snapshot exists and fits today's default inventory and image."""
    stack = inventories.parse(default_inventory(), "hosts.yaml", FOLDER)
    try:
        found = snapshots.read(NAME)
        problems = snapshots.stale(found, of(stack), STACK, image.path(mirror.find()))
    except LabError:
        return False
    return not problems and found.origin.digest == lab_commands.digest(stack)


def summary() -> str:
    """Return one line that says what the lab tests of this run start from."""
    made = made_before()
    if NEW or "commit" not in made or not usable():
        return f"bare hosts are deployed once and kept as the snapshot {NAME}; every module starts from it"
    age = duration((datetime.now(UTC) - datetime.fromisoformat(made["at"])).total_seconds())
    return f"every module starts from the snapshot {NAME}, deployed from commit {made['commit']} {age} ago"


def _write_made(**data: object) -> None:
    half = FOLDER / "made.half"
    half.write_text(json.dumps(data) + "\n", encoding="utf-8")
    half.rename(FOLDER / "made.json")


@contextmanager
def _lock(name: str) -> Iterator[Any]:
    with (FOLDER / f"{name}.lock").open("w") as file:
        yield file


def _commit() -> str:
    words = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--exclude=*"]
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip() or "-"


def _silent(_host: str, _what: str) -> None:
    return None
