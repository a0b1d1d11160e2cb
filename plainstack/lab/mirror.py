"""Debian's mirrors: two addresses, chosen from this machine's apt sources."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from plainstack.dataclass import dataclass
from plainstack.ssh.netns import LabError

SUITES = {12: "bookworm", 13: "trixie"}
_RELEASES = {"bullseye", "bookworm", "trixie", "forky", "duke", "sid", "oldstable", "stable", "testing", "unstable"}
_ONE_LINE = re.compile(r"deb\s+(?:\[[^\]]*\]\s*)?(\S+)\s+(\S+)\s+(.*)")


@dataclass(frozen=True)
class Source:
    """One address of one apt source."""

    address: str
    suites: tuple[str, ...]
    components: tuple[str, ...]


@dataclass(frozen=True)
class Mirrors:
    """The addresses of Debian and of its security updates."""

    main: str
    security: str

    def sources(self, release: int) -> tuple[str, ...]:
        """Return the lines of a host's apt sources for a Debian release.

        Plain http, because the only way out is a caching proxy.
        """
        suite = SUITES[release]
        main, security = _as_http(self.main), _as_http(self.security)
        return (
            f"deb {main} {suite} main",
            f"deb {main} {suite}-updates main",
            f"deb {security} {suite}-security main",
        )

    @property
    def upstreams(self) -> dict[str, str]:
        """For each host name that a lab host may request, the server that the proxy forwards to."""
        parts = [urlsplit(self.main), urlsplit(self.security)]
        return {part.hostname or "": f"{part.scheme}://{part.netloc}" for part in parts}


def find() -> Mirrors:
    """Return this machine's mirrors; PLAINSTACK_MIRROR and PLAINSTACK_SECURITY_MIRROR override them."""
    folder = Path("/etc/apt")
    sources: list[Source] = []
    for path in [folder / "sources.list", *sorted((folder / "sources.list.d").glob("*"))]:
        if path.suffix in (".list", ".sources") and path.is_file():
            sources += parse(path.suffix, path.read_text())
    return choose(sources, os.environ.get("PLAINSTACK_MIRROR"), os.environ.get("PLAINSTACK_SECURITY_MIRROR"))


def choose(sources: list[Source], main: str | None, security: str | None) -> Mirrors:
    """Return the given mirrors, or the first sources that look like Debian's own. Raises LabError if there are none."""
    main = main or _best([s for s in sources if "main" in s.components and _RELEASES.intersection(s.suites)], "debian")
    if not main:
        raise LabError("this machine's apt has no Debian mirror over http(s): set PLAINSTACK_MIRROR to one")
    fits = [s for s in sources if any(suite.endswith(("-security", "/updates")) for suite in s.suites)]
    security = security or _best(fits, "debian-security")
    if not security:
        raise LabError("this machine's apt has no Debian security mirror: set PLAINSTACK_SECURITY_MIRROR to one")
    return Mirrors(main.rstrip("/"), security.rstrip("/"))


def parse(suffix: str, text: str) -> list[Source]:
    """Parse a file of apt sources, one-line (.list) or deb822 (.sources); skip sources that are not HTTP or HTTPS."""
    found = _deb822(text) if suffix == ".sources" else _one_line(text)
    return [source for source in found if source.address.startswith(("http://", "https://"))]


def _best(sources: list[Source], folder: str) -> str:
    # A vendor's repository may use Debian's names for suites and components, but rarely the name of Debian's folder.
    named = [source for source in sources if source.address.rstrip("/").endswith(f"/{folder}")]
    return next((source.address for source in [*named, *sources]), "")


def _one_line(text: str) -> Iterator[Source]:
    for line in text.splitlines():
        if match := _ONE_LINE.match(line.partition("#")[0].strip()):
            yield Source(match[1], (match[2],), tuple(match[3].split()))


def _deb822(text: str) -> Iterator[Source]:
    for paragraph in re.split(r"\n[ \t]*\n", text):
        fields: dict[str, list[str]] = {}
        name = ""
        for line in paragraph.splitlines():
            if line.startswith("#"):
                continue
            if not line.startswith((" ", "\t")):
                name, _, line = line.partition(":")
            fields.setdefault(name.strip().lower(), []).extend(line.split())
        if "deb" in fields.get("types", []) and fields.get("enabled", ["yes"]) != ["no"]:
            for address in fields.get("uris", []):
                yield Source(address, tuple(fields.get("suites", [])), tuple(fields.get("components", [])))


def _as_http(address: str) -> str:
    parts = urlsplit(address)
    return f"http://{parts.hostname}{parts.path}"
