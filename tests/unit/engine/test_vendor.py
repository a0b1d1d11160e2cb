"""A vendor's package source: which keys are accepted, and how the real apt judges a source of local files."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from plainstack.engine.apt_source import vendor_source
from plainstack.engine.resources import File, Package, Validation
from plainstack.inventory import openpgp
from tests.waiting import PATIENCE

RECORDED = Path(__file__).parents[1] / "recorded/apt"
BINARY = (RECORDED / "signer.gpg").read_bytes()
ARMORED = (RECORDED / "signer.asc").read_bytes()
SECRET_PACKET = b"\x95\x00\x03\x04\x00\x00"
SIGNATURE_PACKET = b"\x88\x03\x04\x00\x00"


def crlf(text: bytes) -> bytes:
    return text.replace(b"\n", b"\r\n")


@pytest.mark.parametrize("key", [BINARY, ARMORED, crlf(ARMORED), BINARY + BINARY, ARMORED + ARMORED])
def test_a_public_key_is_accepted_in_both_formats(key: bytes) -> None:
    assert openpgp.problem_of(key) == ""


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"<!DOCTYPE html>\n<html><body>404</body></html>\n", "is a web page"),
        (b'\n  <?xml version="1.0"?><Error/>', "is a web page"),
        (b'{"error": "not found"}', "is not an OpenPGP public key"),
        (b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA== me\n", "is not an OpenPGP public key"),
        (b"\x1f\x8b\x08\x00" + b"x" * 100, "is not an OpenPGP public key"),
        (
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "is not a complete OpenPGP public key block",
        ),
        (b"\x00\x00\x00\x20\x01\x01\x00\x02KBXf" + b"\x00" * 20, "is a keybox"),
        (SECRET_PACKET, "is a private key"),
        (b"-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nlQ==\n-----END PGP PRIVATE KEY BLOCK-----\n", "is a private key"),
        (SIGNATURE_PACKET, "is not an OpenPGP public key"),
        (BINARY[:-1], "is a truncated OpenPGP key"),
        (BINARY + b"\n<!-- cached -->", "has extra data after its OpenPGP key"),
        (ARMORED[:-30], "is not a complete OpenPGP public key block"),
        (ARMORED.replace(b"m", b"?"), "damaged"),
        (b"The key of a vendor:\n\n" + ARMORED, "does not begin with the line -----BEGIN PGP PUBLIC KEY BLOCK-----"),
        (b"\xef\xbb\xbf" + ARMORED, "does not begin with the line -----BEGIN PGP PUBLIC KEY BLOCK-----"),
    ],
)
def test_a_file_that_is_not_a_public_key_is_refused_with_its_type(key: bytes, problem: str) -> None:
    assert problem in openpgp.problem_of(key)


def test_a_truncated_key_is_never_accepted() -> None:
    """A key file consists of packets (the key, its signatures), so only a cut between two packets can leave a key."""
    whole = {len(key) for key in (BINARY[:size] for size in range(1, len(BINARY) + 1)) if not openpgp.problem_of(key)}
    assert len(BINARY) in whole
    assert len(whole) <= 3


def resources(folder: Path, key: bytes, uri: str = "https://packages.example.com/debian") -> dict[str, object]:
    (folder / "given.key").write_bytes(key)
    return {item.key: item for item in vendor_source("example", uri, "trixie", folder / "given.key", "some.key")}


@pytest.mark.parametrize(("key", "suffix"), [(BINARY, "gpg"), (ARMORED, "asc")])
def test_the_source_names_its_key_and_both_exist_before_apt_runs(tmp_path: Path, key: bytes, suffix: str) -> None:
    wanted = resources(tmp_path, key)
    keyring = wanted[f"file /etc/apt/keyrings/example.{suffix}"]
    source = wanted["file /etc/apt/sources.list.d/example.sources"]
    assert isinstance(keyring, File)
    assert isinstance(source, File)
    assert keyring.content == key
    assert keyring.early
    assert source.early
    assert f"Signed-By: {keyring.path}\n" in source.content.decode()
    # apt needs this package for a source over https.
    assert wanted["package ca-certificates"] == Package(name="ca-certificates")


def test_updates_from_an_added_source_are_installed_automatically(tmp_path: Path) -> None:
    """apt must read the source's file after that of the base role, which empties the list of origins."""
    updates = resources(tmp_path, BINARY)["file /etc/apt/apt.conf.d/53plainstack-example"]
    assert isinstance(updates, File)
    assert '"site=packages.example.com";' in updates.content.decode()
    base = "52plainstack-unattended-upgrades"
    assert base < Path(updates.path).name


def verify(folder: Path, key: bytes, repository: Path) -> subprocess.CompletedProcess[str]:
    """Run the validation with the real apt on a source of local files, with a separate /etc/apt."""
    wanted = resources(folder, key, f"file:{repository}")
    for item in wanted.values():
        if isinstance(item, File):
            there = folder / item.path.removeprefix("/")
            there.parent.mkdir(parents=True, exist_ok=True)
            there.write_bytes(item.content)
    check = wanted["validation package source example"]
    assert isinstance(check, Validation)
    (folder / "check.sh").write_text(check.run)
    (folder / "temporary").mkdir(mode=0o755)
    script = f"mount --bind {folder}/etc/apt /etc/apt && exec sh -eu {folder}/check.sh"
    return subprocess.run(
        ["unshare", "--mount", "sh", "-c", script],
        env={**os.environ, "LC_ALL": "C", "TMPDIR": str(folder / "temporary")},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Return a signed repository without packages."""
    # apt reads the repository as another user.
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents:
        if parent.owner() == "root" and parent.name.startswith("pytest-"):
            parent.chmod(0o755)
    lists = tmp_path / "repository/dists/trixie"
    lists.mkdir(parents=True)
    shutil.copy(RECORDED / "InRelease", lists)
    for architecture in ("all", "amd64", "arm64"):
        (lists / f"main/binary-{architecture}").mkdir(parents=True)
        (lists / f"main/binary-{architecture}/Packages").touch()
    return tmp_path / "repository"


real_apt = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("apt-get"), reason="needs root and apt, and a mount namespace"
)


@pytest.mark.programs
@real_apt
@pytest.mark.parametrize("key", [BINARY, ARMORED])
def test_a_source_signed_with_its_key_passes_and_leaves_nothing_behind(
    tmp_path: Path, repository: Path, key: bytes
) -> None:
    ran = verify(tmp_path, key, repository)
    assert (ran.returncode, ran.stdout) == (0, ""), ran.stderr
    assert not list((tmp_path / "temporary").iterdir())


@pytest.mark.programs
@real_apt
@pytest.mark.parametrize(
    ("key", "breakage", "reason"),
    [
        ("stranger.gpg", "", "signature"),
        ("signer.gpg", "changed", "signature"),
        ("signer.gpg", "unsigned", "not signed"),
        ("signer.gpg", "gone", "File not found"),
    ],
)
def test_a_source_that_cannot_be_verified_is_an_error_with_the_message_of_apt(
    tmp_path: Path, repository: Path, key: str, breakage: str, reason: str
) -> None:
    release = repository / "dists/trixie/InRelease"
    if breakage == "changed":
        release.write_text(release.read_text().replace("Label: Example", "Label: Someone"))
    elif breakage == "unsigned":
        lines = release.read_text().split("\n\n", 1)[1].split("-----BEGIN PGP SIGNATURE-----")[0]
        release.with_name("Release").write_text(lines)
        release.unlink()
    elif breakage == "gone":
        shutil.rmtree(repository)
    ran = verify(tmp_path, (RECORDED / key).read_bytes(), repository)
    assert ran.returncode == 1
    assert reason in ran.stdout, ran.stdout
    assert ran.stdout.splitlines()[-1] == (
        f"the package source file:{repository} cannot be read or verified; its key is some.key"
    )
