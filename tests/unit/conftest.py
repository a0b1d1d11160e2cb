"""Fixtures of the unit tests: the default stack, a vault with fixed secrets, and the desired state of every host."""

from __future__ import annotations

import gc
import importlib
import os
import sys
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings

from plainstack import roles
from plainstack.engine import desired as desired_module
from plainstack.engine.declared import by_name
from plainstack.engine.desired import HostDesired
from plainstack.engine.role import Role
from plainstack.inventory.stack import Stack
from plainstack.secrets.values import Certificate, Secret, Vault
from tests import inventories
from tests.sshd import Server, serving

# Hypothesis runs the same cases every time; HYPOTHESIS_PROFILE=search looks for new ones. There is no time limit: on a
# busy machine, both generating a case and testing it may take long.
UNTIMED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None)
settings.register_profile("default", UNTIMED, derandomize=True, max_examples=30)
settings.register_profile("search", UNTIMED, max_examples=5000, phases=[Phase.generate])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

ROOT = Path(__file__).resolve().parents[2]


def pytest_configure(config: pytest.Config) -> None:
    # Tests import the modules of checks/, which use this marker; only `inv verify` acts on it.
    config.addinivalue_line("markers", "once: run on the role's first host only")
    config.addinivalue_line(
        "markers", "programs: starts other programs, such as sh, sshd or nginx; not part of `make unit`"
    )
    sys.addaudithook(_note_program)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not import a module whose tests are all left out by `-m programs` or `-m "not programs"`."""
    chosen = config.getoption("markexpr")
    if chosen not in ("programs", "not programs") or not collection_path.match("test_*.py"):
        return None
    text = collection_path.read_text(encoding="utf-8")
    others = "mark.programs" not in text if chosen == "programs" else "\npytestmark = pytest.mark.programs\n" in text
    return others or None


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Let every second worker import the test modules from the last to the first.

    In a new checkout, two workers then compile half of the modules each, and read the other half from the cache.
    """
    worker = getattr(session.config, "workerinput", {}).get("workerid", "gw0")
    if int(worker.removeprefix("gw")) % 2:
        places = [session.config.invocation_params.dir / word.partition("::")[0] for word in session.config.args]
        found = [path for place in places for path in (place.rglob("test_*.py") if place.is_dir() else [place])]
        for path in sorted(found, reverse=True):
            if path.is_relative_to(ROOT) and not pytest_ignore_collect(path, session.config):
                # The collection reports errors.
                with suppress(Exception, pytest.skip.Exception):
                    importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))


def pytest_collection_finish() -> None:
    """Spare the garbage collector the modules and tests, which stay until the end."""
    gc.collect()
    gc.freeze()


_started: list[str] = []


def _note_program(event: str, args: tuple[object, ...]) -> None:
    if event == "subprocess.Popen":
        _started.append(str(args[0]))


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Fail a test that starts programs and is not marked as such: `make unit` would become slow."""
    before = len(_started)
    result = yield
    if len(_started) > before and not pyfuncitem.get_closest_marker("programs"):
        pytest.fail(f"starts {_started[-1]}: mark it with @pytest.mark.programs")
    return result


def fake_vault(stack: Stack, names: Iterable[str]) -> Vault:
    """Return a vault whose secrets contain their own names, so that they are easy to recognize in files and leaks."""
    certified = [*stack.hosts, "site"]
    return Vault(
        passwords={name: Secret(name, f"password-of-{name}") for name in names},
        certificates={
            name: Certificate(chain=f"chain of {name}\n", key=Secret(f"{name}.key", f"private key of {name}\n"))
            for name in certified
        },
        authority="certificate of the authority\n",
    )


@pytest.fixture(scope="session")
def stack() -> Stack:
    """Return the stack of the default inventory."""
    return inventories.load(ROOT / "hosts.yaml")


@pytest.fixture(scope="session")
def registry() -> Mapping[str, Role]:
    """Return every role of Plainstack, by name."""
    return roles.registry()


@pytest.fixture(scope="session")
def vault(stack: Stack, registry: Mapping[str, Role]) -> Vault:
    """Return a vault with every password that roles ask for, and a certificate for every host and the site."""
    return fake_vault(stack, by_name(stack, registry))


@pytest.fixture(scope="session")
def desired(stack: Stack, vault: Vault, registry: Mapping[str, Role]) -> Mapping[str, HostDesired]:
    """Return the desired state of every host of the default stack."""
    return desired_module.assemble(stack, vault, registry, stack.hosts)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("sshd")) as started:
        yield started
