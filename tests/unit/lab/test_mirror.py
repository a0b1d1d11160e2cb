"""The machine's apt sources, read in both formats, and the choice among them."""

from __future__ import annotations

import pytest

from plainstack.lab.mirror import Mirrors, Source, choose, parse
from plainstack.ssh.netns import LabError

MAIN = "http://mirror.test/debian"
SECURITY = "http://mirror.test/debian-security"
DEB822 = f"""\
Types: deb
# a comment
URIs: {MAIN}
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb deb-src
URIs: {SECURITY}/
 https://second.test/debian-security
Suites: bookworm-security
Components: main contrib
"""
ONE_LINE = f"""\
# deb http://old.test/debian buster main
deb [arch=amd64 signed-by=/usr/share/keyrings/x.gpg] https://vendor.test/debian/12 bookworm main
deb {MAIN} bookworm main contrib # ours
deb-src {MAIN} bookworm main
deb cdrom:[Debian]/ bookworm main
deb {SECURITY} bookworm-security main
"""


def test_sources_in_deb822_format_are_parsed() -> None:
    assert parse(".sources", DEB822) == [
        Source(MAIN, ("bookworm", "bookworm-updates"), ("main",)),
        Source(f"{SECURITY}/", ("bookworm-security",), ("main", "contrib")),
        Source("https://second.test/debian-security", ("bookworm-security",), ("main", "contrib")),
    ]


def test_disabled_and_source_only_entries_in_deb822_format_are_ignored() -> None:
    assert parse(".sources", DEB822.replace("Types: deb\n", "Types: deb\nEnabled: no\n"))[0].address != MAIN
    assert parse(".sources", DEB822.replace("Types: deb\n", "Types: deb-src\n"))[0].address != MAIN


def test_sources_in_one_line_format_are_parsed() -> None:
    addresses = [source.address for source in parse(".list", ONE_LINE)]
    assert addresses == ["https://vendor.test/debian/12", MAIN, SECURITY]


@pytest.mark.parametrize(("suffix", "text"), [(".sources", DEB822), (".list", ONE_LINE)])
def test_the_mirror_is_chosen_from_the_sources(suffix: str, text: str) -> None:
    assert choose(parse(suffix, text), None, None) == Mirrors(MAIN, SECURITY)


def test_a_company_mirror_in_a_subfolder_is_found() -> None:
    sources = [
        Source("http://nexus.test/deb-proxy", ("trixie",), ("main",)),
        Source("http://nexus.test/sec-proxy", ("trixie-security",), ("main",)),
    ]
    assert choose(sources, None, None) == Mirrors("http://nexus.test/deb-proxy", "http://nexus.test/sec-proxy")


def test_the_environment_overrides_the_sources() -> None:
    assert choose([], f"{MAIN}/", SECURITY) == Mirrors(MAIN, SECURITY)


@pytest.mark.parametrize(("main", "name"), [(None, "PLAINSTACK_MIRROR"), (MAIN, "PLAINSTACK_SECURITY_MIRROR")])
def test_without_a_mirror_the_error_says_what_to_do(main: str | None, name: str) -> None:
    with pytest.raises(LabError, match=name):
        choose([Source("http://vendor.test/x", ("focal",), ("main",))], main, None)


def test_hosts_use_http_and_the_proxy_uses_the_scheme_of_the_mirror() -> None:
    mirrors = Mirrors("https://mirror.test:8443/debian", SECURITY.replace("mirror", "security"))
    assert mirrors.sources(13) == (
        "deb http://mirror.test/debian trixie main",
        "deb http://mirror.test/debian trixie-updates main",
        "deb http://security.test/debian-security trixie-security main",
    )
    assert mirrors.sources(12)[1:] == (
        "deb http://mirror.test/debian bookworm-updates main",
        "deb http://security.test/debian-security bookworm-security main",
    )
    assert mirrors.upstreams == {"mirror.test": "https://mirror.test:8443", "security.test": "http://security.test"}
