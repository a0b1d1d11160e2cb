"""The files that the lab writes: on its hosts, for its proxy and for the operator."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from plainstack.lab import access, cgroup, disk, image, proxy
from plainstack.lab.mirror import Mirrors
from plainstack.lab.model import Lab, LabHost
from plainstack.lab.of_inventory import of
from tests import inventories

LB = LabHost("lb1", "192.168.57.16", "192.168.3.231")
DB = LabHost("db1", "192.168.57.11")
LAB = Lab("shop", (DB, LB), Path("state"), user_keys=("ssh-ed25519 BBBB me",))
MIRRORS = Mirrors("https://mirror.test:8443/debian", "http://security.test/debian-security")
FOLDER = Path(disk.__file__).parent


def test_a_host_gets_the_expected_files() -> None:
    files = disk.files(LAB, LB, "ssh-ed25519 AAAA operator")
    assert files["etc/hostname"] == (0o644, "lb1\n")
    assert files["root/.ssh/authorized_keys"] == (0o600, "ssh-ed25519 AAAA operator\nssh-ed25519 BBBB me\n")
    assert "Name=host0\n[Network]\nAddress=192.168.57.16/24\n" in files["etc/systemd/network/10-private.network"][1]
    assert "Name=public0\n[Network]\nAddress=192.168.3.231/24\n" in files["etc/systemd/network/10-public.network"][1]
    assert '"http://192.168.57.1:3142/"' in files["etc/apt/apt.conf.d/10-lab"][1]


def test_a_host_without_a_public_address_has_one_network() -> None:
    assert "etc/systemd/network/10-public.network" not in disk.files(LAB, DB, "")


def test_an_ordinary_user_has_an_account_and_passwordless_sudo_on_every_host() -> None:
    files = disk.files(Lab("shop", (DB,), Path("state"), user="ops"), DB, "ssh-ed25519 AAAA operator")
    assert files["etc/sudoers.d/lab-ops"] == (0o440, "ops ALL=(ALL:ALL) NOPASSWD: ALL\n")
    assert "useradd --create-home --shell /bin/bash ops" in files["etc/systemd/system/ssh.service.d/10-lab.conf"][1]


def test_a_host_without_ipv6_has_no_ipv6_on_any_interface() -> None:
    without = LabHost("lb1", LB.address, LB.public, ipv6=False)
    files = disk.files(LAB, without, "")
    assert "net.ipv6.conf.all.disable_ipv6 = 1" in files["etc/sysctl.d/99-lab.conf"][1]
    assert "::1" not in files["etc/hosts"][1]
    networks = [content for name, (_, content) in files.items() if name.endswith(".network")]
    assert [("LinkLocalAddressing=no" in one, "LinkLocalAddressing=ipv6" in one) for one in networks] == [
        (True, False),
        (True, False),
    ]
    assert "etc/sysctl.d/99-lab.conf" not in disk.files(LAB, LB, "")


def test_a_host_resolves_the_given_names() -> None:
    visitor = LabHost("pc", "192.168.57.50", names=(("shop.test", "192.168.3.230"), ("shop.test", "192.168.3.231")))
    lines = disk.files(LAB, visitor, "")["etc/hosts"][1].splitlines()
    assert lines[-2:] == ["192.168.3.230 shop.test", "192.168.3.231 shop.test"]


def test_a_host_asks_the_given_dns_server() -> None:
    visitor = LabHost("pc", "192.168.57.50", resolver="fd00::53")
    assert disk.files(LAB, visitor, "")["etc/resolv.conf"][1].splitlines()[-1] == "nameserver fd00::53"
    assert "etc/resolv.conf" not in disk.files(LAB, LB, "")


def test_a_visitor_has_the_sites_names_unless_it_has_a_resolver(tmp_path: Path) -> None:
    text = (
        "stack: shop\nssh: {gateway: lab}\nhosts: {lb1: {address: 192.168.57.16, roles: [app, balancer, db]}}\n"
        f"services: {{web: {inventories.incidents()}}}\ndatabase: {{name: shop}}\n"
        "balancer: {server_names: [shop.test]}\n"
        "lab: {visitors: {pc: {address: 192.168.57.50}, own: {address: 192.168.57.51, resolver: 192.168.57.53}}}\n"
    )
    found = {host.name: host for host in of(inventories.parse(text, "hosts.yaml", tmp_path)).hosts}
    assert (found["pc"].names, found["pc"].resolver) == ((("shop.test", "192.168.57.16"),), None)
    assert (found["own"].names, found["own"].resolver) == ((), "192.168.57.53")


def test_an_older_sshd_is_not_given_unknown_options() -> None:
    def settings(release: int) -> str:
        return disk.files(LAB, LabHost("db1", "192.168.57.11", release=release), "")[
            "etc/ssh/sshd_config.d/10-lab.conf"
        ][1]

    assert "PerSourcePenalties" in settings(13)
    assert "PerSourcePenalties" not in settings(12)
    assert "MaxStartups 100" in settings(12)


@pytest.fixture
def fresh(tmp_path: Path) -> disk.Disk:
    base = tmp_path / "image"
    for folder, mode in {"etc/ssh": 0o755, "root": 0o700, "etc/apt/apt.conf.d": 0o750}.items():
        (base / folder).mkdir(parents=True)
        (base / folder).chmod(mode)
    made = disk.Disk(tmp_path / "db1")
    disk.make(made, base)
    return made


@pytest.mark.programs
def test_a_disk_keeps_the_modes_of_its_image(fresh: disk.Disk) -> None:
    disk.write(fresh, disk.files(LAB, DB, "ssh-ed25519 AAAA operator"))
    modes = {path: (fresh.upper / path).stat().st_mode & 0o777 for path in ("etc", "root", "etc/apt/apt.conf.d")}
    assert modes == {"etc": 0o755, "root": 0o700, "etc/apt/apt.conf.d": 0o750}
    assert (fresh.upper / "root/.ssh").stat().st_mode & 0o777 == 0o700
    assert (fresh.upper / "etc/ssh/ssh_host_ed25519_key").stat().st_mode & 0o777 == 0o600


@pytest.mark.programs
def test_a_disk_keeps_the_files_that_were_written_to_it(fresh: disk.Disk) -> None:
    files = disk.files(LAB, DB, "ssh-ed25519 AAAA operator")
    assert not disk.current(fresh, files)
    disk.write(fresh, files)
    assert disk.current(fresh, files)
    assert not disk.current(fresh, disk.files(LAB, DB, "ssh-ed25519 CCCC another"))


@pytest.mark.programs
def test_a_host_that_had_no_ipv6_gets_it_back(fresh: disk.Disk) -> None:
    without = LabHost("db1", DB.address, ipv6=False)
    disk.write(fresh, disk.files(LAB, without, ""))
    assert (fresh.upper / "etc/sysctl.d/99-lab.conf").read_text() != ""
    disk.write(fresh, disk.files(LAB, DB, ""))
    assert (fresh.upper / "etc/sysctl.d/99-lab.conf").read_text() == ""


@pytest.mark.programs
def test_a_host_whose_resolver_was_removed_asks_none_but_keeps_one_of_its_own(fresh: disk.Disk) -> None:
    place = fresh.upper / "etc/resolv.conf"
    disk.write(fresh, disk.files(LAB, LabHost("db1", DB.address, resolver="192.168.57.53"), ""))
    assert "nameserver 192.168.57.53" in place.read_text()
    disk.write(fresh, disk.files(LAB, DB, ""))
    assert place.read_text() == ""
    place.write_text("nameserver 192.168.57.54\n")
    disk.write(fresh, disk.files(LAB, DB, ""))
    assert place.read_text() == "nameserver 192.168.57.54\n"


def test_an_incomplete_disk_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "half").mkdir()
    assert not disk.Disk(tmp_path).exists


@pytest.mark.programs
def test_the_operator_key_is_created_once(tmp_path: Path) -> None:
    lab = Lab("shop", (DB,), tmp_path / "lab")
    key = access.operator_key(lab)
    assert key.startswith("ssh-ed25519 ")
    assert access.operator_key(lab) == key
    (tmp_path / "lab" / "id_ed25519").unlink()
    assert access.operator_key(lab) != key


def test_the_pins_name_every_host_with_its_key() -> None:
    assert access.known_hosts({"192.168.57.11": "ssh-ed25519 AAAA root@x"}) == "192.168.57.11 ssh-ed25519 AAAA\n"


@pytest.mark.programs
def test_the_ssh_config_has_the_syntax_of_ssh(tmp_path: Path) -> None:
    lab = Lab("shop", (DB, LB), tmp_path / "a b", user="ops")
    (tmp_path / "config").write_text(access.ssh_config(lab))
    command = ["ssh", "-G", "-F", str(tmp_path / "config"), "lb1"]
    seen = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert "hostname 192.168.57.16" in seen
    assert "user ops" in seen
    assert "stricthostkeychecking true" in seen
    assert "kexalgorithms curve25519-sha256" in seen
    assert f"identityfile {tmp_path}/a b/id_ed25519" in seen
    assert "proxycommand nsenter --net=/run/netns/plainstack-shop socat - TCP:%h:%p,nodelay" in seen


def test_the_proxy_forwards_only_to_the_mirrors() -> None:
    text = proxy.config(MIRRORS)
    assert text.count("proxy_pass ") == 4
    assert text.count("proxy_pass https://mirror.test:8443;") == 2
    assert text.count("proxy_pass http://security.test;") == 2
    assert text.count("listen ") == text.count("listen unix:/run/plainstack-lab/.apt/socket") == 3
    assert "return 403" in text


def test_the_image_is_named_after_its_recipe() -> None:
    assert image.path(MIRRORS) == image.path(MIRRORS)
    assert image.path(MIRRORS) != image.path(Mirrors("http://other.test/debian", MIRRORS.security))
    assert image.path(MIRRORS) == image.path(MIRRORS, 13)


def test_hosts_with_other_packages_have_another_image() -> None:
    one, both = (image.path(MIRRORS, packages=names) for names in (("perl",), ("perl", "curl")))
    assert len({image.path(MIRRORS), one, both}) == 3
    assert image.path(MIRRORS, packages=("curl", "perl")) == both


@pytest.mark.parametrize(("release", "suite"), [(12, "bookworm"), (13, "trixie")])
def test_the_release_of_an_image_is_known(release: int, suite: str) -> None:
    assert image.path(MIRRORS, release).name.startswith(f"{suite}-")
    assert image.release_of(image.path(MIRRORS, release)) == release


@pytest.mark.parametrize(
    ("mounts", "place"),
    [
        ("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\ncgroup2 /var/lib/x/sys/fs/cgroup cgroup2 rw 0 0", "/sys/fs/cgroup"),
        ("tmpfs /sys/fs/cgroup tmpfs rw 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0", "/sys/fs/cgroup/unified"),
        ("cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0", None),
    ],
)
def test_the_mount_point_of_the_control_groups_is_found(mounts: str, place: str | None) -> None:
    assert cgroup.mount_point(mounts) == (Path(place) if place else None)


@pytest.mark.programs
def test_the_host_script_is_valid_shell() -> None:
    subprocess.run(["sh", "-n", str(FOLDER / "host.sh")], check=True)


@pytest.mark.programs
def test_entering_a_network_namespace_imports_no_heavy_modules() -> None:
    code = "import sys, plainstack.ssh.netns; print(*sys.modules)"
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"ipaddress", "subprocess", "ctypes", "json", "pydantic", "plainstack.lab.model"}.intersection(seen)


@pytest.mark.programs
def test_git_ignores_the_key_of_a_lab(tmp_path: Path) -> None:
    state = tmp_path / ".plainstack/shop/lab"
    assert access.operator_key(Lab("shop", (DB,), state)).startswith("ssh-ed25519 ")
    ignore = tmp_path / ".plainstack/.gitignore"
    assert ignore.read_text(encoding="utf-8") == "*\n"
    # Older versions left the file out.
    ignore.unlink()
    access.operator_key(Lab("shop", (DB,), state))
    assert ignore.exists()
