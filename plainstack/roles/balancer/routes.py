"""What routes need on a balancer beside the configuration: password files, default headers, the stack's addresses."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from plainstack.engine.render import template
from plainstack.engine.resources import Directory, File, Resource
from plainstack.engine.role import DeclaredSecret, Generated
from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack
from plainstack.roles.balancer.cache import used
from plainstack.roles.balancer.engines import Engine
from plainstack.roles.balancer.passwords import hashed
from plainstack.secrets.values import Secret, Vault
from plainstack.services import routing
from plainstack.services.edge import Balancer, GivenCertificate
from plainstack.services.snippets import FOLDER, of_routes, snippets

_SNIPPETS = "stack"
# It replaces the `*` of a wildcard name: `include` takes a `*` for a pattern. Snippets have no `@` in their paths.
_STAR = "@"
# The password files of routes.
USERS = "/etc/plainstack/balancer/users"


def declared(stack: Stack) -> Iterator[DeclaredSecret]:
    """Yield the passwords of all users of routes."""
    for user in dict.fromkeys(user for one in routing.locations(stack) for user in one.route.users):
        yield DeclaredSecret(_secret_name(user), "at once", Generated(24, any_text=True, password=True))


def password_files(stack: Stack, host: Host, vault: Vault, engine: Engine) -> Iterator[Resource]:
    """Yield a file with the users of each route that needs a login. The engine reads it for each request."""
    closed = [one for one in routing.locations(stack) if one.route.users]
    if closed:
        yield Directory(path=USERS)
    for one in closed:
        users = {user: _hashed(stack, user, vault) for user in one.route.users}
        at = {"route": one.name}
        yield template("balancer", f"{USERS}/{{route}}", at=at, mode=0o640, group=engine.user, host=host, users=users)


def snippet_files(stack: Stack, engine: Engine) -> Iterator[File]:
    """Yield the stack's own files of configuration, which must be valid as a part of the whole."""
    for path, place in included(stack, engine).items():
        yield File(path=place, content=stack.file(path).read_bytes())


def included(stack: Stack, engine: Engine) -> dict[Path, str]:
    """Return the path of each snippet on a balancer, where no file can have a `*` in its name."""
    found = [*chain(*snippets(stack).values()), *of_routes(stack)]
    return {path: f"{engine.folder}/{_SNIPPETS}/{'/'.join(path.parts[1:]).replace('*', _STAR)}" for path in found}


def configuration_check(engine: Engine, prepare: str) -> str:
    """Return the script that checks the configuration; an error in a snippet names the file in the stack's folder."""
    there = f"{engine.folder}/{_SNIPPETS}/"
    return f"""\
{prepare}
said=$({engine.name} -t -q -c {engine.configuration} 2>&1) || {{
    printf '%s\\n' "$said" | sed 's|{there}{_STAR}|{FOLDER}/*|g; s|{there}|{FOLDER}/|g' >&2
    exit 1
}}"""


def default_headers(stack: Stack) -> list[tuple[str, str]]:
    """Return the headers that a response gets unless the application or the route sets them, as (name, value)."""
    # While workers from before a reload still run, about half of the new HTTP/3 connections to nginx 1.26 fail, and
    # browsers fall back to HTTP/2 (nginx issue 425). With a quic_host_key, connections that were only delayed fail too.
    found = [
        ("Alt-Svc", "'h3=\":443\"; ma=86400'" if stack.settings(Balancer).http3 else "clear"),
        ("X-Request-ID", "$shown_id" if used(stack) else "$request_id"),
        ("X-Content-Type-Options", "$content_type_options"),
        ("X-Frame-Options", "$frame_options"),
        ("Referrer-Policy", "$referrer_policy"),
    ]
    # For a year after this header, browsers do not let users ignore the warning about a self-signed certificate.
    if isinstance(stack.settings(Balancer).tls, GivenCertificate) or stack.settings(Balancer).issuer:
        found.append(("Strict-Transport-Security", "$strict_transport"))
    return found


def inside(stack: Stack) -> list[str]:
    """Return the addresses from which the stack's own hosts request health pages, and loopback."""
    addresses = [address for host in stack.hosts.values() for address in host.addresses]
    return list(dict.fromkeys(["127.0.0.1", *map(str, addresses)]))


def limited_client(stack: Stack) -> tuple[str, str]:
    """Return the variable by which limits count clients, and the end of their zones' names.

    Clients are counted by address, or with IPv6 clients, by /64. A stack without them does not need the second
    variable, whose evaluation takes time for each request. A server that reloads refuses a zone that counts by another
    variable than the zone of this name did before.
    """
    own = [address for host in stack.with_role("balancer") for address in host.public_addresses]
    versions = {address.version for address in (*own, *stack.settings(Balancer).virtual_addresses)}
    if 6 in versions:
        return "$client_network", ".networks"
    return "$binary_remote_addr", ""


def _secret_name(user: str) -> str:
    return f"balancer/users/{user}"


def _hashed(stack: Stack, user: str, vault: Vault) -> Secret:
    password = vault.password(_secret_name(user))
    return Secret(password.name, hashed(password.reveal(), f"{stack.stack}/{user}"))
