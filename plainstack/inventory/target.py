"""A port of a stack's hosts that a tunnel can lead to, with the web pages that it serves."""

from __future__ import annotations

from plainstack.dataclass import dataclass

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Page:
    """A web page behind a target, and one phrase that says what it shows."""

    path: str
    shows: str


@dataclass(frozen=True)
class Target:
    """A port that a tunnel leads to: each host in `via` can reach it at one of `addresses`.

    `preferred` is the local port to use if it is free; 0 means any. `known_as` is the server name that requests must
    use, if any. Without pages, the port is not for browsers.
    """

    name: str
    scheme: str
    via: tuple[str, ...]
    addresses: tuple[str, ...]
    port: int
    pages: tuple[Page, ...] = ()
    preferred: int = 0
    known_as: str = ""

    def urls(self, port: int) -> list[str]:
        """Return the URLs of the target's pages when the local `port` leads to it."""
        return [f"{self.scheme}://{self.known_as or LOOPBACK}:{port}{page.path}" for page in self.pages]

    def instructions(self, port: int) -> list[str]:
        """Return the lines to print about reaching the target at the local `port`."""
        if not self.pages:
            return [f"{self.name:<13} {LOOPBACK}:{port}"]
        urls = self.urls(port)
        width = max(len(url) for url in urls)
        names = (self.name, *[""] * len(urls))
        lines = [
            f"{name:<13} {url:<{width}}  {page.shows}" for name, url, page in zip(names, urls, self.pages, strict=False)
        ]
        if self.known_as:
            lines.append(
                f"{'':<13} {self.known_as} must resolve to this machine: write '{LOOPBACK} {self.known_as}' in"
                " /etc/hosts"
            )
            lines.append(f"{'':<13} while you use it, or type: curl --connect-to ::{LOOPBACK}: {urls[0]}")
        return lines
