"""A deploy that is killed after any step, on the host or at the operator's end, is completed by the next one.

The steps are taken from the script itself: a step that is added to it is interrupted, too.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from plainstack.deploy.apply import work_of
from plainstack.deploy.deployment import deploy
from plainstack.deploy.observe import Observer
from plainstack.deploy.schedule import PACKAGES
from plainstack.engine.plan.actions import HostPlan, PackageTransaction
from plainstack.engine.transaction.script import Script, packages, transaction
from plainstack.roles import registry
from tests import inventories
from tests.lab.conftest import Operator

HOSTS = ("app1", "app2", "db1", "db2", "mon1", "bak1")
# Import once, in the forkserver, what every deploy imports.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["plainstack.deploy.deployment", "plainstack.inventory.load", "fabric", "jinja2"])

# What is damaged: a package; files, an account, a link and the inputs of units; database settings.
PACKAGE = "dpkg --force-depends --purge prometheus-node-exporter >/dev/null 2>&1"
# The state right after apt has unpacked the package, so that interruptions after that need no run of apt each time. The
# SysV script is skipped, because it would make systemd read all units again, twice.
UNPACKED = """
SYSTEMCTL_SKIP_SYSV=1 systemctl disable --quiet --now prometheus-node-exporter.service
echo 'ARGS=""' >/etc/default/prometheus-node-exporter
"""
Harm = tuple[str, str]
INSTALLED: list[Harm] = [(PACKAGE, PACKAGES), (UNPACKED, "")]
# When the operator is gone, the host completes every run of apt; a package without a daemon takes less time.
SMALL = "dpkg --purge logrotate >/dev/null 2>&1"
COMPLETED: list[Harm] = [(SMALL, PACKAGES), (UNPACKED, "")]
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
# Steps that are the same in every script, or find nothing to do. On mon1 the script is killed after each of them, the
# operator of bak1 too; on the other hosts, only after the steps that are their own.
SAME = re.compile(
    r"wait for the host's lock|begin|record .*|check .* again|set mode and owner of /(srv|etc/plainstack)/.*"
)
NONE = re.compile(r"(?!)")
# A run whose operator is gone completes what apt does.
FREE = "flock -w 300"
STATE = """
cd /var/lib/plainstack && cut -f1-3 manifest/* | sort && grep . units/* && ls runs
cut -f2 manifest/* | grep ^/ | sort -u | xargs -d '\\n' stat -c '%n %F %a %U %G' 2>&1
cut -f2 manifest/* | grep ^/ | sort -u | xargs -d '\\n' sha256sum 2>/dev/null
systemctl show --property=Id,ActiveState,UnitFileState $(grep -h ^unit manifest/* | cut -f2)
id app-web 2>/dev/null; readlink /srv/web/current; dpkg-query -W -f '${Package} ${db:Status-Status}\\n'
@FREE@ /run/plainstack.lock echo free; @FREE@ /run/plainstack-apply.lock echo free
""".replace("@FREE@", FREE)


def stages(found: HostPlan) -> list[str]:
    """Return a host's stages in order."""
    return [*([PACKAGES] if found.packages else []), *(work.role for work in found.transactions)]


def script_of(found: HostPlan, stage: str, stop_after: int | None) -> Script:
    """Return the script of one stage; with `stop_after`, it kills itself after that many steps."""
    work = work_of(found, stage)
    run_id = f"interrupted-{os.urandom(4).hex()}"
    if isinstance(work, PackageTransaction):
        return packages(work, run_id, {}, stop_after=stop_after)
    return transaction(work, run_id, {}, {}, stop_after=stop_after)


def run_until(operator: Operator, host: str, stop_after: int, only: str, spared: re.Pattern[str]) -> bool:
    """Deploy to one host and kill the script after `stop_after` steps in all; return False if there are fewer steps.

    `only` names the one stage to deploy; empty means all. Steps that match `spared` do not count.
    """
    done = 0
    with Observer(inventories.load(operator.inventory), registry(), (), (host,)) as observer:
        found = observer.observe().plans[host]
        for stage in [stage for stage in stages(found) if only in ("", stage)]:
            named = enumerate(script_of(found, stage, None).steps, 1)
            counted = [number for number, step in named if not spared.fullmatch(step)]
            last = counted[stop_after - done - 1] if stop_after - done <= len(counted) else None
            work = script_of(found, stage, last)
            output = observer.sessions.to(host).run(work.command, stdin=work.stream, hold_stdin=True, timeout=600)
            if last is not None:
                assert output.code != 0, output.out
                return True
            assert "@done" in output.out, output.out
            if "@unconfirmed" in output.out:
                run = f"/var/lib/plainstack/runs/{work.run_id}"
                observer.sessions.to(host).run(f"sh -c 'RUN={run}; . {run}/library.sh; confirm'")
            done += len(counted)
    return False


class _Killer:
    """A listener that kills its own process after some steps, as a power cut at the operator's desk would."""

    def __init__(self, after: int, only: str, spared: re.Pattern[str]) -> None:
        self.left, self.only, self.spared = after, only, spared

    def step(self, _host: str, stage: str, step: str) -> None:
        if self.only in ("", stage) and not self.spared.fullmatch(step):
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def progress(self, _host: str, _stage: str, _line: str) -> None:
        return None

    def ended(self, _host: str, _stage: str, _seconds: float, _error: str) -> None:
        return None

    def note(self, _text: str) -> None:
        return None


def deployed_until_killed(
    path: Path, host: str, after: int = 0, only: str = "", spared: re.Pattern[str] = NONE
) -> None:
    """Deploy to one host as `inv deploy` does; kill this process at step `after` (0: never) in all, or of `only`.

    Steps that match `spared` do not count.
    """
    with Observer(inventories.load(path), registry(), (), (host,)) as observer:
        killer = _Killer(after, only, spared)
        view = observer.observe(killer, to_apply=True)
        assert not view.failed, view.failed
        if view.pending:
            failed = [
                outcome for outcome in deploy(observer, view, killer, "the interruption test").outcomes if outcome.error
            ]
            assert not failed, failed


def killed_on_the_host(
    pool: Executor, operator: Operator, host: str, harm: str, only: str, spared: re.Pattern[str]
) -> Iterator[str]:
    """Harm the host, deploy, and kill the script after step 1; then the same with step 2, and so on.

    Yields after every kill, so that the caller can heal the host.
    """
    count = 1
    operator.on(host, harm)
    while pool.submit(run_until, operator, host, count, only, spared).result():
        yield f"killed after step {count}"
        operator.on(host, harm)
        count += 1
    yield "not killed"


def killed_at_the_operators_end(
    _pool: Executor, operator: Operator, host: str, harm: str, only: str, spared: re.Pattern[str]
) -> Iterator[str]:
    """Like killed_on_the_host, but kill the operator's process while the host does the step."""
    count = 0
    killed = True
    while killed:
        count += 1
        operator.on(host, harm)
        controller = FORKS.Process(target=deployed_until_killed, args=(operator.inventory, host, count, only, spared))
        controller.start()
        controller.join(600)
        killed = controller.exitcode == -signal.SIGKILL
        assert killed or controller.exitcode == 0
        operator.on(host, f"{FREE} /run/plainstack-apply.lock true && {FREE} /run/plainstack.lock true")
        yield f"the operator killed at step {count}"


Kill = Callable[[Executor, Operator, str, str, str, re.Pattern[str]], Iterator[str]]


def healed_each_time(
    pool: Executor, operator: Operator, host: str, kill: Kill, harms: Sequence[Harm], spared: re.Pattern[str]
) -> int:
    """Heal the host after every interruption, and check that its state is as before; return how often it was healed."""
    pool.submit(deployed_until_killed, operator.inventory, host).result()
    whole = operator.on(host, STATE)
    count = 0
    for harm, only in harms:
        for interrupted in kill(pool, operator, host, harm, only, spared):
            pool.submit(deployed_until_killed, operator.inventory, host).result()
            now = operator.on(host, STATE)
            assert now == whole, f"{host}, {interrupted}: {sorted(set(now.splitlines()) ^ set(whole.splitlines()))}"
            count += 1
    return count


def alone(operator: Operator, host: str) -> Operator:
    """Return an operator of a stack with no other app host: a deploy does not wait until peers use the host again.

    One worker is enough to see that the application runs; each start of a worker takes as long as all other steps.
    """
    other = "app2" if host == "app1" else "app1"
    lines = operator.inventory.read_text(encoding="utf-8").splitlines(keepends=True)
    path = operator.inventory.with_name(f"{host}.yaml")
    text = "".join(line.replace("[app]", "[]") if line.strip().startswith(f"{other}:") else line for line in lines)
    path.write_text(text.replace("workers: 2", "workers: 1"), encoding="utf-8")
    return replace(operator, inventory=path)


def test_a_deploy_killed_after_any_step_is_completed_by_the_next_one(deployed: Operator) -> None:
    """Six hosts at once, each with a different kind of plan; for three of them, the operator's process is killed."""
    databases = {row["database"].partition(" ")[0]: row["host"] for row in deployed.json("status")}
    primary, standby = databases["primary"], databases["replica"]
    plans = {
        "mon1": (deployed, killed_on_the_host, INSTALLED, NONE),
        "app1": (alone(deployed, "app1"), killed_on_the_host, [(APP, "")], SAME),
        standby: (deployed, killed_on_the_host, [(DB, "")], SAME),
        "app2": (alone(deployed, "app2"), killed_at_the_operators_end, [(APP, "")], SAME),
        "bak1": (deployed, killed_at_the_operators_end, COMPLETED, NONE),
        primary: (deployed, killed_at_the_operators_end, [(SETTING, "")], SAME),
    }
    with ProcessPoolExecutor(len(HOSTS), FORKS) as pool, ThreadPoolExecutor(len(HOSTS)) as threads:
        counts = {
            host: threads.submit(healed_each_time, pool, operator, host, kill, harms, spared)
            for host, (operator, kill, harms, spared) in plans.items()
        }
        for host, count in counts.items():
            fewest = 15 if plans[host][-1] is NONE else 5
            assert count.result() > fewest, f"{host}: its plan was not what this test is about"
