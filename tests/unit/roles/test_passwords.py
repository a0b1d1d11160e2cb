"""The hashes of visitors' passwords, compared with those of openssl, and logins with them at a real nginx."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from plainstack.inventory.stack import Stack
from plainstack.roles import balancer
from plainstack.roles.balancer.passwords import hashed, sha512_crypt
from plainstack.secrets.declaration import unfit
from tests import inventories
from tests.unit.roles.real_nginx import running

TEXT = """
stack: shop
hosts:
  lb1: {address: 10.0.0.1, roles: [balancer]}
  app1: {address: 10.0.0.3, roles: [app]}
services:
  web:
    kind: binary
    source: .
    routes: [{path: /, users: [USERS]}]
    processes: {web: {command: run, port: 8000, health: /up}}
balancer: {server_names: [shop.example]}
"""
ODD = {
    "unicode": "p\u00e4ssw\u00f6rd \u20ac \U0001f600",
    "colons": "a:b::c",
    "quotes": "a'b\"c`$(x)${y}\\n%41 #",
    "spaces": "  lead and trail  ",
    "hash": "$6$rounds=1000$x$y",
    "long": "x" * 511,
    "short": "x",
}


def _stack(*users: str) -> Stack:
    return inventories.parse(TEXT.replace("USERS", ", ".join(users)), "hosts.yaml", Path.cwd())


@pytest.mark.programs
@pytest.mark.parametrize("password", ["x", "correct horse", "ä" * 40, "y" * 200])
def test_a_password_has_the_hash_that_openssl_computes(password: str) -> None:
    command = ["openssl", "passwd", "-6", "-salt", "rounds=1000$abcdefgh./012345", "-stdin"]
    expected = subprocess.run(command, input=f"{password}\n", capture_output=True, text=True, check=True).stdout.strip()
    assert sha512_crypt(password.encode(), "abcdefgh./012345", 1000) == expected


def test_a_hash_is_the_same_in_every_plan_and_differs_between_users_with_the_same_password() -> None:
    assert hashed("battery", "shop/jane") == hashed("battery", "shop/jane") != hashed("battery", "shop/joe")


def test_the_salt_says_nothing_about_the_password() -> None:
    first, second = (hashed(password, "shop/jane").split("$")[3] for password in ("battery", "staple"))
    assert first == second


@pytest.mark.programs
def test_visitors_log_in_with_any_password_that_a_person_can_set_and_with_no_other(tmp_path: Path) -> None:
    with running(_stack(*ODD), tmp_path / "edge", {f"balancer/users/{user}": ODD[user] for user in ODD}) as edge:
        for user, password in ODD.items():
            url = "https://shop.example/told"
            assert edge.status(url, "-u", f"{user}:{password}") == "200"
            for wrong in (f"{password}x", password[:-1], password.swapcase() + " ", ""):
                assert edge.status(url, "-u", f"{user}:{wrong}") == "401"
        assert edge.status(url, "-u", "nobody:x") == edge.status(url, "-u", "#:x") == edge.status(url) == "401"


def test_a_password_with_which_nobody_could_log_in_cannot_be_set() -> None:
    (secret,) = balancer.secrets(_stack("jane"))
    assert [unfit(password, secret.origin) for password in ODD.values()] == [""] * len(ODD)
    assert unfit("", secret.origin) == "must not be empty"
    for typed in ("two\nlines", "tab\t", "\x7f"):
        assert unfit(typed, secret.origin).startswith("must not contain line breaks and other control characters")
    for long in ("x" * 512, "\u00e4" * 256):
        assert unfit(long, secret.origin) == "must not have more than 511 bytes, the limit of crypt(3)"
