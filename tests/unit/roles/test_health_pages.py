"""When a balancer takes a host out of use and puts it back: the count of its health checks."""

from __future__ import annotations

from health_pages import REFUSED, Count, targets

SILENT = "does not answer"


def test_a_target_is_read_from_its_line() -> None:
    web, api = targets(
        "web app1 [fd00::11]:8000 /healthz [!5]??,507 www.example.com 5 2\napi app1 192.0.2.1:9000 / 2?? x 1 60\n"
    )
    assert (web.service, web.host, web.path, web.name) == ("web", "app1", "/healthz", "www.example.com")
    assert (web.statuses, web.timeout, web.interval) == (("[!5]??", "507"), 5, 2)
    # The configuration of the web server includes files of these names.
    assert (web.file, api.file) == ("fd00::11:8000", "192.0.2.1:9000")


def checks(count: Count, why: str, now: float) -> int:
    """Return after how many equal checks the host goes out or comes back."""
    number = 1
    while not count.add(why, now):
        number += 1
        assert number < 1000
    return number


def test_a_host_goes_out_after_three_failed_checks_and_comes_back_after_two() -> None:
    count = Count(out=False, since=0)
    assert (checks(count, SILENT, 1000), checks(count, "", 1000)) == (3, 2)


def test_failures_between_good_checks_take_no_host_out() -> None:
    count = Count(out=False, since=0)
    assert not any(count.add(why, 0) for why in [SILENT, SILENT, ""] * 20)


def test_a_host_that_refuses_connections_has_time_for_a_restart() -> None:
    count = Count(out=False, since=0)
    number = checks(count, REFUSED, 1000)
    assert 8 <= number * count.pause(2) <= 12, "about ten seconds, whatever the interval is"


def test_a_host_that_flaps_comes_back_later_each_time_until_it_was_healthy_for_ten_minutes() -> None:
    count = Count(out=False, since=0)
    back = []
    for now in (0, 10, 20, 30, 40, 50, 60):
        assert checks(count, SILENT, now) == 3
        back.append(checks(count, "", now))
    assert back == [2, 4, 8, 16, 32, 64, 64]
    assert (checks(count, SILENT, 661), checks(count, "", 661)) == (3, 2)


def test_a_host_that_is_out_is_asked_more_often_than_a_healthy_one() -> None:
    count = Count(out=False, since=0)
    assert count.pause(60) == 60
    count.add(SILENT, 0)
    assert count.pause(60) < 1
    checks(count, SILENT, 0)
    count.add("", 0)
    assert count.out
    assert count.pause(60) < 1
