"""A host's disk: an overlay on the image, with the few files that differ between hosts."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import uuid
from collections.abc import Sequence
from pathlib import Path

from plainstack.addresses import endpoint
from plainstack.dataclass import dataclass
from plainstack.lab.addressing import with_length
from plainstack.lab.model import APT_PORT, Lab, LabHost
from plainstack.ssh.netns import LabError

Files = dict[str, tuple[int, str]]
_SSHD = """\
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
HostKey /etc/ssh/ssh_host_ed25519_key
{penalties}MaxStartups 100
"""
# The sshd of Debian 12 has no penalties and would reject the keyword.
_NO_PENALTIES = """\
# All connections come from the lab's gateway: a burst of checks must not lock the operator out.
PerSourcePenalties no
"""
_RESOLVER = "etc/resolv.conf"
_RESOLVER_MARK = "# lab.visitors: resolver\n"
_IPV6 = "etc/sysctl.d/99-lab.conf"
_WITHOUT_IPV6 = """\
net.ipv6.conf.all.disable_ipv6 = 1
net.ipv6.conf.default.disable_ipv6 = 1
"""
# The account is created at boot rather than on the disk, because /etc/passwd changes as packages are installed.
_ACCOUNT = """\
[Service]
ExecStartPre=/bin/sh -c 'id {user} >/dev/null 2>&1 || useradd --create-home --shell /bin/bash {user}'
ExecStartPre=/bin/sh -c 'install -d -o {user} -g {user} -m 700 ~{user}/.ssh'
ExecStartPre=/bin/sh -c 'install -o {user} -g {user} -m 600 /root/.ssh/authorized_keys ~{user}/.ssh/'
"""


@dataclass(frozen=True)
class Disk:
    """The paths of one host's disk."""

    folder: Path

    @property
    def upper(self) -> Path:
        """The files that the host wrote."""
        return self.folder / "upper"

    @property
    def image(self) -> Path:
        """The image that the disk was made on, even if the current recipe makes another one."""
        return (self.folder / "image").readlink()

    @property
    def layers(self) -> list[Disk]:
        """The layers that the disk lies on, topmost first."""
        found: list[Disk] = []
        here = self
        while (below := here.folder / "layer").is_symlink():
            here = Disk(below.readlink())
            found.append(here)
        return found

    @property
    def lowers(self) -> list[Path]:
        """The read-only folders below `upper`, topmost first: those of the layers, then the image."""
        return [*(layer.upper for layer in self.layers), self.image]

    @property
    def root(self) -> Path:
        """Where the host's container mounts the disk."""
        return self.folder / "root"

    @property
    def host_key(self) -> str:
        """The host's public SSH key."""
        return (self.folder / "ssh_host_ed25519_key.pub").read_text().strip()

    @property
    def exists(self) -> bool:
        """Whether the disk was made completely."""
        return self.upper.is_dir()


def of(lab: Lab, host: LabHost) -> Disk:
    """Return the disk of a host."""
    return Disk(lab.disks / host.name)


def make(disk: Disk, image: Path) -> None:
    """Make an empty disk on the image."""
    shutil.rmtree(disk.folder, ignore_errors=True)
    for folder in ("half", "work", "root"):
        (disk.folder / folder).mkdir(parents=True)
    disk.folder.chmod(0o700)
    (disk.folder / "image").symlink_to(image)
    generate_key(disk.folder / "ssh_host_ed25519_key", "")
    half = disk.folder / "half"
    half.chmod(0o755)
    _write(half, [image], "etc/machine-id", 0o444, f"{uuid.uuid4().hex}\n")
    half.rename(disk.upper)


def files(lab: Lab, host: LabHost, operator_key: str) -> Files:
    """Return the files that the lab owns on a host, as path -> (mode, content)."""
    found = {
        "etc/hostname": (0o644, f"{host.name}\n"),
        "etc/hosts": (0o644, _names(host)),
        "etc/systemd/network/10-private.network": (0o644, _network("host0", (host.address,), host)),
        "etc/ssh/sshd_config.d/10-lab.conf": (
            0o644,
            _SSHD.format(penalties=_NO_PENALTIES if host.release > 12 else ""),
        ),
        "etc/apt/apt.conf.d/10-lab": (0o644, f'Acquire::http::Proxy "http://{endpoint(lab.private.ip, APT_PORT)}/";\n'),
        "root/.ssh/authorized_keys": (0o600, "".join(f"{key}\n" for key in (operator_key, *lab.user_keys))),
    }
    if lab.user != "root":
        found[f"etc/sudoers.d/lab-{lab.user}"] = (0o440, f"{lab.user} ALL=(ALL:ALL) NOPASSWD: ALL\n")
        found["etc/systemd/system/ssh.service.d/10-lab.conf"] = (0o644, _ACCOUNT.format(user=lab.user))
    if host.public_addresses:
        found["etc/systemd/network/10-public.network"] = (0o644, _network("public0", host.public_addresses, host))
    if host.resolver:
        found[_RESOLVER] = (0o644, f"{_RESOLVER_MARK}nameserver {host.resolver}\n")
    if not host.ipv6:
        found[_IPV6] = (0o644, _WITHOUT_IPV6)
    return found


def current(disk: Disk, wanted: Files) -> bool:
    """Return whether the disk already has the lab's current files."""
    stamp = disk.folder / "stamp"
    return disk.exists and stamp.exists() and stamp.read_text() == _hash(wanted)


def write(disk: Disk, wanted: Files) -> None:
    """Write the lab's files to the disk of a host that is not running."""
    lowers = disk.lowers
    if gone := [str(lower) for lower in lowers if not lower.is_dir()]:
        raise LabError(
            f"{disk.folder}: its lower layers are missing ({', '.join(gone)}). Run inv lab.down, then inv lab.up"
        )
    for name, (mode, content) in wanted.items():
        _write(disk.upper, lowers, name, mode, content)
    if _IPV6 not in wanted and any((place / _IPV6).exists() for place in (disk.upper, *lowers)):
        # The host had no IPv6 before: an empty file hides the setting in a layer below.
        _write(disk.upper, lowers, _IPV6, 0o644, "")
    if _RESOLVER not in wanted and _has_resolver((disk.upper, *lowers)):
        _write(disk.upper, lowers, _RESOLVER, 0o644, "")
    for name in ("ssh_host_ed25519_key", "ssh_host_ed25519_key.pub"):
        mode = 0o600 if name.endswith("key") else 0o644
        _write(disk.upper, lowers, f"etc/ssh/{name}", mode, (disk.folder / name).read_text())
    (disk.folder / "stamp").write_text(_hash(wanted))


def _has_resolver(places: Sequence[Path]) -> bool:
    """Return whether the topmost resolv.conf is the lab's: on some hosts, it is a role's or the user's."""
    files = [place / _RESOLVER for place in places if (place / _RESOLVER).is_file()]
    return bool(files) and files[0].read_text(encoding="utf-8", errors="replace").startswith(_RESOLVER_MARK)


def generate_key(path: Path, comment: str) -> None:
    """Generate an SSH key pair without a passphrase."""
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LabError(f"{path}: ssh-keygen: {done.stderr.strip() or done.stdout.strip()}")


def _names(host: LabHost) -> str:
    lines = ["127.0.0.1 localhost", f"127.0.1.1 {host.name}", *(["::1 localhost"] if host.ipv6 else [])]
    return "".join(f"{line}\n" for line in [*lines, *(f"{address} {name}" for name, address in host.names)])


def _network(interface: str, addresses: Sequence[str], host: LabHost) -> str:
    lines = "".join(f"Address={with_length(address)}\n" for address in addresses if ":" not in address)
    # While a host looks for duplicates of an IPv6 address, for a second after each boot, nothing can use it.
    six = "".join(
        f"[Address]\nAddress={with_length(address)}\nDuplicateAddressDetection=none\n"
        for address in addresses
        if ":" in address
    )
    # The address stays when a cable is unplugged, so the host is back at once when it is plugged in.
    return f"""\
[Match]
Name={interface}
[Network]
{lines}LinkLocalAddressing={"ipv6" if host.ipv6 else "no"}
IPv6AcceptRA=no
LLMNR=no
ConfigureWithoutCarrier=yes
IgnoreCarrierLoss=yes
{six}"""


def _write(root: Path, lowers: Sequence[Path], name: str, mode: int, content: str) -> None:
    folder = root
    for part in Path(name).parts[:-1]:
        folder = folder / part
        if not folder.exists():
            # A folder in the overlay hides the mode of the same folder below it.
            below = [lower / folder.relative_to(root) for lower in lowers]
            folder.mkdir()
            folder.chmod(next((one.stat().st_mode & 0o7777 for one in below if one.is_dir()), 0o700))
    path = root / name
    path.unlink(missing_ok=True)
    path.touch(mode=mode)
    path.chmod(mode)
    path.write_text(content)


def _hash(wanted: Files) -> str:
    return hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()
