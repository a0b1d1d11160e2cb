"""Requirements without a wheel: built once on this machine from the source that the lock names, or explained."""

from __future__ import annotations

import hashlib
import io
import platform
import sys
import tarfile
from pathlib import Path

import pytest

from plainstack.errors import PlainstackError
from plainstack.services import wheels
from plainstack.services.sdists import unsuitable
from tests.unit.services.test_requirements import index, wheel

pytestmark = pytest.mark.programs

__all__ = ["index"]

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"

# A build backend that needs no other package. The source of the package decides how the build ends.
BACKEND = """
import hashlib, sys, zipfile
def build_wheel(folder, config_settings=None, metadata_directory=None):
    exec(open("act.py").read())
    name = "NAME-1-TAG.whl"
    with zipfile.ZipFile(f"{folder}/{name}", "w") as archive:
        archive.writestr("NAME.py", "")
        archive.writestr("NAME-1.dist-info/METADATA", "Metadata-Version: 2.1\\nName: NAME\\nVersion: 1\\nNEEDS")
        archive.writestr("NAME-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nTag: TAG\\n")
        archive.writestr("NAME-1.dist-info/RECORD", "")
    return name
"""


def source(folder: Path, name: str, act: str = "", tag: str = "py3-none-any", needs: str = "") -> str:
    """Make the source of a package; return its line for a lock."""
    path = folder / f"{name}-1.tar.gz"
    backend = BACKEND.replace("NAME", name).replace("TAG", tag).replace("NEEDS", needs)
    files = {
        "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n",
        "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
        "backend.py": backend,
        "act.py": act,
    }
    with tarfile.open(path, "w:gz") as archive:
        for inside, text in files.items():
            member = tarfile.TarInfo(f"{name}-1/{inside}")
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return f"{name}==1 --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


def resolve(lock: str, folder: Path) -> tuple[dict[str, bytes], list[str]]:
    """Return what a host gets for a lock, and what was reported."""
    from plainstack.engine.resources import Payload

    path = folder / "requirements.txt"
    path.write_text(lock)
    said: list[str] = []
    payload = Payload(files=(("requirements.txt", str(path)),), requirements="requirements.txt")
    return dict(wheels.resolve(payload, folder / "cache", said.append, platform.machine())), said


def failure(lock: str, folder: Path) -> str:
    with pytest.raises(PlainstackError) as error:
        resolve(lock, folder)
    return str(error.value)


def test_a_source_is_built_once_and_hosts_install_the_wheel_by_its_own_hash(index: Path, tmp_path: Path) -> None:
    good = wheel(index, "good", "1")
    count = tmp_path / "count"
    built = source(index, "pure", act=f"open({str(count)!r}, 'a').write('x')")
    sent, said = resolve(f"{good}{built}", tmp_path)
    assert set(sent) == {"requirements.txt", "wheels/good-1-py3-none-any.whl", "wheels/pure-1-py3-none-any.whl"}
    digest = hashlib.sha256(sent["wheels/pure-1-py3-none-any.whl"]).hexdigest()
    assert sent["requirements.txt"].decode() == f"{good}pure==1 --hash=sha256:{digest}\n"
    assert [one for one in said if one.startswith("building the wheel of pure==1")]
    # Another lock with the same requirement needs no other build, and the same lock does not even ask pip.
    assert resolve(f"{good}{built}", tmp_path) == (sent, [])
    again, _ = resolve(built, tmp_path)
    assert again["wheels/pure-1-py3-none-any.whl"] == sent["wheels/pure-1-py3-none-any.whl"]
    assert count.read_text() == "x"


def test_failed_builds_are_reported_with_their_last_output_and_all_other_errors(index: Path, tmp_path: Path) -> None:
    lock = source(index, "bad", act="raise RuntimeError('pg_config is missing')") + source(index, "fine")
    lock += "gone==1 --hash=sha256:" + "0" * 64 + "\n"
    said = failure(lock, tmp_path)
    path = tmp_path / "requirements.txt"
    assert f"{path}:1: bad==1 has no wheel for Python 3.13 on {platform.machine()}, and its source could not" in said
    assert "pg_config is missing" in said
    assert f"{path}:3: gone==1: the package index has neither a wheel for Python 3.13" in said
    assert "fine==1" not in said


def test_a_source_with_another_hash_is_not_built(index: Path, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    source(index, "pure", act=f"open({str(mark)!r}, 'w')")
    assert "HASHES" in failure("pure==1 --hash=sha256:" + "0" * 64 + "\n", tmp_path)
    assert not mark.exists()


def test_dependencies_of_a_built_wheel_must_be_in_the_lock(index: Path, tmp_path: Path) -> None:
    said = failure(source(index, "pure", needs="Requires-Dist: other>=2\\n"), tmp_path)
    assert "pure==1 needs other>=2, which the lock does not contain" in said


def test_compiled_code_for_another_python_is_refused_with_the_requirements_to_build_it(
    index: Path, tmp_path: Path
) -> None:
    said = failure(source(index, "fast", tag=f"cp39-cp39-linux_{platform.machine()}"), tmp_path)
    assert "fast==1 has no wheel" in said
    assert f"only a Linux machine with {platform.machine()}, Python 3.13 and glibc 2.41 or older can build it" in said


@pytest.mark.parametrize(
    ("wheel_name", "arch", "fits"),
    [
        ("a-1-py3-none-any.whl", "x", True),
        ("a-1-py2.py3-none-any.whl", "x", True),
        ("a-1-1-py3-none-any.whl", "x", True),
        (f"a-1-cp313-cp313-linux_{platform.machine()}.whl", platform.machine(), False),
        (f"a-1-py3-none-linux_{platform.machine()}.whl", platform.machine(), True),
        (f"a-1-cp38-abi3-linux_{platform.machine()}.whl", platform.machine(), True),
        (f"a-1-py3-none-linux_{platform.machine()}.whl", "sparc", False),
        ("a-1-cp311-none-any.whl", "x", False),
    ],
)
def test_a_built_wheel_is_used_only_where_it_runs(wheel_name: str, arch: str, fits: bool) -> None:
    assert (unsuitable(wheel_name, "3.13", arch, "3.11") == "") == fits
    assert unsuitable(wheel_name, "3.13", arch, "3.13") == "" or arch == "sparc"


def test_compiled_code_from_a_machine_with_a_newer_c_library_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"a-1-cp313-cp313-linux_{platform.machine()}.whl"
    for libc, fits in (
        (("glibc", "2.41"), True),
        (("glibc", "2.42"), False),
        (("", ""), False),
        (("glibc", "3"), False),
    ):
        monkeypatch.setattr(platform, "libc_ver", lambda found=libc: found)
        assert (unsuitable(name, "3.13", platform.machine(), "3.13") == "") == fits
