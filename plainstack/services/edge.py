"""The settings of the balancers: the key `balancer` of an inventory."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Annotated, Literal

from pydantic import Field

from plainstack.inventory.address_values import Addresses, Networks
from plainstack.inventory.route_cache import CacheDisk
from plainstack.inventory.route_parts import Redirect
from plainstack.inventory.sections import Model
from plainstack.inventory.values import (
    Bool,
    FilePath,
    Int,
    Interface,
    Network,
)
from plainstack.inventory.web_values import FileUrl, ServerName
from plainstack.services.acme_settings import Acme


def covers(pattern: str, name: str) -> bool:
    """Return whether a name, which may be a wildcard, stands for another one.

    A `*` stands for one label, as in a certificate (RFC 9525, 6.3).
    """
    return pattern == name or (pattern.startswith("*.") and name.partition(".")[2] == pattern[2:])


def below(pattern: str, name: str) -> bool:
    """Return whether a name is that of a pattern, or with a wildcard below its domain, at any depth."""
    return pattern == name or (pattern.startswith("*.") and name.endswith(pattern[1:]))


def problem_of_certificate(known: Iterable[str], name: str) -> str:
    """Return why the certificate for the known names is not valid for one below them; empty if it is."""
    above = [one for one in known if below(one, name)]
    if not above or any(covers(one, name) for one in above):
        return ""
    return (
        f"the certificate of {above[0]} does not cover {name}: the '*' stands for one part of a name. Add {name} to"
        " balancer.server_names"
    )


class GivenCertificate(Model):
    """A certificate chain and its key, as PEM files next to the inventory."""

    certificate: FilePath = Field(description="The PEM file of the certificate chain, the site's certificate first.")
    key: FilePath = Field(description="The PEM file of the certificate's private key, without a passphrase.")


class Pages(Model):
    """HTML files that visitors get instead of Plainstack's own pages."""

    unavailable: FilePath | None = Field(
        None, description="The page that visitors get with status 502, 503 or 504 if no host of a service answers."
    )
    maintenance: FilePath | None = Field(
        None,
        description=(
            "The page that visitors get with status 503 while a service is in maintenance; `@MESSAGE@` in it is"
            " replaced by the message of `inv maintenance on`."
        ),
    )


class Maintenance(Model):
    """The response to visitors while `inv maintenance` has closed a service, and the addresses that are let through."""

    allow: tuple[Network, ...] = Field(
        (), description="The addresses and networks whose requests are passed on as usual."
    )
    retry_after: Annotated[Int, Field(ge=1, le=86400)] = Field(
        300, description="The value of the header Retry-After, in seconds."
    )


class Balancer(Model):
    """The entrance to the site: TLS, HTTP routing, and the virtual address that moves between the balancers."""

    engine: Literal["nginx", "angie"] = Field(
        "nginx", description="The web server: nginx from Debian, or Angie from its vendor's repository."
    )
    virtual_address: Addresses | None = Field(
        None,
        description=(
            "The address of the site, which moves to a balancer that works, or a list of such addresses. Without it,"
            " the balancers' own addresses are used. In a list, an IPv4 and an IPv6 address move together, and each"
            " balancer holds one of several addresses of the same version."
        ),
    )
    network: Networks | None = Field(
        None,
        description=(
            "The network of the virtual address, or a list of networks; by default, the /24 of the balancers' public"
            " addresses, or the /64 for IPv6."
        ),
    )
    interface: Interface = Field("eth0", description="The network interface of the public addresses.")
    router_id: Annotated[Int, Field(ge=1, le=255)] = Field(
        51,
        description=(
            "The VRRP router ID; two stacks in one network need different ones. Each further virtual address that moves"
            " by itself has the next number."
        ),
    )
    server_names: tuple[ServerName, ...] = Field(
        (),
        description=(
            "The names that the site answers to, such as `shop.example.com` or `*.example.com`; without them it"
            " answers to any."
        ),
    )
    angie_key: FilePath | None = Field(
        None, description="The file of the key that signs Angie's packages; needed for the engine angie."
    )
    tls: Literal["self-signed", "acme"] | GivenCertificate = Field(
        "self-signed",
        description=(
            "`self-signed`, for a certificate of the stack's own authority; `acme`, for one that Let's Encrypt or"
            " another authority issues and renews; or the files of one."
        ),
    )
    acme: Acme | None = Field(None, description="The authority and the account of `tls: acme`.")
    brotli: Bool = Field(
        False,
        description="Whether text is compressed with Brotli instead of gzip for browsers that support it.",
    )
    http3: Bool = Field(True, description="Whether browsers are offered HTTP/3 in addition to HTTP/2.")
    max_body: Annotated[str, Field(pattern=r"^([0-9]{1,12}|[0-9]{1,9}[kmg])$")] = Field(
        "10m", description="The largest request body, in bytes or with k, m or g."
    )
    connections: Annotated[Int, Field(ge=1, le=16384)] = Field(
        1000, description="How many requests of one address may be in progress; further ones get the status 429."
    )
    redirects: tuple[Redirect, ...] = Field((), description="Redirects of names and paths.")
    cache: CacheDisk | None = Field(
        None, description="The size and the place of the cache, if a route has the key `cache`."
    )
    pages: Pages = Field(Pages(), description="Files with pages of your own for failures and maintenance.")
    files: dict[FileUrl, FilePath] = Field(
        {},
        description=(
            "Files that are served under every name that is not redirected, also during maintenance, by their paths in"
            " the URL, such as `/robots.txt: pages/robots.txt`."
        ),
    )
    maintenance: Maintenance = Field(
        Maintenance(), description="The response to visitors while `inv maintenance` has closed a service."
    )

    @property
    def virtual_addresses(self) -> tuple[IPv4Address | IPv6Address, ...]:
        """All virtual addresses, in the order of the inventory."""
        given = self.virtual_address
        return given if isinstance(given, tuple) else () if given is None else (given,)

    @property
    def networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """All networks of virtual addresses that the inventory names."""
        return self.network if isinstance(self.network, tuple) else () if self.network is None else (self.network,)

    @property
    def issuer(self) -> Acme | None:
        """The ACME authority that issues the site's certificate; None if the certificate comes from elsewhere."""
        return self.acme if self.tls == "acme" else None
