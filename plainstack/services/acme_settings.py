"""The settings of the authority that issues the site's certificate: the key `balancer.acme` of an inventory."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from plainstack.inventory.sections import Model
from plainstack.inventory.values import Bool, FilePath, Line
from plainstack.inventory.web_values import is_name

_RESOLVER = "an address or a name, with or without a port, such as 192.0.2.53, [2001:db8::53]:53 or ns1.example.com:53"
_DIRECTORY = "letsencrypt, letsencrypt-staging or the https URL of an ACME directory"
_PORT = "with a port from 1 to 65535"
# RFC 5321, 4.1.2 and 4.5.3.1: a local part without quotes.
_LOCAL = re.compile(r"(?=.{1,64}$)[A-Za-z0-9_+-]+([.][A-Za-z0-9_+-]+)*")


def _is_host(text: str) -> bool:
    """Return whether a text is a name or an IPv4 address. A name cannot end with a number (URL Standard, 3.5)."""
    if not is_name(text.lower()) or len(text) > 253:
        return False
    return not text.rpartition(".")[2].isdigit() or _is_address(text)


def _is_address(text: str) -> bool:
    try:
        return "%" not in text and bool(ip_address(text))
    except ValueError:
        return False


def _in_range(port: str | None) -> bool:
    return port is None or 1 <= int(port) <= 65535


def _resolver(value: Any) -> Any:
    if not isinstance(value, str):
        raise ValueError(_RESOLVER)
    if _is_address(value):
        return value
    found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^:\[\]]+))(?::([0-9]{1,9}))?", value)
    if not found or not (_is_host(found[2]) if found[2] else _is_address(found[1]) and ":" in found[1]):
        raise ValueError(_RESOLVER)
    if not _in_range(found[3]):
        raise ValueError(f"an address or a name {_PORT}")
    # lego adds the port to an IPv6 address only if that has no brackets.
    return found[1] if found[1] and not found[3] else value


def _email(value: Any) -> Any:
    local, _, domain = value.rpartition("@") if isinstance(value, str) else ("", "", "")
    if not _LOCAL.fullmatch(local) or not is_name(domain.lower()) or len(local + domain) > 253:
        raise ValueError("a mail address")
    return value


def _directory(value: Any) -> Any:
    if value in ("letsencrypt", "letsencrypt-staging"):
        return value
    url = r"https://([A-Za-z0-9.-]+)(?::([0-9]{1,9}))?(/[A-Za-z0-9._~/-]*)?"
    found = re.fullmatch(url, value) if isinstance(value, str) else None
    if not found or not _is_host(found[1]):
        raise ValueError(_DIRECTORY)
    if not _in_range(found[2]):
        raise ValueError(f"{_DIRECTORY}, {_PORT}")
    return value


_TEXT = WithJsonSchema({"type": "string"})
VariableName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
KeyId = Annotated[str, Field(pattern=r"^[A-Za-z0-9._~+/=:-]{1,200}$")]
Email = Annotated[str, BeforeValidator(_email), _TEXT]
Resolver = Annotated[str, BeforeValidator(_resolver), _TEXT]
Directory = Annotated[str, BeforeValidator(_directory), _TEXT]


class ExternalAccount(Model):
    """The account that you have with an authority which issues certificates to its customers only (RFC 8555, 7.3.4)."""

    key_id: KeyId = Field(description="The identifier of the key that the authority gave you; also called EAB KID.")


class DnsChallenge(Model):
    """How DNS records prove to the authority that the names belong to the site; wildcards need it."""

    provider: Annotated[str, Field(pattern=r"^[a-z0-9]+$")] = Field(
        description="lego's name of the DNS provider, such as `hetzner` or `rfc2136`."
    )
    env: dict[VariableName, Line] = Field(
        default_factory=dict, description="The variables that lego's provider reads and that are not secrets."
    )
    secrets: tuple[VariableName, ...] = Field(
        (), description="The variables that are secrets. Set each with `inv secrets.set acme/NAME`."
    )
    resolvers: tuple[Resolver, ...] = Field(
        (),
        description=(
            "The DNS servers, as ADDRESS or ADDRESS:PORT ([ADDRESS]:PORT for IPv6), that tell which zone a name is in;"
            " without them, those of the balancers' /etc/resolv.conf."
        ),
    )
    wait: Bool = Field(
        True,
        description=(
            "Whether to wait until all name servers of the zone have the record; `false` if the balancers cannot ask"
            " them."
        ),
    )


class Acme(Model):
    """The authority that issues the site's certificate for `tls: acme`, over the ACME protocol (RFC 8555)."""

    email: Email = Field(description="The address of the account, for the authority's messages.")
    directory: Directory = Field(
        "letsencrypt",
        description=(
            "`letsencrypt`; `letsencrypt-staging` for experiments, with high rate limits and certificates that no"
            " browser trusts; or the URL of another authority's directory."
        ),
    )
    authority: FilePath | None = Field(
        None, description="The PEM file of the root certificates of a private authority, which systems do not trust."
    )
    key_type: Literal["ec256", "ec384", "rsa2048", "rsa4096"] = Field(
        "ec256", description="The type of the certificate's key."
    )
    external_account: ExternalAccount | None = Field(
        None,
        description=(
            "Your account with the authority, if it wants one (external account binding); its key is the secret"
            " `acme/hmac`."
        ),
    )
    dns: DnsChallenge | None = Field(
        None, description="Proof by DNS records instead of by a page on port 80 of the balancers."
    )
