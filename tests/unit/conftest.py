"""What unit tests share: the default stack, a vault whose secrets never change, and what every host should be."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings

from plainstack import desired as desired_module
from plainstack import inventory, roles
from plainstack.desired import HostDesired
from plainstack.roles import Role
from plainstack.secrets import Certificate, Secret, Vault
from plainstack.stack import Stack

# The same cases on every run; HYPOTHESIS_PROFILE=search looks for new ones.
settings.register_profile("default", deadline=None, derandomize=True, database=None, max_examples=60)
settings.register_profile("search", deadline=None, database=None, max_examples=3000)
settings.register_profile("dev", deadline=None, database=None, max_examples=int(os.environ.get("EXAMPLES", "40")), phases=[Phase.explicit, Phase.generate])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

ROOT = Path(__file__).resolve().parent.parent.parent


def fake_vault(stack: Stack, names: list[str]) -> Vault:
    """Secrets that say what they are, so that a golden file or a leak is readable."""
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
    """The default inventory."""
    return inventory.load(ROOT / "hosts.yaml")


@pytest.fixture(scope="session")
def registry() -> Mapping[str, Role]:
    """Every role of Plainstack."""
    return roles.registry()


@pytest.fixture(scope="session")
def vault(stack: Stack, registry: Mapping[str, Role]) -> Vault:
    """A password for every role that asks for one, a certificate for every host and the site."""
    return fake_vault(stack, [name for role in registry.values() for name in role.passwords])


@pytest.fixture(scope="session")
def desired(stack: Stack, vault: Vault, registry: Mapping[str, Role]) -> Mapping[str, HostDesired]:
    """What every host of the default stack should be."""
    return desired_module.assemble(stack, vault, registry, stack.hosts)
