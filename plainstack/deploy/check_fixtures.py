"""The pytest fixtures that checks may use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from types import ModuleType
from typing import Any

import pytest
from testinfra.host import Host as TestinfraHost

from plainstack.deploy.check_facts import Facts
from plainstack.engine.network import Network
from plainstack.engine.role import Role
from plainstack.inventory.stack import Stack
from plainstack.secrets.values import Vault


def plugin(
    stack_: Stack,
    vault_: Vault,
    roles: Mapping[str, Role],
    testinfra: Mapping[str, TestinfraHost],
    facts_: Mapping[str, Future[Facts]],
) -> ModuleType:
    """Return a pytest plugin with the fixtures; `facts_` may be filled later."""

    @pytest.fixture(scope="session")
    def host(where: str) -> Any:
        return testinfra[where]

    @pytest.fixture(scope="session")
    def here(where: str) -> Any:
        return stack_.hosts[where]

    @pytest.fixture(scope="module")
    def facts(where: str, request: pytest.FixtureRequest) -> Mapping[str, str]:
        answered = facts_[where].result()[request.module.__name__]
        if isinstance(answered, Exception):
            raise answered
        return answered

    @pytest.fixture(scope="session")
    def stack() -> Stack:
        return stack_

    @pytest.fixture(scope="session")
    def vault() -> Vault:
        return vault_

    @pytest.fixture(scope="session")
    def network() -> Network:
        return Network(stack_, roles)

    @pytest.fixture(scope="session")
    def peer() -> Callable[[str], Any]:
        return testinfra.__getitem__

    made = ModuleType("plainstack fixtures")
    given = {"host": host, "here": here, "facts": facts, "stack": stack, "vault": vault, "network": network}
    made.__dict__.update(given, peer=peer)
    return made
