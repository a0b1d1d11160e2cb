"""The certificates of a site that an ACME authority in the lab issues."""

from __future__ import annotations

from tests.lab.operator import Operator
from tests.waiting import until

_STATE = "/var/lib/plainstack-acme"
_RENEW = "systemctl start plainstack-acme"
# Without the note of what its certificate is for, a balancer asks for another one.
_FORGET = f"rm -f {_STATE}/wanted"


def issued(operator: Operator, balancer: str) -> str:
    """Return the fingerprint of a balancer's certificate, empty if the authority has issued none."""
    return operator.on(balancer, f"readlink {_STATE}/live").strip().removeprefix("own")


def renew(operator: Operator, balancer: str) -> None:
    """Do at once what a balancer's timer does later."""
    operator.on(balancer, _RENEW)


def await_another(operator: Operator, balancer: str) -> None:
    """Wait until a balancer has obtained another certificate."""
    before = issued(operator, balancer)

    def obtained() -> bool:
        # If a run that the timer has started looked for the note before, systemd only waits for that run.
        operator.on(balancer, f"{_FORGET}; {_RENEW}", check=False)
        return issued(operator, balancer) != before

    until(obtained, f"{balancer} obtains another certificate")


def await_failure(operator: Operator, balancer: str) -> None:
    """Wait until a balancer has asked for another certificate in vain."""
    until(lambda: operator.on(balancer, f"{_FORGET}; {_RENEW} || echo failed", check=False), f"{balancer} fails")
