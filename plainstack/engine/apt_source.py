"""Third-party package sources: the key, the source file, automatic updates, and a check that apt can verify them."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from plainstack.engine.resources import File, Package, Resource, Validation
from plainstack.inventory import openpgp

# A separate lists directory needs no lock and leaves no unverified data in apt's own lists.
_VERIFY = """\
lists=$(mktemp -d)
trap 'rm -rf "$lists"' EXIT
chmod 755 "$lists"
apt-get update -q -o APT::Update::Error-Mode=any -o Acquire::Retries=1 -o Acquire::http::Timeout=15 \\
    -o Acquire::https::Timeout=15 -o Dir::State::lists="$lists" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= \\
    -o Dir::Etc::sourceparts=/dev/null -o Dir::Etc::sourcelist={source} >"$lists/said" 2>&1 </dev/null || {{
    grep -vE '^(Get:|Hit:|Ign:|Fetched|Reading|E: Some index files)' "$lists/said" | tail -n 9
    echo 'the package source {uri} cannot be read or verified; its key is {key}'
    exit 1
}}
"""


def vendor_source(name: str, uri: str, suite: str, key_file: Path, key_name: str) -> Iterator[Resource]:
    """Yield the resources of a source signed with the key in `key_file`; errors call that key `key_name`."""
    key = key_file.read_bytes()
    keyring = f"/etc/apt/keyrings/{name}." + ("asc" if openpgp.is_armored(key) else "gpg")
    source = f"/etc/apt/sources.list.d/{name}.sources"
    yield Package(name="ca-certificates")
    yield File(path=keyring, content=key, early=True)
    yield File(path=source, early=True, content=_source(uri, suite, keyring).encode())
    # The base role's file, which sorts before this one, clears the list of origins.
    yield File(path=f"/etc/apt/apt.conf.d/53plainstack-{name}", content=_updates(name, uri).encode())
    yield Validation(
        name=f"package source {name}",
        run=_VERIFY.format(source=source, uri=uri, key=key_name),
        reads=(keyring, source),
    )


def _source(uri: str, suite: str, keyring: str) -> str:
    return textwrap.dedent(f"""\
        # managed by plainstack
        Types: deb
        URIs: {uri}
        Suites: {suite}
        Components: main
        Signed-By: {keyring}
        """)


def _updates(name: str, uri: str) -> str:
    return textwrap.dedent(f"""\
        // managed by plainstack: packages from the source {name} get unattended upgrades from there
        Unattended-Upgrade::Origins-Pattern {{
            "site={urlsplit(uri).hostname}";
        }};
        """)
