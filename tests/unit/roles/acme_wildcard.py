"""A balancer with a wildcard certificate, proven by DNS records: lego and Pebble, without a web server."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import acme_account
from cryptography import x509

from plainstack.engine.resources import File
from plainstack.inventory.stack import Stack
from plainstack.roles import balancer as role
from plainstack.secrets.values import Certificate, Secret, Vault
from tests import inventories
from tests.unit.roles import acme_authority
from tests.unit.roles.acme_authority import Authority

TEXT = """
stack: shop
hosts:
  lb1: {address: 10.0.0.1, roles: [balancer]}
  app1: {address: 10.0.0.3, roles: [app]}
services:
  web: {kind: binary, source: ".", processes: {web: {command: run, port: 8000, health: /}}}
balancer:
  server_names: ["*.shop.example"]
  tls: acme
  acme:
    email: ops@shop.example
    directory: "DIRECTORY"
    authority: root.crt
    external_account: {key_id: shop-1}
    dns: {provider: exec, wait: false, env: {EXEC_PATH: RECORDS, EXEC_POLLING_INTERVAL: "1"}}
"""
CUSTOMER = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
# A DNS provider: the management of the authority's DNS server.
RECORDS = """\
#!/bin/sh
case $1 in
present) curl -fsS -d "{\\"host\\": \\"$2\\", \\"value\\": \\"$3\\"}" http://127.0.0.1:PORT/set-txt ;;
cleanup) curl -fsS -d "{\\"host\\": \\"$2\\"}" http://127.0.0.1:PORT/clear-txt ;;
esac
"""


@dataclass
class Balancer:
    """The folder of a balancer, with stand-ins for its web server; `said` has every command line that was run."""

    folder: Path
    authority: Authority
    stack: Stack
    said: Path

    def configure(self, account: str = "a" * 64, customer: str = CUSTOMER) -> None:
        """Write the files that a deploy writes, with these secrets."""
        secrets = {"acme/account": account, "acme/hmac": customer}
        own = Certificate("chain\n", Secret("site.key", "key\n"))
        vault = Vault({name: Secret(name, value) for name, value in secrets.items()}, {"site": own}, "authority\n")
        for file in inventories.wanted(role.ROLE, self.stack, "lb1", vault):
            if isinstance(file, File) and ("/balancer/acme" in file.path or "/lib/plainstack/" in file.path):
                path = self.folder / file.path.lstrip("/")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(file.content)
                path.chmod(file.mode)

    def acme(self, verb: str) -> str:
        """Run the program as its unit does; return why it failed, or ""."""
        done = self._run(verb)
        error = self.folder / "var/lib/plainstack-acme/error"
        assert (done.returncode == 0) == (not error.exists()), done.stdout + done.stderr
        return error.read_text() if error.exists() else ""

    def facts(self) -> str:
        """Return the facts about the certificate that a plan reads."""
        return self._run("facts").stdout

    def _run(self, verb: str) -> subprocess.CompletedProcess[str]:
        program = self.folder / "etc/plainstack/balancer/acme"
        variables = (line.partition("=") for line in Path(f"{program}.env").read_text().splitlines() if "=" in line)
        own = {name: value.strip('"') for name, _, value in variables}
        environment = {
            **os.environ,
            **own,
            "ROOT": str(self.folder),
            "PATH": f"{self.said.parent}:{os.environ['PATH']}",
        }
        return subprocess.run([program, verb], env=environment, capture_output=True, text=True, check=False)

    @property
    def account(self) -> Path:
        (found,) = (self.folder / "var/lib/plainstack-acme/accounts").glob(f"*_{self.authority.port}/*")
        return found

    @property
    def url(self) -> str:
        return str(json.loads((self.account / "account.json").read_text())["registration"]["uri"])

    @property
    def certificate(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate((self.folder / "var/lib/plainstack-acme/live/site.crt").read_bytes())

    def make_due(self) -> None:
        """Let the certificate be due for renewal."""
        self.age(timedelta(days=90), timedelta(days=29))

    def age(self, lifetime: timedelta, left: timedelta) -> None:
        """Replace the certificate by one that has this much of its lifetime left."""
        (found,) = (self.folder / "var/lib/plainstack-acme/certificates").glob("*shop.example.crt")
        acme_authority.age(found, lifetime, left)

    def deactivate(self) -> None:
        """Close the account, as its owner or the authority may."""
        key = acme_account.Key(str(self.folder / "etc/plainstack/balancer/acme.key"))
        authority = acme_account.Authority(self.authority.directory, key, str(self.authority.root))
        nonce = authority._ask(authority.urls["newNonce"], method="HEAD")[1]["Replay-Nonce"]
        header = {"alg": "ES256", "kid": self.url, "nonce": nonce, "url": self.url}
        body = acme_account.message(header, {"status": "deactivated"}, key.sign)
        authority._ask(self.url, json.dumps(body).encode())


def program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def placed(folder: Path, authority: Authority) -> Balancer:
    """Return a balancer that has never asked for a certificate."""
    program(folder / "records", RECORDS.replace("PORT", str(authority.dns_management)))
    text = TEXT.replace("DIRECTORY", authority.directory).replace("RECORDS", str(folder / "records"))
    stack = inventories.parse(text, "hosts.yaml", authority.folder)
    for path in ("etc/plainstack/tls/ca.crt", "etc/ssl/certs/ca-certificates.crt"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text("")
    for part, content in (("crt", authority.root), ("key", authority.folder / "root.key")):
        (folder / f"etc/plainstack/tls/site.{part}").write_bytes(content.read_bytes())
    said = folder / "bin/said"
    for name in ("nginx", "systemctl"):
        program(folder / "bin" / name, "#!/bin/sh\n")
    for name in ("lego", "openssl"):
        program(folder / "bin" / name, f'#!/bin/sh\necho "{name} $*" >>{said}\nexec /usr/bin/{name} "$@"\n')
    made = Balancer(folder, authority, stack, said)
    made.configure()
    return made
