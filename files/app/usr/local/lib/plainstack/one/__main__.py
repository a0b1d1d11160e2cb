"""Run a command on exactly one host of several. systemd runs this program on each host; docs/one.md shows the unit.

With --calendar, a timer starts this program on each host, and one of them runs the command for this time.

While the command runs, this process only guards it; a child process talks to the database.
"""

from __future__ import annotations

import argparse
import os
import select
import signal
import socket
import sys
import time
import uuid
from pathlib import Path

from command import Command, NotDelegated, group
from database import Database, Unacknowledged
from lease import DEADLINE, FREE, SETTLED, Ask, Member, Order, Row, Verb, delay
from notify import kill_after, notify
from tick import NoTick, latest

# Seconds. The guard reads the clock at least this often, because the host may have been suspended.
TICK = 0.2
IDLE_SECONDS = 30.0
RELEASE_SECONDS = 3.0
SHORTEST_TTL = 5
KILLED = float("-inf")
# Seconds after which a scheduled run is skipped: while another host still runs the command for an earlier time, and
# while the database does not answer.
PATIENCE, SILENCE = 45.0, 300.0


def clock() -> float:
    """Return the seconds since boot, including suspended time; this clock cannot be set."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Supervisor:
    """Carries out a member's decisions; `wake` is a descriptor that becomes readable with every signal."""

    def __init__(self, options: argparse.Namespace, command: Command, wake: int) -> None:
        tenure = f"{options.host} {uuid.uuid4()}"
        self._options = options
        self._command = command
        self._wake = wake
        self._member = Member(tenure, options.ttl, options.tick)
        self._heard_at = self._began = clock()
        self._database = Database(options.lease, options.host, tenure, options.ttl)
        self._environment = {"PLAINSTACK_LEASE": options.lease, "PLAINSTACK_TENURE": tenure}
        if options.tick:
            self._environment["PLAINSTACK_TICK"] = str(options.tick)
        self._ready = False
        self._said = ""
        self._armed = (False, 0.0)
        self._started = 0.0
        # When to kill the command; None unless it was told to stop.
        self._stop_at: float | None = None
        self.leaving = False

    def run(self) -> int:
        """Guard the command until it ends by itself or the service is stopped; return the exit code."""
        while True:
            ended = self._command.reap() and self._stop_at is None
            self._hear(clock())
            now = clock()
            if not ended:
                self._obey(self._member.order(now, alive=self._command.alive), now)
            if ended or (not self._command.alive and (self.leaving or self._has_run)):
                return self._end(failed=ended)
            if self._options.tick and not (self._member.holds or self._has_run) and self._give_up(now):
                self._database.close()
                return int(now >= self._heard_at + SILENCE)
            if self._database.idle and (ask := self._member.ask(now)):
                self._database.ask(ask)
            self._arm(now, guarded=self._command.alive)
            self._sleep()

    @property
    def _has_run(self) -> bool:
        """Whether the command has already been started for its tick, so that it must not be started again."""
        return bool(self._options.tick and self._started)

    def _give_up(self, now: float) -> bool:
        """Return whether this host does not run the command for this time, and log the reason."""
        row = self._member.row
        if self._member.over and row:
            self._say(f"does not run it: {row.holder or 'another host'} {'runs' if row.holder else 'has run'} it")
        elif now >= self._heard_at + SILENCE:
            self._say(f"missed: the database has not answered for {SILENCE:g} s")
        elif row and row.tenure != FREE and now >= self._began + PATIENCE and now < self._heard_at + self._options.ttl:
            self._say(f"does not run it: {row.holder or 'another host'} still runs it for an earlier time")
        else:
            return False
        return True

    def _hear(self, now: float) -> None:
        """Pass the database's answer to the member, if one has arrived."""
        heard = self._database.answer(now)
        if heard is None:
            return
        ask, row = heard
        if isinstance(row, Unacknowledged):
            self._member.unanswered(now)
            self._say(f"no confirmation from the database: {row.why}", about="silence")
            return
        self._heard_at = now
        had = self._member.holds
        self._member.answered(ask, row, now)
        if not self._ready:
            self._ready = True
            notify("READY=1")
        self._tell(ask, row, had=had)

    def _tell(self, ask: Ask, row: Row | None, *, had: bool) -> None:
        if self._member.holds and row and not had:
            before = ask.seen.holder if ask.seen else ""
            pause = f"; starts in {delay(row.failures):g} s after {row.failures} failures" if row.failures else ""
            self._say(f"takes the lease over{f' from {before}' if before else ''}{pause}")
        elif had and row is None:
            self._say("this host has lost the lease")
        elif ask.verb is Verb.LOOK and row and row.tenure != FREE:
            held = (
                f"{row.holder} has held the lease since {row.since}" if row.holder else "the lease has no known history"
            )
            self._say(f"waits: {held}")
        elif self._said == "silence":
            self._say("the database answers again")

    def _obey(self, order: Order, now: float) -> None:
        command = self._command
        if order is Order.START:
            if not self.leaving and not self._has_run:
                self._arm(now, guarded=True)
                self._stop_at, self._started = None, now
                command.start(self._environment)
                self._say("runs the command")
        elif order is Order.KILL:
            command.kill()
            if self._stop_at != KILLED:
                self._stop_at = KILLED
                self._say("killed the command: the lease is lost, or was not renewed in time")
        elif order in (Order.KEEP, Order.STOP):
            self._stop_if_due(order, now)

    def _stop_if_due(self, order: Order, now: float) -> None:
        if self._stop_at is not None:
            if now >= self._stop_at:
                self._command.kill()
        elif self.leaving or order is Order.STOP or self._is_late(now):
            self._stop_at = now + self._options.stop_timeout
            self._command.signal(signal.Signals[f"SIG{self._options.stop_signal}"])
            why = ": the lease could not be renewed" if order is Order.STOP else ": its time is over"
            self._say("stops the command" + ("" if self.leaving else why))
        elif now >= self._started + SETTLED:
            self._member.failures = 0

    def _is_late(self, now: float) -> bool:
        return bool(self._options.limit) and now >= self._started + self._options.limit

    def _arm(self, now: float, *, guarded: bool) -> None:
        """Have systemd kill the whole service if this process does not kill the command in time."""
        due = self._member.deadline(DEADLINE) if guarded else now // (IDLE_SECONDS / 3)
        if (guarded, due) != self._armed:
            self._armed = guarded, due
            notify(*kill_after(due - now if guarded else IDLE_SECONDS))

    def _sleep(self) -> None:
        sources = [self._wake] if self._database.idle else [self._wake, self._database.fileno()]
        ready, _, _ = select.select(sources, [], [], TICK)
        if self._wake in ready:
            os.read(self._wake, 4096)

    def _end(self, *, failed: bool) -> int:
        """Kill what is left of the command, release the lease, and return the exit code."""
        self._command.kill()
        while self._command.alive:
            self._command.reap()
            time.sleep(0.01)
        until = clock() + RELEASE_SECONDS
        asked = False
        while not (asked and self._database.idle) and (now := clock()) < until:
            if self._database.idle:
                self._database.ask(self._member.leave(now, failed=failed and not self._options.tick))
                asked = True
            select.select([self._database.fileno()], [], [], TICK)
            self._database.answer(clock())
        self._database.close()
        if failed:
            return self._command.code or 0
        # The command was stopped because its lease or its time was over.
        return int(self._has_run and not self.leaving)

    def _say(self, text: str, about: str = "") -> None:
        """Write a line to the journal and make it the unit's status, unless the last line was about the same."""
        if self._said != (about or text):
            self._said = about or text
            notify(f"STATUS={text}")
            sys.stderr.write(f"{text}\n")


def main() -> int:
    """Parse the command line and run the supervisor; return the exit code."""
    parser = argparse.ArgumentParser(prog="one", description="Run a command on exactly one host of several.")
    parser.add_argument("--lease", required=True, help="the name of the lease; hosts with the same name take turns")
    parser.add_argument("--ttl", type=float, default=15, help="seconds after which a silent holder is replaced (15)")
    parser.add_argument("--stop-signal", choices=("TERM", "INT", "QUIT", "HUP", "USR1", "USR2"), default="TERM")
    parser.add_argument("--stop-timeout", type=float, default=30, help="seconds between that signal and SIGKILL (30)")
    parser.add_argument("--host", default=socket.gethostname(), help="the name of this host in the lease")
    parser.add_argument("--calendar", help="run the command once for its latest time, as in systemd.time(7), then end")
    parser.add_argument("--limit", type=float, default=0, help="seconds after which the command is stopped")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    if options.ttl < SHORTEST_TTL:
        parser.error(f"--ttl: at least {SHORTEST_TTL} seconds, or a busy machine stops the command for nothing")
    try:
        options.tick = latest(options.calendar, int(time.time())) if options.calendar else 0
    except NoTick as error:
        sys.stderr.write(f"{error}\n")
        return 1
    wake, woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    try:
        command = Command(options.command, group(Path("/proc/self/cgroup").read_text()))
    except NotDelegated as error:
        sys.stderr.write(f"{error}\n")
        return 1
    supervisor = Supervisor(options, command, wake)

    def leave(_number: int, _frame: object) -> None:
        supervisor.leaving = True

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    return supervisor.run()


if __name__ == "__main__":
    sys.exit(main())
