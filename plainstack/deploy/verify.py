"""Run the checks in checks/ on all hosts at once, over connections that stay open."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from _pytest.config import ConftestImportFailure, _prepareconfig

from plainstack.deploy import check_errors
from plainstack.deploy.check_facts import Facts, gather
from plainstack.deploy.check_fixtures import plugin
from plainstack.deploy.check_host import Backend, CheckedHost
from plainstack.deploy.check_lanes import Lanes, Phase, lanes
from plainstack.deploy.check_result import CheckResult
from plainstack.deploy.check_session import alone, options, reporter
from plainstack.engine.role import Role
from plainstack.engine.sources import Sources, used
from plainstack.errors import Refused
from plainstack.inventory.stack import Stack
from plainstack.secrets.values import Vault
from plainstack.shipped import CHECKS
from plainstack.ssh.connections import Sessions

# The most checks of one host that run at once. They mostly wait: for a unit to stay up, or for a port not to answer.
AT_ONCE = 6


class Verifier:
    """A pytest plugin that binds checks to hosts, runs them on all hosts at once, and collects the results."""

    def __init__(
        self,
        stack: Stack,
        vault: Vault,
        sessions: Sessions,
        roles: Mapping[str, Role],
        chosen: Sequence[str],
        hosts: Sequence[str],
        on_result: Callable[[CheckResult], None] = lambda _: None,
        serial: bool = False,
    ) -> None:
        self.results: list[CheckResult] = []
        self._stack, self._vault, self._sessions = stack, vault, sessions
        self._roles, self._chosen, self._hosts = roles, chosen, hosts
        self._on_result = on_result
        self._serial = serial
        self.sources = Sources.of(stack.folder)
        self._testinfra = {name: CheckedHost(Backend(sessions, name), name) for name in stack.hosts}
        self._ended: dict[str, Future[CheckResult | None]] = {}
        self._facts: dict[str, Future[Facts]] = {}
        self._pools: list[ThreadPoolExecutor] = []

    def hosts_of(self, role: str) -> list[str]:
        """Return the names of the hosts that a role's checks run for."""
        if self._chosen and role not in self._chosen:
            return []
        everywhere = self._roles[role].everywhere
        return [name for name in self._hosts if everywhere or role in self._stack.hosts[name].roles]

    @pytest.hookimpl(tryfirst=True)
    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        role = _role(metafunc.module)
        if role not in self._roles:
            raise pytest.Collector.CollectError(f"ROLE must name a role ({', '.join(self._roles)}), not {role!r}")
        names = self.hosts_of(role)
        if metafunc.definition.get_closest_marker("once"):
            names = names[:1]
        metafunc.fixturenames.append("where")
        metafunc.parametrize("where", names, scope="session")

    def pytest_configure(self, config: pytest.Config) -> None:
        config.addinivalue_line("markers", "once: run on the role's first host only")
        # For other traceback styles, pytest parses the sources. Python 3.11 sometimes fails to do that in several
        # threads at once ("AST constructor recursion depth mismatch").
        config.option.tbstyle = "native"
        config.pluginmanager.register(plugin(self._stack, self._vault, self._roles, self._testinfra, self._facts))
        # Pytest 8 needs a terminal reporter to describe a failed comparison, and its own is disabled.
        config.pluginmanager.register(reporter(), "terminalreporter")

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        # Pytest also collects a check that applies to no host, once and without a host. Drop it.
        items[:] = [item for item in items if _where(item) in self._hosts]

    def pytest_exception_interact(self, node: pytest.Collector | pytest.Item, call: pytest.CallInfo[Any]) -> None:
        if isinstance(node, pytest.Collector) and call.excinfo is not None:
            self._unreadable(call.excinfo.value, node.path)

    def _unreadable(self, error: BaseException, path: Path) -> None:
        name = f"checks/{path.name}"
        self._report(
            CheckResult("-", _of_file(path), name, False, 0.0, check_errors.of_module(error, path, self.sources.shown))
        )

    def _report(self, result: CheckResult) -> None:
        self.results.append(result)
        self._on_result(result)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        if session.items:
            # Pytest's wrappers around an item describe failed comparisons. Run them once, around all items.
            first = session.items[0]
            first.ihook.pytest_runtest_protocol(item=first, nextitem=None)
        return True

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> bool:
        """Start the checks of all hosts at once, and report the results in the order of the checks."""
        session = item.session
        items = [item for item in session.items if isinstance(item, pytest.Function)]
        running = Lanes(session, items)
        session.config.pluginmanager.register(running)
        pools = (
            [ThreadPoolExecutor(1, "verify")] * len(self._hosts)
            if self._serial
            else [ThreadPoolExecutor(AT_ONCE, f"verify-{name}") for name in self._hosts]
        )
        self._ended = {item.nodeid: Future() for item in items}
        try:
            for where, pool in zip(self._hosts, pools, strict=True):
                self._begin(where, [item for item in items if _where(item) == where], pool, running)
            for item in items:
                if result := self._ended[item.nodeid].result():
                    self._report(result)
        except BaseException:
            for pool in pools:
                pool.shutdown(wait=False, cancel_futures=True)
            raise
        for pool in pools:
            pool.shutdown()
        return True

    def _begin(self, where: str, items: list[pytest.Function], pool: ThreadPoolExecutor, running: Lanes) -> None:
        modules: dict[ModuleType, None] = {item.module: None for item in items if "facts" in item.fixturenames}
        if modules:
            self._facts[where] = pool.submit(
                gather, self._stack, self._stack.hosts[where], modules, self._testinfra[where]
            )
        for lane in lanes(items):
            # With this context, checks render templates from the same folders as a deploy.
            pool.submit(copy_context().run, self._run, lane, running)

    def _run(self, lane: list[pytest.Function], running: Lanes) -> None:
        try:
            running.lane(lane, lambda item, phases: self._ended[item.nodeid].set_result(self._result(item, phases)))
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits for the results
            for item in lane:
                if not self._ended[item.nodeid].done():
                    self._ended[item.nodeid].set_exception(error)

    def _result(self, item: pytest.Item, phases: list[Phase]) -> CheckResult | None:
        """Return the result of a check; None if it was skipped, because it then does not apply to this stack."""
        assert isinstance(item, pytest.Function)
        where = _where(item)
        name = item.originalname
        if parameters := item.callspec.id.removeprefix(where).removeprefix("-"):
            name += f"[{parameters}]"
        why = [check_errors.of_call(item, call, report, self.sources.shown) for call, report in phases if report.failed]
        if not why and any(report.skipped for _, report in phases):
            return None
        seconds = sum(call.duration for call, _ in phases)
        return CheckResult(where, _role(item.module), name, not why, seconds, "\n".join(why))


def _role(module: ModuleType) -> str:
    """Return the role whose hosts a module checks: the module's ROLE, otherwise the role in its file name."""
    return str(getattr(module, "ROLE", _of_file(Path(str(module.__file__)))))


def _of_file(path: Path) -> str:
    return path.stem.removeprefix("test_")


def _where(item: pytest.Item) -> str:
    """Return the name of the host that a check is bound to; "" if it has none."""
    return str(item.callspec.params.get("where", "")) if hasattr(item, "callspec") else ""


def run(verifier: Verifier) -> None:
    """Run the checks and store the results in the verifier. Raises Refused if pytest itself cannot run."""
    own = next(folder for folder in (*verifier.sources.within("checks"), CHECKS) if folder.is_dir())
    said = io.StringIO()
    with alone(said, own), used(verifier.sources):
        try:
            config = _prepareconfig([*options(own), *map(str, verifier.sources.checks())], [verifier])
        except ConftestImportFailure as error:
            verifier._unreadable(error, error.path)
            return
        except pytest.UsageError as error:
            raise Refused(f"the checks could not be run: {error}") from None
        try:
            code = config.hook.pytest_cmdline_main(config=config)
        finally:
            config._ensure_unconfigure()
    if code == pytest.ExitCode.INTERRUPTED:
        raise KeyboardInterrupt
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED):
        raise Refused(f"the checks could not be run: {said.getvalue().strip() or f'pytest ended with {code}'}")
