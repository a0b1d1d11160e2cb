"""The sick process of a drill: which one it is, what its watchdog promises, and the stand-in that answers for it."""

from __future__ import annotations

import json
import shlex
import threading
from collections.abc import Callable
from dataclasses import field
from pathlib import Path
from typing import Any

from plainstack.dataclass import dataclass
from plainstack.drill.stand_in import CHAIN
from plainstack.errors import HostFailed, Refused
from plainstack.inventory.stack import Stack
from plainstack.services import processes, running, stops
from plainstack.services.processes import Served
from plainstack.ssh.session import Session

STAND_IN = Path(__file__).with_name("stand_in.py")
UNIT = "plainstack-drill-sick.service"
# Seconds after the watchdog's time at which the stand-in ends by itself, even if the operator's machine is gone.
SPARE = 10
START = 20


@dataclass(frozen=True)
class Patient:
    """A process with a watchdog, on a host whose balancers have another one; times are in seconds.

    The watchdog notices within `notice` that the process is sick; `startup` is how long a start may take.
    """

    served: Served
    hosts: tuple[str, ...]
    notice: float
    startup: float

    @property
    def unit(self) -> str:
        """The process's unit."""
        return processes.unit(self.served.service, self.served.process)

    @property
    def watchdog(self) -> str:
        """The unit of its watchdog."""
        return running.watchdog_unit(self.served.service, self.served.process)

    @property
    def budget(self) -> float:
        """Seconds from the fault until the process must be healthy again."""
        return self.notice + self.startup


def patient(stack: Stack) -> Patient:
    """Return the first process that a drill can make sick. Raises Refused if there is none."""
    alone = []
    for one in processes.served(stack):
        process = processes.processes(stack, one.service)[one.process]
        if process.watchdog is None:
            continue
        hosts = stops.served_by(stack, one)
        if len(hosts) < 2:
            alone.append((one, hosts))
            continue
        wanted = process.watchdog
        return Patient(one, tuple(host.name for host in hosts), wanted.interval * wanted.failures, wanted.startup)
    if not alone:
        raise Refused(
            "no process that serves the site has a watchdog, so nothing would restart a sick one. Give one a"
            " `watchdog` in the inventory (services.NAME.processes), and deploy it"
        )
    one, hosts = alone[0]
    where = f"only on {hosts[0].name}" if hosts else "on no host"
    raise Refused(
        f"{one.name} has a watchdog but runs {where}, so no other host could answer while it is sick: there is nothing"
        " to drill"
    )


@dataclass
class Sickness:
    """A sick process on the victim: a stand-in answers 500 in its place until its unit is restarted.

    Times are on the drill's clock, None for what did not happen. `restarter` is whether the watchdog restarted it.
    """

    patient: Patient
    clock: Callable[[], float]
    note: Callable[[str, str, float], None]
    sick: float | None = None
    restarted: float | None = None
    by_watchdog: bool = False
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _over: str | None = None

    def begin(self, session: Session, address: str, version: int) -> None:
        """Make the process sick. Raises HostFailed if that fails; `address` is that of the victim."""

        def work() -> None:
            try:
                output = session.run(
                    start_script(self.patient, address, version),
                    stdin=STAND_IN.read_bytes(),
                    on_line=self._heard,
                    timeout=self.patient.budget + SPARE + START,
                    step="fault",
                )
                reason = (output.err.strip().splitlines() or [f"exit code {output.code}"])[-1]
            except HostFailed as error:
                reason = str(error)
            with self._changed:
                self._over = reason
                self._changed.notify_all()

        threading.Thread(target=work, name="sick", daemon=True).start()
        with self._changed:
            self._changed.wait_for(lambda: self.sick is not None or self._over is not None, START)
            if self.sick is None:
                raise HostFailed(session.host, "fault", "could not be made", [self._over or "no answer"])

    def await_restart(self, until: float) -> bool:
        """Wait until the process has been restarted; return whether that was before `until`, on the drill's clock."""
        with self._changed:
            self._changed.wait_for(lambda: self._over is not None, max(0.0, until - self.clock()))
        return self.restarted is not None

    def end(self, session: Session) -> None:
        """End the fault: without the stand-in, the process itself answers."""
        session.script(stop_script(), timeout=30, step="end the fault")

    def _heard(self, line: str) -> None:
        what, *rest = json.loads(line)
        with self._changed:
            if what == "sick":
                self.sick = self.clock()
            elif what == "restarted":
                self.restarted = self.clock()
                self._say(rest[0])
            self._changed.notify_all()

    def _say(self, lines: list[Any]) -> None:
        """Record what the watchdog did; the times of its messages are in seconds since the fault."""
        assert self.sick is not None
        for seconds, text in lines:
            acts = "restarting it" in text
            self.by_watchdog = self.by_watchdog or acts
            self.note(f"watchdog: {text}", "restarted by the watchdog" if acts else "", self.sick + seconds)
        if not self.by_watchdog:
            self.note(f"{self.patient.unit} was restarted, but not by its watchdog", "restarted", self.clock())


def start_script(patient: Patient, address: str, version: int) -> str:
    """Return a command that runs the stand-in as a unit of its own, which ends by itself and then undoes its rules.

    The program of the stand-in is its standard input.
    """
    port = str(patient.served.port)
    undo = f"sh -c {shlex.quote(undo_script(port, version))}"
    lasts = f"{patient.budget + SPARE:g}"
    run = ["/usr/bin/python3", "-u", "-", patient.unit, patient.watchdog, address, port, undo_script(port, version)]
    unit = [f"--unit={UNIT}", f"--property=RuntimeMaxSec={lasts}", f"--property=ExecStopPost=/bin/{undo}"]
    command = ["systemd-run", "--quiet", "--collect", "--pipe", "--wait", *unit, *run]
    return f"{stop_script()}; exec {shlex.join(command)}"


def stop_script() -> str:
    """Return shell code that ends the stand-in, if one runs."""
    return f"systemctl stop {UNIT} 2>/dev/null || :"


def undo_script(port: str, version: int) -> str:
    """Return shell code, without any dollar sign, which systemd would expand, that removes the stand-in's rules."""
    tables = f"ip{'6' if version == 6 else ''}tables -w 5 -t mangle"
    return f"{tables} -D PREROUTING -p tcp --dport {port} --syn -j {CHAIN}; {tables} -F {CHAIN}; {tables} -X {CHAIN}; :"
