"""A second copy in a bucket: its keys in the inventory, its secrets, and what the backup host gets."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from plainstack.engine.resources import Command, File, Package, Resource
from plainstack.errors import PlainstackError, Refused
from plainstack.inventory.stack import Stack
from plainstack.postgresql.backup import second_copy, second_copy_s3
from plainstack.postgresql.second_copy_settings import Bucket
from plainstack.postgresql.settings import Backup
from plainstack.secrets import signing
from plainstack.secrets.values import Secret, Vault
from tests import inventories

TEXT = """\
stack: shop
hosts:
  db1: {address: 10.0.0.1, roles: [db]}
  bak1: {address: 10.0.0.3, roles: [backup]}
database: {name: shop}
backup:
  second_copy:
    to: s3://example-backups/shop
"""
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"


def parse(*lines: str, to: str = "s3://example-backups/shop", folder: Path = Path()) -> Stack:
    text = TEXT.replace("s3://example-backups/shop", to) + "".join(f"    {line}\n" for line in lines)
    return inventories.parse(text, "hosts.yaml", folder)


def resources(stack: Stack) -> list[Resource]:
    secrets = {one.name: Secret(one.name, f"the {one.name[7:]}") for one in second_copy_s3.declared(stack)}
    vault = Vault(secrets, {}, "authority")
    return [*second_copy.copying(stack, stack.hosts["bak1"], vault), *second_copy.first_copy(stack)]


def file(stack: Stack, path: str) -> File:
    (found,) = [one for one in resources(stack) if isinstance(one, File) and one.path == path]
    return found


@pytest.mark.parametrize(
    ("to", "lines", "error"),
    [
        ("s3://B_ad/x", [], ":8: backup.second_copy.to: must be s3://bucket/prefix"),
        ("s3://bucket/a/../b", [], ":8: backup.second_copy.to: must be s3://bucket/prefix"),
        ("s3:bucket", [], ":8: backup.second_copy.to: must be s3://bucket/prefix"),
        ("bucket/prefix", [], ":8: backup.second_copy.to: must be user@host:path, such as"),
        (
            "s3://b-1/x",
            ["port: 22"],
            ":9: backup.second_copy.port: is only for a copy at user@host:path, and this one is",
        ),
        ("s3://b-1/x", [f"host_key: {KEY}"], ":9: backup.second_copy.host_key: is only for a copy at user@host:path"),
        (
            "s3://b-1/x",
            ["endpoint: http://a.b"],
            ":9: backup.second_copy.endpoint: must be a URL without a path that be",
        ),
        ("s3://b-1/x", ["endpoint: https://a.b/c"], ":9: backup.second_copy.endpoint: must be a URL without a path"),
        ("s3://b-1/x", ["endpoint: https://a.b:0"], ":9: backup.second_copy.endpoint: must be a URL without a path"),
        ("s3://b-1/x", ["ca: none.pem"], ":9: backup.second_copy.ca: no such file: none.pem"),
        ("b@nas:x", [f"host_key: {KEY}", "region: eu"], ":10: backup.second_copy.region: is only for a copy at s3://"),
        ("b@nas:x", [], ":8: backup.second_copy.to: the host needs host_key, its public host key"),
    ],
)
def test_keys_that_do_not_fit_are_an_error_with_its_line(to: str, lines: list[str], error: str) -> None:
    with pytest.raises(PlainstackError) as raised:
        parse(*lines, to=to)
    assert f"hosts.yaml{error}" in str(raised.value)


def test_the_authority_of_the_endpoint_reaches_the_backup_host(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    with pytest.raises(PlainstackError, match=r"hosts\.yaml:9: backup\.second_copy\.ca: ca\.pem holds no certificate"):
        parse("ca: ca.pem", folder=tmp_path)
    authority = signing.authority("test", datetime.now(UTC))
    (tmp_path / "ca.pem").write_text(authority["key"] + authority["chain"])
    stack = parse("ca: ca.pem", folder=tmp_path)
    assert file(stack, second_copy_s3.CA).content.decode() == authority["chain"]
    assert json.loads(file(stack, "/etc/plainstack/second-copy.json").content)["ca"] == second_copy_s3.CA


def test_the_credentials_are_secrets_that_a_person_sets_and_only_barman_reads() -> None:
    stack = parse()
    assert [one.name for one in second_copy_s3.declared(stack)] == [
        "backup/s3_access_key_id",
        "backup/s3_secret_access_key",
    ]
    assert not list(second_copy_s3.declared(parse(f"host_key: {KEY}", to="b@nas:x")))
    found = file(stack, second_copy_s3.CREDENTIALS)
    assert (found.mode, found.owner, found.secret) == (0o600, "barman", True)
    assert json.loads(found.content) == {
        "access_key_id": "the s3_access_key_id",
        "secret_access_key": "the s3_secret_access_key",
    }
    # A new value makes the deploy try again.
    (command,) = [one for one in resources(stack) if isinstance(one, Command) and one.name == "second copy"]
    assert f"-nt ${{ROOT:-}}{second_copy_s3.CREDENTIALS} ]" in str(command.unless)


def test_the_backup_host_gets_what_it_needs_for_a_bucket_and_no_ssh_key() -> None:
    stack = parse("endpoint: https://s3.example.com/", "region: eu-1", "bandwidth: 50M")
    found = json.loads(file(stack, "/etc/plainstack/second-copy.json").content)
    assert {name: found[name] for name in ("kind", "bucket", "prefix", "endpoint", "region", "bandwidth", "ca")} == {
        "kind": "s3",
        "bucket": "example-backups",
        "prefix": "shop",
        "endpoint": "https://s3.example.com",
        "region": "eu-1",
        "bandwidth": 6103,
        "ca": "/etc/ssl/certs/ca-certificates.crt",
    }
    assert Package(name="python3-s3transfer") in resources(stack)
    assert not any("ssh" in str(one) for one in resources(stack) if isinstance(one, (Command, Package)))
    with pytest.raises(Refused, match=r"needs no SSH key; .*: inv secrets\.set backup/s3_access_key_id"):
        second_copy.machine(stack)


def test_a_bucket_may_be_used_as_a_whole() -> None:
    copy = parse(to="s3://example-backups").settings(Backup).second_copy
    assert copy
    assert (copy.place, copy.where) == (Bucket("example-backups", ""), "example-backups")
