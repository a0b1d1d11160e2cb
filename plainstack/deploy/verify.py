"""Runs checks/ against the hosts, all hosts at once over kept connections, and gives one verdict."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import BoundedSemaphore
from types import ModuleType
from typing import Any

import pytest
from testinfra.backend.base import BaseBackend, CommandResult
from testinfra.host import Host as TestinfraHost

from plainstack.deploy.check_facts import Facts, gather
from plainstack.engine.network import Network
from plainstack.engine.role import Role
from plainstack.errors import Refused
from plainstack.inventory.stack import Stack
from plainstack.secrets.values import Vault
from plainstack.shipped import CHECKS
from plainstack.ssh.connections import Sessions

_SETTINGS = CHECKS / "pytest.ini"
LONGEST = 120
# Checks of one host that run at once: most of the time they wait, for a unit to stay up or for a port to stay silent.
AT_ONCE = 6
# Commands that a host runs at once, its own checks' and those that look at others from it; sshd takes 30 (MaxSessions).
COMMANDS = 20


class _Backend(BaseBackend):  # type: ignore[misc]  # testinfra has no types
    """Testinfra's commands over the sessions that Plainstack has open, as root."""

    NAME = "plainstack"

    def __init__(self, sessions: Sessions, name: str) -> None:
        super().__init__(name)
        self._sessions = sessions
        self._name = name
        self._turn = BoundedSemaphore(COMMANDS)

    def run(self, command: str, *args: str, **_: Any) -> CommandResult:
        line = self.get_command(command, *args)
        with self._turn:
            output = self._sessions.to(self._name).script(line, timeout=LONGEST, step="check")
        return self.result(output.code, self.encode(line), output.out.encode(), output.err.encode())


@dataclass(frozen=True)
class CheckResult:
    """How one check ended on one host; `why` is what did not hold."""

    host: str
    role: str
    name: str
    passed: bool
    seconds: float
    why: str = ""

    @property
    def promise(self) -> str:
        """The check's name as words."""
        return self.name.partition("[")[0].removeprefix("test_").replace("_", " ")


class Verifier:
    """A pytest plugin: binds checks to hosts, runs them in threads, and keeps the results."""

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
        self.errors: list[str] = []
        self._stack, self._vault, self._sessions = stack, vault, sessions
        self._roles, self._chosen, self._hosts = roles, chosen, hosts
        self._on_result = on_result
        self._serial = serial
        self._testinfra = {name: TestinfraHost(_Backend(sessions, name)) for name in stack.hosts}
        self._futures: dict[str, Future[float]] = {}
        self._facts: dict[str, Future[Facts]] = {}
        self._pools: list[ThreadPoolExecutor] = []

    def hosts_of(self, role: str) -> list[str]:
        """The hosts that a role's checks are run for."""
        if self._chosen and role not in self._chosen:
            return []
        everywhere = self._roles[role].everywhere
        return [name for name in self._hosts if everywhere or role in self._stack.hosts[name].roles]

    def pytest_configure(self, config: pytest.Config) -> None:
        config.addinivalue_line("markers", "once: run on the role's first host only")

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        names = self.hosts_of(metafunc.module.ROLE)
        if metafunc.definition.get_closest_marker("once"):
            names = names[:1]
        metafunc.fixturenames.append("where")
        metafunc.parametrize("where", names)

    @pytest.fixture
    def host(self, where: str) -> Any:
        return self._testinfra[where]

    @pytest.fixture
    def here(self, where: str) -> Any:
        return self._stack.hosts[where]

    @pytest.fixture
    def facts(self, where: str, request: pytest.FixtureRequest) -> Mapping[str, str]:
        """What the host answers to `facts` of the check's module, asked once for all checks."""
        return self._facts[where].result()[request.module.__name__]

    @pytest.fixture
    def stack(self) -> Stack:
        return self._stack

    @pytest.fixture
    def network(self) -> Network:
        return Network(self._stack, self._roles)

    @pytest.fixture
    def vault(self) -> Vault:
        return self._vault

    @pytest.fixture
    def peer(self) -> Callable[[str], Any]:
        return self._testinfra.__getitem__

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Start every check at once: what pytest does afterwards is to collect the answers in order."""
        pools: dict[str, ThreadPoolExecutor] = {}
        # A check that no host has to keep is there once, bound to none; pytest skips it.
        items = [item for item in session.items if isinstance(item, pytest.Function) and _where(item) in self._hosts]
        modules: dict[str, dict[ModuleType, None]] = {}
        for item in items:
            if "facts" in item.fixturenames:
                modules.setdefault(_where(item), {})[item.module] = None
        for item in items:
            where = _where(item)
            key = "all" if self._serial else where
            if key not in pools:
                workers = 1 if self._serial else AT_ONCE
                pools[key] = ThreadPoolExecutor(max_workers=workers, thread_name_prefix=f"verify-{key}")
            if where in modules and where not in self._facts:
                asked = (self._stack, self._stack.hosts[where], modules[where], self._testinfra[where])
                self._facts[where] = pools[key].submit(gather, *asked)
            self._futures[item.nodeid] = pools[key].submit(self._call, item, where)
        self._pools = list(pools.values())

    def _call(self, item: Any, where: str) -> float:
        known: dict[str, Any] = {
            "host": self._testinfra[where],
            "here": self._stack.hosts[where],
            "stack": self._stack,
            "vault": self._vault,
            "network": Network(self._stack, self._roles),
            "peer": self._testinfra.__getitem__,
        }
        began = time.monotonic()
        wanted = inspect.signature(item.obj).parameters
        if "facts" in wanted:
            known["facts"] = self._facts[where].result()[item.module.__name__]
        try:
            item.obj(**{name: known[name] for name in wanted})
        finally:
            item.user_properties.append(("seconds", time.monotonic() - began))
        return time.monotonic() - began

    @pytest.hookimpl(tryfirst=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> bool:
        self._futures[pyfuncitem.nodeid].result()
        return True

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.errors.append(report.longreprtext)

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, item: Any, call: pytest.CallInfo[None]) -> Any:
        outcome = yield
        report = outcome.get_result()
        # A skipped check is no promise to this stack: it neither holds nor fails.
        if (call.when == "call" or report.failed) and not report.skipped:
            seconds = dict(item.user_properties).get("seconds", 0.0)
            why = "" if report.passed else _reason(call)
            result = CheckResult(
                item.callspec.params["where"], item.module.ROLE, item.originalname, report.passed, seconds, why
            )
            self.results.append(result)
            self._on_result(result)

    def pytest_unconfigure(self) -> None:
        for pool in self._pools:
            pool.shutdown(wait=True, cancel_futures=True)


def _where(item: pytest.Function) -> str:
    """The host that a check is bound to."""
    return str(item.callspec.params["where"]) if hasattr(item, "callspec") else ""


def _reason(call: pytest.CallInfo[None]) -> str:
    """What did not hold, without the code that noticed it."""
    assert call.excinfo is not None
    return str(call.excinfo.value).strip() or call.excinfo.typename


def run(verifier: Verifier, keyword: str = "") -> None:
    """Run the checks; results are in the verifier. Raises Refused when a check module itself is broken."""
    arguments = [str(CHECKS), "-p", "no:terminal", "-p", "no:cacheprovider", "-c", str(_SETTINGS)]
    arguments += [
        "--rootdir",
        str(CHECKS),
        "-p",
        "no:testinfra",
        "-p",
        "no:xdist",
        "-p",
        "no:hypothesispytest",
    ]
    if keyword:
        arguments += ["-k", keyword]
    code = pytest.main(arguments, plugins=[verifier])
    if verifier.errors or code not in (
        pytest.ExitCode.OK,
        pytest.ExitCode.TESTS_FAILED,
        pytest.ExitCode.NO_TESTS_COLLECTED,
    ):
        raise Refused("the checks could not be run:\n" + "\n".join(verifier.errors or [f"pytest ended with {code}"]))
