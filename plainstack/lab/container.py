"""A host's container: boot it, wait for it, and stop it, cleanly or as a power cut would."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from plainstack.lab import cgroup, disk, machine, network
from plainstack.lab.model import Lab, LabHost
from plainstack.ssh import netns
from plainstack.ssh.netns import LabDown, LabError

# Eight hosts that boot at once on a busy machine take long.
_BOOT_SECONDS = 240
_SSH_SECONDS = 60
_STOP_SECONDS = 120
_SCRIPT = Path(__file__).with_name("host.sh")


def group(lab: Lab, host: LabHost) -> Path:
    """Return the control group of a host."""
    return cgroup.tree() / lab.name / host.name


def alive(lab: Lab, host: LabHost) -> bool:
    """Return whether the container runs."""
    return cgroup.alive(group(lab, host))


def power_off(lab: Lab, host: LabHost) -> None:
    """End the container as a power cut would."""
    # Unplug first: when a process is killed, the kernel closes its connections, which a host without power cannot do.
    if netns.is_up(lab.namespace):
        network.unplug(lab, host)
    cgroup.remove(group(lab, host))


def frozen(lab: Lab, host: LabHost) -> bool:
    """Return whether the host is frozen."""
    return cgroup.frozen(group(lab, host))


def set_frozen(lab: Lab, host: LabHost, *, freeze: bool) -> None:
    """Freeze every process of the host, or thaw them; while frozen, connections stay open but nothing answers."""
    cgroup.set_frozen(group(lab, host), freeze=freeze)


def run(lab: Lab, host: LabHost, script: str) -> None:
    """Run a script as root inside the host, independently of its network and sshd. Raises LabError if it fails."""
    # A host that has rebooted itself has a group for each boot.
    groups = group(lab, host).glob("boot-*/payload/init.scope/cgroup.procs")
    pids = [pid for procs in groups for pid in procs.read_text().split()]
    if not pids:
        raise LabError(f"{host.name} is not running")
    enter = ["nsenter", f"--target={pids[0]}", "--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wd"]
    done = subprocess.run(
        [*enter, "sh", "-c", script],
        env={"PATH": machine.PATH},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise LabError(f"{host.name}: {done.stderr.strip() or done.stdout.strip()}")


def shut_down(lab: Lab, host: LabHost) -> None:
    """Shut the host down cleanly. Raises LabError if it takes longer than two minutes."""
    here = group(lab, host)
    with _watch(here) as events:
        poll = select.poll()
        poll.register(events, select.POLLPRI)
        for supervisor in here.glob("boot-*/supervisor/cgroup.procs"):
            for pid in supervisor.read_text().split():
                # On this signal, nspawn tells the host's systemd to shut down, and waits for it.
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGTERM)
        deadline = time.monotonic() + _STOP_SECONDS
        while b"populated 1" in os.pread(events, 4096, 0):
            left = deadline - time.monotonic()
            if left <= 0:
                raise LabError(f"{host.name}: has not shut down after {_STOP_SECONDS} s:{_tail(lab, host)}")
            poll.poll(left * 1000)
    power_off(lab, host)


def boot(lab: Lab, host: LabHost) -> None:
    """Boot a host and return once its systemd has started everything."""
    lab.run.mkdir(parents=True, exist_ok=True)
    place = _notify(lab, host)
    place.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as messages:
        messages.bind(str(place))
        try:
            _start(lab, host, place)
            _await_ready(lab, host, messages)
        finally:
            place.unlink()


def booting(lab: Lab, host: LabHost) -> bool:
    """Return whether a command is waiting for the host to boot."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        try:
            # The socket may be left over from a killed lab.up; then nothing listens on it.
            sock.connect(str(_notify(lab, host)))
        except OSError:
            return False
    return True


def answers(lab: Lab, host: LabHost, timeout: float) -> bool:
    """Return whether the host's sshd answers."""
    try:
        with netns.connect(lab.namespace, host.address, 22, timeout) as sock:
            sock.settimeout(timeout)
            # sshd logs an error unless the client sends a version string.
            sock.sendall(b"SSH-2.0-lab\r\n")
            return sock.recv(4096).startswith(b"SSH-")
    except (OSError, LabDown):
        return False


def await_ssh(lab: Lab, host: LabHost) -> bool:
    """Wait until the host's sshd answers; return False on a timeout."""
    deadline = time.monotonic() + _SSH_SECONDS
    while time.monotonic() < deadline and alive(lab, host):
        if answers(lab, host, 1):
            return True
        # A refused connection fails at once, and no event announces that sshd has started.
        time.sleep(0.05)
    return False


def _start(lab: Lab, host: LabHost, notify: Path) -> None:
    words = [
        "--quiet",
        "--boot",
        "--register=no",
        "--keep-unit",
        "--notify-ready=yes",
        "--console=pipe",
        "--link-journal=no",
        "--resolv-conf=off",
        "--timezone=off",
        # Machine names are global to this machine, and two labs may both have a db1.
        f"--machine={lab.name}.{host.name}",
        f"--hostname={host.name}",
        *(f"--network-interface={cable.name}" for cable in host.cables),
    ]
    here = disk.of(lab, host)
    cables = [word for cable in host.cables for word in (cable.end, cable.bridge, cable.name, cable.hardware)]
    start = ["unshare", "--mount", "--net", "sh", str(_SCRIPT)]
    lowers = ":".join(str(lower) for lower in here.lowers)
    command = [*start, str(here.folder), lowers, lab.namespace, str(len(host.cables)), *cables, *words]
    with _console(lab, host).open("wb") as console:
        subprocess.run(
            cgroup.detached(cgroup.make(lab.name, host.name, "starter"), command),
            env={"PATH": machine.PATH, "NOTIFY_SOCKET": str(notify)},
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
            check=True,
        )


def _await_ready(lab: Lab, host: LabHost, messages: socket.socket) -> None:
    with _watch(group(lab, host)) as events:
        poll = select.poll()
        poll.register(messages, select.POLLIN)
        poll.register(events, select.POLLPRI)
        deadline = time.monotonic() + _BOOT_SECONDS
        while (left := deadline - time.monotonic()) > 0:
            ready = [fd for fd, _ in poll.poll(left * 1000)]
            if messages.fileno() in ready:
                if b"READY=1" in messages.recv(4096).split(b"\n"):
                    return
            elif ready and b"populated 0" in os.pread(events, 4096, 0):
                raise LabError(f"{host.name}: the container ended while booting:{_tail(lab, host)}")
    raise LabError(f"{host.name}: not booted after {_BOOT_SECONDS} s:{_tail(lab, host)}")


@contextlib.contextmanager
def _watch(group: Path) -> Iterator[int]:
    fd = os.open(group / "cgroup.events", os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def _tail(lab: Lab, host: LabHost) -> str:
    lines = _console(lab, host).read_text(errors="replace").splitlines()[-6:]
    return "".join(f"\n    {line.strip()}" for line in lines)


def _notify(lab: Lab, host: LabHost) -> Path:
    return lab.run / f"{host.name}.notify"


def _console(lab: Lab, host: LabHost) -> Path:
    return lab.run / f"{host.name}.console"
