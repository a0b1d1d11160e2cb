"""The course of a fault of the cache's primary: Sentinels promote a replica, and the old primary becomes one."""

from __future__ import annotations

import time

from plainstack.dataclass import dataclass
from plainstack.drill import cached
from plainstack.drill.course import LASTS, Course
from plainstack.drill.measures import Rule, Stored
from plainstack.ssh.connections import Sessions, fan_out

# Seconds from the fault in which a replica must be promoted, and from the repair in which the victim must follow it.
PROMOTION, RETURN = 30.0, 60.0


@dataclass
class CacheCourse(Course):
    """The course of a fault of the cache's primary, to which only the Sentinels react."""

    leader: str = ""

    def react(self) -> None:
        """Wait until a replica is promoted; a killed primary may also restart in time and remain the primary."""
        assert self.fault_at is not None
        while self.now() < self.fault_at + PROMOTION and not self.clients.broken():
            self.leader = self._found() or self.leader
            if self.leader and self.promoted_at is None:
                self.promoted_at = self.now()
                self.note(f"{self.leader} is the primary of the cache", f"{self.leader} promoted")
            settled = self.leader or (self.restarts and self._role(self.victim) == "primary")
            if settled and self.now() > self.fault_at + LASTS:
                break
            time.sleep(0.2)

    @property
    def restarts(self) -> bool:
        """Whether the victim restarts by itself."""
        return self.fault.name == "kill"

    def repair(self) -> None:
        """Start the old primary if it was stopped, and wait until it follows the new one. Raises HostFailed."""
        super().repair()
        deadline = time.monotonic() + RETURN
        wanted = f"replica of {self.leader}" if self.leader else "primary"
        while (seen := cached.role(self.observer.sessions.fresh(self.victim))) != wanted:
            if time.monotonic() > deadline:
                break
            time.sleep(0.3)
        began = self.fault_at or 0.0
        promoted = f"{self.leader} after {(self.promoted_at or 0.0) - began:.1f} s" if self.leader else ""
        if not promoted and self.restarts:
            promoted = f"{self.victim}, which restarted"
        where = f"another host within {PROMOTION:g} s" + ", or the same one restarts" * self.restarts
        self.rules = [
            Rule("primary of the cache", where, promoted or "no host took over", bool(promoted)),
            Rule(f"{self.victim} at the end", wanted, seen or "Valkey does not answer", seen == wanted),
        ]

    def stored(self, sessions: Sessions) -> Stored:
        """Return which keys of the drill the primary of the cache has at the end. Raises HostFailed."""
        return {"cache": cached.final_read(sessions.to(self.leader or self.victim), self.clients.drill)}

    def clean_up(self) -> None:
        """Remove the drill's keys."""
        cached.clean_up(self.observer.sessions.fresh(self.leader or self.victim))

    def _role(self, host: str) -> str:
        return cached.role(self.observer.sessions.to(host))

    def _found(self) -> str:
        """Return the other host that is the primary now; "" if there is none."""
        others = [host.name for host in self.observer.stack.with_role("cache") if host.name != self.victim]
        roles = fan_out(others, self._role)
        return next((name for name, role in roles.items() if role == "primary"), "")
