"""The secrets of a run: real values for runs that need them, and stand-ins for runs that need only the names."""

from __future__ import annotations

from pathlib import Path

import pytest

from plainstack.deploy.secret_values import Elsewhere
from plainstack.engine.role import DeclaredSecret, FromCommand, Given, Role
from plainstack.errors import Refused
from plainstack.inventory.stack import Stack
from plainstack.secrets.values import Secret, Vault

ROLES = {
    "app": Role(
        name="app",
        desired=lambda *_: (),
        secrets=lambda _: [
            DeclaredSecret("web/PRINTED", origin=FromCommand("echo printed; echo x >>ran")),
            DeclaredSecret("web/SET", origin=Given()),
            DeclaredSecret("web/UNSET", origin=Given()),
        ],
    ),
    "db": Role(name="db", desired=lambda *_: (), reads=("web/SET",)),
}


@pytest.fixture
def here(stack: Stack, tmp_path: Path) -> Stack:
    return stack.model_copy(update={"folder": tmp_path})


@pytest.fixture
def vault() -> Vault:
    """Return a vault with one given secret, and an outdated value of a secret that a command prints now."""
    return Vault({"web/SET": Secret("web/SET", "set"), "web/PRINTED": Secret("web/PRINTED", "outdated")}, {}, "")


def test_secrets_of_the_chosen_hosts_are_checked(here: Stack, vault: Vault) -> None:
    assert Elsewhere.of(here, ROLES, ["db1", "app1"], vault).unset == ("web/UNSET",)
    assert Elsewhere.of(here, ROLES, ["db1", "lb1"], vault) == Elsewhere((), {})


@pytest.mark.programs
def test_a_printed_value_replaces_a_stored_one_and_is_masked(here: Stack, vault: Vault) -> None:
    lines = Elsewhere.of(here, ROLES, ["app1"], vault).lines
    full = Elsewhere((), lines).added_to(vault, here)
    assert {name: secret.reveal() for name, secret in full.passwords.items()} == {
        "web/SET": "set",
        "web/PRINTED": "printed",
    }
    assert full.password("web/PRINTED") in full.everything()
    with pytest.raises(Refused, match=r"^the secret web/UNSET is not set; set it: inv secrets\.set web/UNSET$"):
        Elsewhere(("web/UNSET",), lines).added_to(vault, here)


def test_placeholder_values_run_no_command(here: Stack, vault: Vault) -> None:
    stood_in = Elsewhere.of(here, ROLES, ["app1"], vault).stood_in(vault)
    assert set(stood_in.passwords) == {"web/SET", "web/PRINTED", "web/UNSET"}
    assert stood_in.password("web/SET").reveal() == "set"
    assert "outdated" not in stood_in.password("web/PRINTED").reveal()
    assert not (here.folder / "ran").exists()
