"""The cache of a balancer as visitors and applications meet it, with a real nginx."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.unit.roles.cached_edge import SHOP, caching, found
from tests.unit.roles.real_nginx import Edge
from tests.waiting import until

pytestmark = pytest.mark.programs

CHUNKED = ("-X", "GET", "--http1.1", "-H", "Transfer-Encoding: chunked", "-d", "body")


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    with caching(tmp_path_factory.mktemp("edge")) as started:
        yield started


def test_a_response_is_kept_for_requests_with_the_same_name_and_query(edge: Edge) -> None:
    assert found(edge, "/told?a=1")[0] == "miss"
    assert found(edge, "/told?a=1")[0] == "hit"
    # The application has not seen this request, so it has no id.
    assert "x-request-id: " in edge.curl(f"{SHOP}/plain/told")[1]
    assert "x-request-id: " not in edge.curl(f"{SHOP}/told?a=1")[1]
    assert found(edge, "/told?a=2")[0] == "miss"
    assert "x-cache-status: miss" in edge.curl("https://www.shop.example/told?a=1")[1]
    assert found(edge, "/told?a=1", "-H", "Host: shop.example:8443")[0] == "miss"
    assert found(edge, "/plain/told")[0] == ""


def test_a_header_of_a_route_is_the_only_one_of_its_name(edge: Edge) -> None:
    """This includes headers that the balancers set themselves."""
    for _ in range(2):
        lines = edge.curl(f"{SHOP}/own/told?Vary=X-B")[1].splitlines()
        for own in ("x-request-id: 1", "alt-svc: clear", "vary: x-a", "x-cache-status: none"):
            assert [line for line in lines if line.partition(":")[0] == own.partition(":")[0]] == [own]


@pytest.mark.parametrize(
    "query",
    [
        "Set-Cookie=a%3Db",
        "Set-Cookie=a%3Db&Cache-Control=max-age%3D60",
        "Set-Cookie=a%3Db&X-Accel-Expires=60",
        "Cache-Control=private",
        "Cache-Control=max-age%3D60%2C+private",
        "Cache-Control=no-store",
        "Cache-Control=no-cache",
        "Cache-Control=private&X-Accel-Expires=60",
        "Cache-Control=max-age%3D60&Cache-Control=PRIVATE",
        "Vary=*",
        "status=404",
        "status=302",
        "status=500&Cache-Control=max-age%3D60",
    ],
)
def test_a_response_that_is_not_for_everyone_is_never_kept(edge: Edge, query: str) -> None:
    first, second = (found(edge, f"/told?{query}") for _ in range(2))
    assert (first[0], second[0]) == ("miss", "miss")
    assert first[1] != second[1]


@pytest.mark.parametrize(
    "options", [("-H", "Cookie: a=b"), ("-H", "Authorization: Bearer x"), ("-X", "GET", "-d", "body"), CHUNKED]
)
def test_a_request_of_a_known_visitor_or_with_a_body_bypasses_the_cache(edge: Edge, options: tuple[str, ...]) -> None:
    path = f"/told?{len(str(options))}"
    assert found(edge, path, *options)[0] == "bypass"
    assert found(edge, path)[0] == "miss"
    anonymous = found(edge, path)
    assert anonymous[0] == "hit"
    assert found(edge, path, *options)[1] != anonymous[1]


def test_only_the_named_cookie_bypasses_the_cache_if_the_route_says_so(edge: Edge) -> None:
    assert found(edge, "/session/told", "-H", "Cookie: x__Host-session=1; other=2")[0] == "miss"
    assert found(edge, "/session/told", "-H", "Cookie: other=3")[0] == "hit"
    assert found(edge, "/session/told", "-H", "Cookie: other=2; __Host-session=1")[0] == "bypass"


def test_a_route_can_keep_responses_to_known_visitors_and_only_to_get(edge: Edge) -> None:
    assert found(edge, "/told-so/told", "-H", "Authorization: Bearer x")[0] == "miss"
    assert found(edge, "/told-so/told", "-H", "Cookie: a=b")[0] == "hit"
    assert found(edge, "/told-so/told", "-I")[0] == "bypass"


def test_without_a_time_of_its_own_a_route_keeps_only_what_the_application_says(edge: Edge) -> None:
    assert [found(edge, "/headers/told")[0] for _ in range(2)] == ["miss", "miss"]
    assert [found(edge, "/headers/told?Cache-Control=max-age%3D60")[0] for _ in range(2)] == ["miss", "hit"]


def test_vary_keeps_a_response_for_each_kind_of_request(edge: Edge) -> None:
    path = "/told?Vary=Accept-Language"
    german, english = (("-H", f"Accept-Language: {language}") for language in ("de", "en"))
    assert [found(edge, path, *language)[0] for language in (german, english, german, english)] == [
        "miss",
        "miss",
        "hit",
        "hit",
    ]


def test_a_client_gets_a_compressed_response_only_if_it_accepts_one(edge: Edge) -> None:
    """The kept response is not compressed, whoever asked for it first."""
    gzip = ("-H", "Accept-Encoding: gzip")
    for first, second in ((gzip, ()), ((), gzip)):
        path = f"/text-{200 + len(first)}"
        for number, options in enumerate((first, second, first)):
            ran = subprocess.run(
                ["curl", "-sik", "--connect-to", f"::127.0.0.1:{edge.port}", *options, f"{SHOP}{path}"],
                capture_output=True,
                check=True,
            )
            head = ran.stdout.partition(b"\r\n\r\n")[0].decode().lower()
            assert ("content-encoding: gzip" in head) == (options == gzip)
            assert "vary: accept-encoding" in head
            assert f"x-cache-status: {'hit' if number else 'miss'}" in head


def test_what_the_application_has_compressed_is_kept_only_with_vary(edge: Edge) -> None:
    clients = (("-H", "Accept-Encoding: gzip"), ("-H", "Accept-Encoding: br"), ("-H", "Accept-Encoding: gzip"))
    for vary, seen in (
        ("", ["miss", "miss", "miss"]),
        ("&Vary=Cookie", ["miss", "miss", "miss"]),
        ("&Vary=Accept-Encoding", ["miss", "miss", "hit"]),
        ("&Vary=cookie%2C+accept-encoding", ["miss", "miss", "hit"]),
    ):
        assert [found(edge, f"/told?Content-Encoding=gzip{vary}", *options)[0] for options in clients] == seen


def test_a_client_that_has_a_response_is_told_so_by_the_cache(edge: Edge) -> None:
    path = "/told?ETag=%22abc%22"
    for status in ("miss", "hit"):
        code, headers, body = edge.curl(f"{SHOP}{path}", "-H", 'If-None-Match: "abc"')
        assert (code, body, f"x-cache-status: {status}" in headers) == ("304", "", True)
    # The application was asked for the whole response.
    assert "if-none-match" not in found(edge, path)[1].lower()


def test_the_first_request_for_a_range_keeps_the_whole_response(edge: Edge) -> None:
    path = "/told?Accept-Ranges=bytes&first"
    assert found(edge, path, "-r", "2-5")[0] == "miss"
    status, whole = found(edge, path)
    assert (status, "range:" in whole.lower()) == ("hit", False)
    assert found(edge, path, "-r", "2-5") == ("hit", whole[2:6])


def test_a_post_goes_to_the_application_and_leaves_the_kept_response(edge: Edge) -> None:
    path = "/told?post"
    assert [found(edge, path)[0] for _ in range(2)] == ["miss", "hit"]
    assert found(edge, path, "-d", "a=1") == ("", "fine\n")
    assert found(edge, path)[0] == "hit"


def test_head_and_ranges_are_answered_from_the_response_to_get(edge: Edge) -> None:
    path = "/told?Accept-Ranges=bytes&ranges"
    assert found(edge, path, "-I")[0] == "miss"
    status, whole = found(edge, path)
    assert status == "hit"
    assert found(edge, path, "-r", "2-5") == ("hit", whole[2:6])
    assert found(edge, path, "-I") == ("hit", "")
    assert "GET /told" in whole


def test_logins_and_limits_come_before_the_cache(edge: Edge) -> None:
    login = ("-u", "jane:secret")
    assert [found(edge, "/staff/told", *login)[0] for _ in range(2)] == ["miss", "hit"]
    assert edge.status(f"{SHOP}/staff/told") == "401"
    assert [edge.status(f"{SHOP}/few/told") for _ in range(3)] == ["200", "200", "429"]


def test_maintenance_comes_before_the_cache(edge: Edge) -> None:
    assert [found(edge, "/told?m")[0] for _ in range(2)] == ["miss", "hit"]
    page = edge.folder / "var/lib/plainstack-maintenance/web.html"
    page.write_text("closed\n")
    try:
        until(lambda: edge.curl(f"{SHOP}/told?m")[::2] == ("503", "closed\n"), "the maintenance page")
        assert "\nretry-after: 300" in edge.curl(f"{SHOP}/told?m")[1]
    finally:
        page.unlink()
    until(lambda: found(edge, "/told?m")[0] == "hit", "the end of the maintenance")
    assert "retry-after" not in edge.curl(f"{SHOP}/told?m")[1]


def test_health_pages_and_streams_are_never_cached(edge: Edge) -> None:
    assert found(edge, "/up")[0] == ""
    assert found(edge, "/told?stream", "-H", "Accept: text/event-stream")[0] == ""


@pytest.mark.parametrize("path", ["/short/told?x=%2F&y=a%20b", "/raw/a%2Fb/told?x=%2F"])
def test_a_response_is_fetched_again_in_the_background_with_the_same_request(edge: Edge, path: str) -> None:
    """While it is fetched, visitors get the old one at once."""
    first = found(edge, path)
    until(lambda: found(edge, path)[0] == "stale", "the response to expire")
    until(lambda: found(edge, path)[1] != first[1], "the new response")
    line = first[1].partition(" ")[2].partition("\n")[0]
    assert found(edge, path)[1].partition(" ")[2].partition("\n")[0] == line


def test_stale_responses_are_used_while_the_application_is_away_and_no_longer_than_allowed(edge: Edge) -> None:
    """This test comes last, because it stops the application."""
    kept, strict = found(edge, "/short/told?kept"), found(edge, "/strict/told?strict")
    for application in edge.applications:
        application.shutdown()
        application.server_close()
    until(lambda: found(edge, "/short/told?kept")[0] == "stale", "the response to expire")
    assert found(edge, "/short/told?kept") == ("stale", kept[1])
    until(lambda: found(edge, "/strict/told?strict")[1] != strict[1], "the response to expire")
    assert edge.status(f"{SHOP}/strict/told?strict") == "502"
    assert edge.status(f"{SHOP}/short/told?unknown") == "502"
    import cache_files

    folder = str(edge.folder / "var/lib/nginx/plainstack-cache")
    times = [file.stat().st_mtime for file in cache_files.entries(folder)]
    number, size = cache_files.sweep(folder, {"web.1": 3600}, max(times) + 1800)
    assert (number, size > 0) == (0, True)
    assert found(edge, "/short/told?kept")[0] == "stale"
    assert cache_files.sweep(folder, {"web.1": 3600}, max(times) + 3700)[0] > 0
    assert edge.status(f"{SHOP}/short/told?kept") == "502"
