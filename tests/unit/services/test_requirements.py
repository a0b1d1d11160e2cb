"""Requirements that no host could install are reported on the operator's machine, with their line and what to type."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plainstack.errors import PlainstackError
from plainstack.services import requirements, wheels

HASH = f"--hash=sha256:{'0' * 64}"
NEEDED = {"gunicorn": "which runs the service"}


def problems(lock: str | bytes) -> list[str]:
    content = lock if isinstance(lock, bytes) else lock.encode()
    return list(requirements.problems(content, "r.txt", NEEDED, "3.13"))


@pytest.mark.parametrize(
    "lock",
    [
        f"gunicorn==27.0.1 {HASH}\n",
        f"gunicorn==27.0.1 {HASH}",
        f"Gunicorn==27.0.1 \\\n    {HASH} \\\n    {HASH}\n    # via -r requirements.in\n",
        f"gunicorn[gthread]==27.0.1 ; sys_platform == 'linux' {HASH}\r\n",
        f"\ufeffgunicorn == 27.0.1 {HASH}\n",
        f"gunicorn===27.0.1 --hash sha512:{'0' * 128}\n",
        f"--index-url https://pypi.example/simple\n--trusted-host pypi.example\ngunicorn==1!2.post1+local {HASH}\n",
        # A requirement for other systems need not be installable on hosts.
        f"gunicorn==27.0.1 {HASH}\npywin32 ; sys_platform == 'win32'\n",
        f"gunicorn==1 ; python_version < '3.13' {HASH}\ngunicorn==2 ; python_version >= '3.13' {HASH}\n",
    ],
)
def test_output_of_pip_compile_and_uv_is_accepted(lock: str) -> None:
    assert problems(lock) == []


@pytest.mark.parametrize(
    ("line", "reported"),
    [
        (f"django>=5.2 {HASH}", "r.txt:2: django>=5.2 is not pinned to one version"),
        (f"django {HASH}", "r.txt:2: django is not pinned"),
        (f"django==5.* {HASH}", "r.txt:2: django==5.* is not pinned"),
        (f"django==5.2,<6 {HASH}", "is not pinned"),
        (f"django~=5.2 {HASH}", "is not pinned"),
        ("django==5.2", "r.txt:2: django==5.2 has no --hash"),
        ("django==5.2 --hash=md5:00", "r.txt:2: django==5.2 has no --hash"),
        ("-r base.txt", "r.txt:2: -r base.txt: other files are not sent to hosts. Put all requirements into one lock"),
        ("-rbase.txt", "other files are not sent to hosts"),
        ("--constraint=c.txt", "other files are not sent to hosts"),
        ("-e .", "r.txt:2: -e .: would have to be built on the host"),
        ("--no-binary :all:", "requirements without a wheel are built on this machine"),
        (f"shop @ https://example.org/shop.whl {HASH}", "is not a package from an index. Hosts install only wheels"),
        (f"git+https://example.org/shop.git@1 {HASH}", "is not a package from an index"),
        ("./shop", "r.txt:2: ./shop: is not a package from an index"),
        ("https://example.org/shop.whl", "is not a package from an index"),
        (f"gunicorn==26 {HASH}", "r.txt:2: gunicorn is pinned to 26, and on line 1 to 27.0.1"),
        (f"django==5 ; python_versio < '3' {HASH}", "r.txt:2: django==5 ; python_versio < '3': the marker after ';'"),
    ],
)
def test_a_requirement_that_no_host_can_install_is_reported_with_its_line(line: str, reported: str) -> None:
    found = problems(f"gunicorn==27.0.1 {HASH}\n{line}\n")
    assert reported in "\n".join(found)
    assert all(one.startswith("r.txt:") for one in found)


def test_packages_that_run_the_service_must_be_in_the_lock() -> None:
    found = problems(f"django==5.2 {HASH}\n")
    assert found == [
        "r.txt: has no gunicorn, which runs the service. Add gunicorn to r.in",
        "r.txt: make the lock again: uv pip compile --generate-hashes --python-version 3.13 r.in -o r.txt",
    ]
    assert problems(f"gunicorn==1 ; sys_platform == 'win32' {HASH}\n")[0].startswith("r.txt: has no gunicorn")
    assert problems("")[0].startswith("r.txt: has no gunicorn")


def test_a_lock_without_hashes_is_one_error() -> None:
    found = problems("gunicorn==1\n" + "".join(f"p{number}==1\n" for number in range(200)))
    assert found[0] == "r.txt: no requirement in it has a --hash, which hosts need to verify what they install"
    assert len(found) == 2


def test_many_errors_of_one_kind_are_counted_and_shortened() -> None:
    found = problems(f"gunicorn==1 {HASH}\n" + "".join(f"p{number}\n" for number in range(200)))
    assert len(found) < 12
    assert "r.txt: 192 more of this kind" in found


def test_a_binary_file_is_reported() -> None:
    """PowerShell encodes redirected output in UTF-16."""
    assert problems("gunicorn==1\n".encode("utf-16")) == ["r.txt: is not UTF-8 text. Make the lock again"]


@given(st.text() | st.text(alphabet="ab=<>-; \\#\n'@[]./:0").map(lambda text: f"gunicorn{text}"))
def test_any_text_at_all_is_either_accepted_or_described(text: str) -> None:
    assert all(one.startswith("r.txt:") for one in problems(text.encode("utf-8", "replace")))


# --- with the real pip, and a folder as its index ---


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return folder


def wheel(folder: Path, name: str, version: str, *needs: str, tag: str = "py3-none-any") -> str:
    """Make a wheel; return its line for a lock."""
    path = folder / f"{name}-{version}-{tag}.whl"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    metadata += "".join(f"Requires-Dist: {one}\n" for one in needs)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.py", "")
        archive.writestr(f"{name}-{version}.dist-info/METADATA", metadata)
        archive.writestr(f"{name}-{version}.dist-info/WHEEL", f"Wheel-Version: 1.0\nTag: {tag}\n")
        archive.writestr(f"{name}-{version}.dist-info/RECORD", "")
    return f"{name}=={version} --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


def fetch(lock: str, folder: Path) -> list[str]:
    path = folder / "requirements.txt"
    path.write_text(lock)
    found = wheels.wheelhouse(lock.encode(), str(path), folder / "cache", lambda _: None)
    return [one.name for one in found]


@pytest.mark.programs
def test_all_requirements_without_a_wheel_are_named_at_once(index: Path, tmp_path: Path) -> None:
    good = wheel(index, "good", "1")
    wheel(index, "shop", "2")
    other = wheel(index, "other", "1", tag="cp313-cp313-win_amd64")
    neither = "the package index has neither a wheel for Python 3.13 on x86_64 nor the source"
    lock = f"gone==1 {HASH}\n{good}shop==1 {HASH}\n{other}"
    with pytest.raises(PlainstackError) as reported:
        fetch(lock, tmp_path)
    path = tmp_path / "requirements.txt"
    assert str(reported.value).splitlines()[:3] == [
        f"{path}:1: gone==1: {neither} of this name and version. Check both",
        f"{path}:3: shop==1: {neither} of this version. Versions that have a wheel: 2",
        f"{path}:4: other==1: {neither} of this name and version. Check both",
    ]
    assert "pip wheel --no-deps gone==1 -w DIR" in str(reported.value)
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.programs
def test_a_wheel_built_by_hand_is_found_in_the_folder_beside_the_lock(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = wheel(index, "built", "1")
    monkeypatch.delenv("PIP_FIND_LINKS")
    assert fetch(f"--find-links index\n{line}", tmp_path) == ["built-1-py3-none-any.whl"]


@pytest.mark.programs
def test_dependencies_missing_from_the_lock_are_named(index: Path, tmp_path: Path) -> None:
    lock = wheel(
        index,
        "shop",
        "1",
        "missing>=2",
        "db[fast]>=1",
        "windows; sys_platform == 'win32'",
        "tests; extra == 'dev'",
        "old>=3",
    )
    lock += wheel(index, "db", "1", "fast-driver; extra == 'fast'") + wheel(index, "old", "2")
    with pytest.raises(PlainstackError) as reported:
        fetch(lock, tmp_path)
    path = tmp_path / "requirements.txt"
    assert str(reported.value).splitlines()[:3] == [
        f"{path}:1: shop==1 needs missing>=2, which the lock does not contain",
        f"{path}:1: shop==1 needs old>=3, but the lock pins 2",
        f"{path}:2: db==1 needs fast-driver, which the lock does not contain",
    ]
    assert "uv pip compile" in str(reported.value)


@pytest.mark.programs
def test_an_unreachable_index_is_not_reported_as_a_missing_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(PlainstackError) as reported:
        fetch(f"django==5.2 {HASH}\n", tmp_path)
    assert "the package index could not be reached" in str(reported.value)
    assert "has no wheel" not in str(reported.value)
