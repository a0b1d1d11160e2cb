"""A deploy that is killed after any step, on the host or at the operator's end, is healed by the next one.

The steps are the script's own: a step that is added is interrupted too.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock

from plainstack import inventory
from plainstack.actions import HostPlan, PackageTransaction
from plainstack.apply import work_of
from plainstack.deployment import deploy
from plainstack.run import Runner
from plainstack.schedule import PACKAGES
from plainstack.script import Script, packages, transaction
from tests.lab.conftest import Operator

# Templates are rendered for one host after the other.
RENDERING = Lock()

# A package; files, an account, a link and inputs that units restart for; settings of the database.
PACKAGE = "dpkg --force-depends --purge prometheus-node-exporter >/dev/null 2>&1"
APP = """
systemctl stop plainstack-web.service
userdel app-web
rm -rf /srv/web/current
echo '# by hand' >>/etc/plainstack/app/web.gunicorn.py
chmod 644 /etc/hosts && chown nobody /etc/hosts
"""
SETTING = """
echo 'log_checkpoints = off' >>/etc/postgresql/17/main/conf.d/20-reload.conf
chmod 644 /etc/hosts && chown nobody /etc/hosts
"""
DB = """
echo 'log_checkpoints = off' >>/etc/postgresql/17/main/conf.d/20-reload.conf
rm /etc/postgresql/17/main/conf.d/10-restart.conf
systemctl disable --quiet plainstack-firewall.service
"""
STATE = """
cd /var/lib/plainstack && cut -f1-3 manifest/* | sort && grep . units/* && ls runs
cut -f2 manifest/* | grep ^/ | sort -u | xargs -d '\\n' stat -c '%n %F %a %U %G' 2>&1
cut -f2 manifest/* | grep ^/ | sort -u | xargs -d '\\n' sha256sum 2>/dev/null
systemctl show --property=Id,ActiveState,UnitFileState $(grep -h ^unit manifest/* | cut -f2)
id app-web 2>/dev/null; readlink /srv/web/current; dpkg-query -W -f '${Package} ${db:Status-Status}\\n'
flock -w 5 /run/plainstack.lock echo free; flock -w 5 /run/plainstack-apply.lock echo free
"""


def stages(found: HostPlan) -> list[str]:
    """A host's stages in order."""
    return [*([PACKAGES] if found.packages else []), *(work.role for work in found.transactions)]


def script_of(found: HostPlan, stage: str, stop_after: int | None) -> Script:
    """One stage's script, that kills itself after so many steps."""
    work = work_of(found, stage)
    run_id = f"interrupted-{os.urandom(4).hex()}"
    if isinstance(work, PackageTransaction):
        return packages(work, run_id, {}, stop_after=stop_after)
    return transaction(work, run_id, {}, {}, stop_after=stop_after)


def run_until(operator: Operator, host: str, stop_after: int) -> bool:
    """Deploy to one host and kill its script after so many steps in all; False when it has no more steps."""
    stack = inventory.load(operator.inventory)
    done = 0
    with Runner(stack, (), (host,)) as runner:
        with RENDERING:
            found = runner.observe().plans[host]
        for stage in stages(found):
            steps = len(script_of(found, stage, None).steps)
            last = stop_after - done if stop_after - done <= steps else None
            work = script_of(found, stage, last)
            output = runner.sessions.to(host).run(work.command, stdin=work.stream, hold_stdin=True, timeout=120)
            if last is not None:
                assert output.code != 0, output.out
                return True
            assert "@done" in output.out, output.out
            if "@unconfirmed" in output.out:
                run = f"/var/lib/plainstack/runs/{work.run_id}"
                runner.sessions.to(host).run(f"sh -c 'RUN={run}; . {run}/library.sh; confirm'")
            done += steps
    return False


def killed_on_the_host(operator: Operator, host: str, harm: str) -> int:
    """Harm it, deploy until a step, kill that, heal it; and so on with the next step. Gives how many there were."""
    whole = operator.on(host, STATE)
    count = 1
    operator.on(host, harm)
    while run_until(operator, host, count):
        operator.inv("deploy", f"--host={host}")
        assert operator.on(host, STATE) == whole, f"{host}: after step {count}"
        operator.on(host, harm)
        count += 1
    operator.inv("deploy", f"--host={host}")
    return count


class _Killer:
    """A listener that ends its own process, as a power cut at the operator's desk would, after so many steps."""

    def __init__(self, after: int) -> None:
        self.left = after

    def step(self, _host: str, _stage: str, _step: str) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def ended(self, _host: str, _stage: str, _seconds: float, _error: str) -> None:
        return None

    def note(self, _text: str) -> None:
        return None


def _deploy_until_killed(path: Path, host: str, after: int) -> None:
    with Runner(inventory.load(path), (), (host,)) as runner:
        killer = _Killer(after)
        deploy(runner, runner.observe(killer), killer, "the interruption test")


def killed_at_the_operators_end(operator: Operator, host: str, harm: str) -> int:
    """The same, but it is the operator's process that is killed while a step is done."""
    whole = operator.on(host, STATE)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["plainstack.deployment", "plainstack.inventory", "fabric", "jinja2"])
    count = 0
    killed = True
    while killed:
        count += 1
        operator.on(host, harm)
        controller = context.Process(target=_deploy_until_killed, args=(operator.inventory, host, count))
        controller.start()
        controller.join(180)
        killed = controller.exitcode == -signal.SIGKILL
        operator.on(host, "flock -w 90 /run/plainstack-apply.lock true && flock -w 10 /run/plainstack.lock true")
        operator.inv("deploy", f"--host={host}")
        assert operator.on(host, STATE) == whole, f"{host}: after step {count}"
    return count


def test_killed_after_every_step(whole: Operator) -> None:
    """Six hosts at once, each with a plan of another kind; on three of them it is the operator's end that is killed."""
    databases = {row["database"].partition(" ")[0]: row["host"] for row in whole.json("status")}
    primary, standby = databases["primary"], databases["replica"]
    with ThreadPoolExecutor() as pool:
        steps = {
            "mon1": pool.submit(killed_on_the_host, whole, "mon1", PACKAGE),
            "app1": pool.submit(killed_on_the_host, whole, "app1", APP),
            standby: pool.submit(killed_on_the_host, whole, standby, DB),
            "app2": pool.submit(killed_at_the_operators_end, whole, "app2", APP),
            "bak1": pool.submit(killed_at_the_operators_end, whole, "bak1", PACKAGE),
            primary: pool.submit(killed_at_the_operators_end, whole, primary, SETTING),
        }
        counts = {host: done.result() for host, done in steps.items()}
    assert min(counts.values()) > 8, f"a plan was not what this test is about: {counts}"
