"""A new certificate is loaded, or the reason is reported: with a real nginx, lego and Pebble on this machine."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator

import pytest

from tests.unit.roles import acme_balancer
from tests.unit.roles.acme_balancer import Balancer

pytestmark = pytest.mark.programs


@pytest.fixture(scope="module")
def balancer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Balancer]:
    with acme_balancer.certified(tmp_path_factory.mktemp("lb1"), tmp_path_factory.mktemp("authority")) as started:
        yield started


def test_a_certificate_is_loaded_although_the_run_that_obtained_it_was_killed_and_the_authority_is_away(
    balancer: Balancer,
) -> None:
    before = balancer.settled()
    balancer.want_another()
    balancer.program("systemctl", "kill -KILL $PPID")
    assert balancer.acme("renew").returncode == -signal.SIGKILL
    balancer.reload_works()
    assert balancer.served() == before
    balancer.program("lego", "exit 1")
    balancer.want_another()
    assert balancer.acme("renew").returncode == 1
    (balancer.folder / "bin/lego").unlink()
    assert balancer.becomes(before).not_valid_after_utc.timestamp() == float(balancer.facts()["acme"])
    balancer.renew()


def test_a_failed_reload_is_reported_and_repeated(balancer: Balancer) -> None:
    before = balancer.settled()
    balancer.want_another()
    balancer.program("systemctl", "echo 'Job for nginx.service failed.' >&2; exit 1")
    for _ in range(2):
        assert balancer.acme("renew").returncode == 1
        assert balancer.facts()["acme_error"] == (
            "the certificate is there, but nginx could not be reloaded: Job for nginx.service failed."
        )
        assert balancer.metrics()["plainstack_acme_failed"] == 1
    assert balancer.served() == before
    balancer.reload_works()
    balancer.renew()
    assert balancer.becomes(before).not_valid_after_utc.timestamp() == float(balancer.facts()["acme"])
    assert "acme_error" not in balancer.facts()
    assert len(list((balancer.folder / "var/lib/plainstack-acme").glob("issued-*"))) == 1


def test_a_certificate_that_the_web_server_refuses_is_not_used(balancer: Balancer) -> None:
    """Also if the run that should have asked the web server was killed before."""
    nginx = (balancer.folder / "bin/nginx").read_text().removeprefix("#!/bin/sh\n").rstrip("\n")
    before, live = balancer.settled(), (balancer.folder / "var/lib/plainstack-acme/live").readlink()
    balancer.want_another()
    for stand_in, code in (("kill -KILL $PPID", -signal.SIGKILL), (r"echo 'bad \key' >&2; exit 1", 1)):
        balancer.program("nginx", stand_in)
        assert balancer.acme("renew").returncode == code
    balancer.program("nginx", nginx)
    assert balancer.facts()["acme_error"] == "nginx refuses the new certificate: bad \\key"
    assert (balancer.folder / "var/lib/plainstack-acme/live").readlink() == live
    assert balancer.served() == before
    balancer.renew()
    balancer.becomes(before)


def test_settings_that_a_deploy_changes_during_a_run_are_tried_soon(balancer: Balancer) -> None:
    """systemd would not start the program again for the deploy, and the timer's next attempt is an hour away."""
    asked = balancer.folder / "asked"
    reload = f"kill -HUP $(cat {balancer.folder}/run/nginx.pid)"
    balancer.program("systemctl", f'[ "$1" = reload ] && {reload} || echo "$@" >>{asked}')
    balancer.renew()
    assert not asked.exists()
    settings = balancer.folder / "etc/plainstack/balancer/acme.conf"
    deploy = f"sed -i 's/^DAYS=30$/DAYS=29/' {settings}"
    for outcome, code in ((f'exec {shutil.which("lego")} "$@"', 0), ("exit 1", 1)):
        balancer.program("lego", outcome)
        balancer.want_another()
        assert balancer.acme("renew").returncode == code
        assert not asked.exists()
        balancer.program("lego", f"{deploy}\n{outcome}")
        balancer.want_another()
        assert balancer.acme("renew").returncode == code
        assert asked.read_text() == "--no-block try-restart plainstack-acme.timer\n"
        assert "acme_error" not in balancer.facts()
        asked.unlink()
        balancer.change("DAYS=29", "DAYS=30")
    (balancer.folder / "bin/lego").unlink()
    balancer.renew()
    assert not asked.exists()
    balancer.reload_works()
