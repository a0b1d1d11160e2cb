"""A port of a stack's hosts that a tunnel can lead to, with the web pages that are there."""

from __future__ import annotations

from dataclasses import dataclass

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Page:
    """Something to look at behind a target, and what it shows in one sentence."""

    path: str
    shows: str


@dataclass(frozen=True)
class Target:
    """A port: `via` are the hosts whose SSH connection may carry it; they see it at one of `addresses`.

    `known_as` is the name that it must be asked by; without one it answers to any. Without pages, it is for
    other programs than browsers.
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
        """Its pages' addresses when `port` of this machine leads to it."""
        return [f"{self.scheme}://{self.known_as or LOOPBACK}:{port}{page.path}" for page in self.pages]

    def told(self, port: int) -> list[str]:
        """How a person reaches it at `port` of this machine."""
        if not self.pages:
            return [f"{self.name:<13} {LOOPBACK}:{port}"]
        urls = self.urls(port)
        width = max(len(url) for url in urls)
        names = (self.name, *[""] * len(urls))
        lines = [
            f"{name:<13} {url:<{width}}  {page.shows}" for name, url, page in zip(names, urls, self.pages, strict=False)
        ]
        if self.known_as:
            lines.append(f"{'':<13} {self.known_as} must lead here: write '{LOOPBACK} {self.known_as}' in /etc/hosts")
            lines.append(f"{'':<13} while you look, or type: curl --connect-to ::{LOOPBACK}: {urls[0]}")
        return lines
