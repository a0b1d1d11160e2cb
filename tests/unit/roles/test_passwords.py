"""The hashes of visitors' passwords, compared with those of openssl; test_routes.py logs in with one."""

from __future__ import annotations

import subprocess

import pytest

from plainstack.roles.balancer.passwords import hashed, sha512_crypt


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
