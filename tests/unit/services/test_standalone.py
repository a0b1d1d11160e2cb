"""A service with a Python that uv downloads: fetched once, sent to hosts, used by the environment, kept and removed."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from plainstack.engine.observed import Observed
from plainstack.engine.plan.actions import HostPlan, Run, Transaction
from plainstack.engine.resources import Command, Directory, File, Payload, Resource, Unit
from plainstack.errors import PlainstackError
from plainstack.inventory.services import PythonService
from plainstack.services import release_pruning, release_steps, standalone, wheels
from plainstack.services.release import Release
from tests.unit.sandbox import Done, Sandbox, build

pytestmark = pytest.mark.programs

# What uv 0.13 does: a folder per installation, and the archive, as it was downloaded, in UV_PYTHON_CACHE_DIR.
UV = """\
#!/bin/sh
echo "$*" >>"{log}"
for word in "$@"; do case $word in --install-dir=*) folder=${{word#*=}} ;; esac; done
case $word in
cpython-3.12-linux-x86_64-gnu | cpython-3.12.7-linux-x86_64-gnu) version=3.12.7 ;;
cpython-3.12.5-linux-x86_64-gnu) version=3.12.5 ;;
cpython-3.14-*) echo 'error: Failed to install' >&2; echo '  cause: Network is unreachable' >&2; exit 1 ;;
*) echo "error: No download found for request: $word" >&2; exit 2 ;;
esac
mkdir -p "$folder/cpython-$version-linux-x86_64-gnu" "$UV_PYTHON_CACHE_DIR"
ln -s "cpython-$version-linux-x86_64-gnu" "$folder/cpython-3.12-linux-x86_64-gnu"
echo "archive of $version" >"$UV_PYTHON_CACHE_DIR/0123abcd-cpython-$version-20260101-x86_64-unknown-linux-gnu.tar.gz"
"""
# Stands for the Python of an archive.
PYTHON = """\
#!/bin/sh
case "$*" in
"-I -c "*)
    [ -z "{fails}" ] || {{ echo 'error while loading shared libraries: libx.so.1' >&2; exit 127; }}
    echo {version}
    ;;
"-m venv "*)
    for venv in "$@"; do :; done
    mkdir -p "$venv/bin"
    ln -s "$0" "$venv/bin/python"
    echo "home = ${{0%/*}}" >"$venv/pyvenv.cfg"
    ;;
esac
"""


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put the stand-in for uv into PATH; return the file with its command lines."""
    program = tmp_path / "bin" / "uv"
    program.parent.mkdir()
    program.write_text(UV.format(log=tmp_path / "log"))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    return tmp_path / "log"


def test_a_python_is_downloaded_once_for_linux_and_the_hosts_architecture(log: Path, tmp_path: Path) -> None:
    said: list[str] = []
    for _ in range(2):
        found = standalone.archive("3.12", "x86_64", tmp_path / "cache", said.append)
        assert found.read_text() == "archive of 3.12.7\n"
    assert said == ["downloading Python 3.12 for x86_64 with uv"]
    (command,) = log.read_text().splitlines()
    assert command.endswith("cpython-3.12-linux-x86_64-gnu")
    assert sorted(path.name for path in (tmp_path / "cache/pythons").iterdir()) == [
        "3.12-x86_64.version",
        "cpython-3.12.7-x86_64.tar.gz",
    ]


@pytest.mark.parametrize(
    ("choice", "arch", "reported"),
    [
        ("3.12.99", "x86_64", "uv knows no such Python for Linux on x86_64. Choose another version"),
        ("3.12", "riscv64", "uv knows no such Python for Linux on riscv64. Choose another version"),
        (
            "3.14",
            "x86_64",
            r"uv cannot download it for Linux on x86_64\. To use a mirror, set(.|\n)*Network is unreachable",
        ),
    ],
)
def test_a_python_that_cannot_be_downloaded_is_reported_with_what_to_do(
    log: Path, tmp_path: Path, choice: str, arch: str, reported: str
) -> None:
    with pytest.raises(PlainstackError, match=rf'python: "{choice}": {reported}'):
        standalone.archive(choice, arch, tmp_path / "cache", lambda _: None)
    assert log.exists()
    assert list((tmp_path / "cache/pythons").iterdir()) == []


def test_a_machine_without_uv_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    with pytest.raises(
        PlainstackError, match=r"with uv, which this machine does not have. Install it \(pip install uv\)"
    ):
        standalone.archive("3.12", "x86_64", tmp_path, lambda _: None)


def test_a_plan_downloads_the_version_that_other_hosts_have(log: Path, tmp_path: Path) -> None:
    run = Run(Command(name="python", why="w", run="true", unless="false", payload=Payload(interpreter="3.12")))
    plans = {"b": HostPlan("b", None, (Transaction("app", (run,)),))}
    seen = {"a": Observed(facts={"arch": "x86_64", "python.3.12": "3.12.5"}), "b": Observed(facts={"arch": "x86_64"})}
    assert wheels.unfetched(plans, seen, tmp_path, lambda _: None) == []
    assert log.read_text().splitlines()[0].endswith("cpython-3.12.5-linux-x86_64-gnu")
    # The deploy that follows sends this one.
    payload = Payload(interpreter="3.12")
    assert wheels.resolve(payload, tmp_path, lambda _: None) == [(standalone.ARCHIVE, b"archive of 3.12.5\n")]


def packed(version: str, fails: str = "") -> bytes:
    """Return an archive as uv downloads it: everything is below the folder python."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        content = PYTHON.format(version=version, fails=fails).encode()
        member = tarfile.TarInfo("python/bin/python3.12")
        member.size, member.mode = len(content), 0o755
        archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def wanted(source: str, python: str) -> Mapping[str, Sequence[Resource]]:
    """Return the resources of a host with a service whose release is `source` and which runs with a Python."""
    service = PythonService.model_validate({"kind": "python", "source": "api", "python": python})
    here = Release(id=source, venv=f"lock-{python}", source=Payload(), wheels=Payload())
    settings = [
        File(path=f"/etc/plainstack/app/api{name}.env", content=b"A=1\n", ahead=name == ".next")
        for name in ("", ".next")
    ]
    folders = [Directory(path=path) for path in ("/srv/api", "/srv/api/releases", "/srv/api/venvs")]
    unit = Unit(name="plainstack-api.service", restart_on=(f"release:{source}",))
    steps = release_steps.put_in_place("api", here, service)
    after = [release_steps.proven("api", here), release_pruning.prune("api")]
    return {"app": [*folders, *settings, *steps, unit, *after]}


def deploy(host: Sandbox, source: str, python: str, archive: bytes = b"") -> Done:
    payloads = {
        "api: release": [("source/asset", source.encode())],
        "api: python": [(standalone.ARCHIVE, archive or packed("3.12.7"))],
    }
    for work in host.plan(wanted(source, python)).transactions:
        runs = {action.command.name for action in work.actions if isinstance(action, Run)}
        done = host.run(build(work, {name: sent for name, sent in payloads.items() if name in runs}))
        if not done.ok:
            break
    return done


@pytest.fixture
def host(tmp_path: Path) -> Sandbox:
    there = Sandbox.new(tmp_path / "host")
    there.write("/systemd/packaged/plainstack-api.service", "")
    return there


def pythons(host: Sandbox) -> list[str]:
    return sorted(path.name for path in (host.root / "srv/api/pythons").iterdir())


def test_a_host_makes_the_environment_with_it_and_keeps_it_as_long_as_a_release_uses_it(host: Sandbox) -> None:
    assert deploy(host, "r0", "3.12").ok
    assert host.plan(wanted("r0", "3.12")).empty
    assert host.read("/srv/api/pythons/3.12/complete") == "3.12.7\n"
    assert f"{host.root}/srv/api/pythons/3.12/bin" in host.read("/srv/api/venvs/lock-3.12/pyvenv.cfg")
    for number in range(1, release_pruning.KEPT):
        assert deploy(host, f"r{number}", "3.12.7").ok
    assert pythons(host) == ["3.12", "3.12.7"]
    assert deploy(host, "r9", "3.12.7").ok
    assert pythons(host) == ["3.12.7"]


@pytest.mark.parametrize(
    ("archive", "reported"),
    [
        (packed("3.12.7", fails="yes"), "libx.so.1\n.*Python 3.12.7 does not run on this host"),
        (packed("3.12.1"), "The Python that was downloaded for 3.12.7 is 3.12.1"),
    ],
)
def test_a_python_that_does_not_fit_the_host_stops_the_deploy_and_leaves_nothing_behind(
    host: Sandbox, archive: bytes, reported: str
) -> None:
    assert deploy(host, "r0", "3.13").ok
    failed = deploy(host, "r1", "3.12.7", archive)
    assert not failed.ok
    for line in reported.split("\n.*"):
        assert line in failed.text
    assert pythons(host) == []
    assert (host.root / "srv/api/current").readlink() == Path("releases/r0")
