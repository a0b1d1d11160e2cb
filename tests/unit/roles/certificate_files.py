"""Certificates of example authorities, and what the balancer role says about them as given files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID

from plainstack.inventory.stack import Stack
from plainstack.roles import balancer
from plainstack.roles.balancer import given_certificate
from plainstack.services.edge import Balancer, GivenCertificate

NOW = datetime.now(UTC).replace(microsecond=0)
Key = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey
PEM = serialization.Encoding.PEM
DER = serialization.Encoding.DER
PLAIN = serialization.NoEncryption()
PKCS8 = serialization.PrivateFormat.PKCS8


@dataclass
class Signed:
    """A certificate, its key, and its signer (None: self-signed)."""

    name: str
    issuer: Signed | None = None
    ca: bool = True
    path_length: int | None = None
    names: tuple[str, ...] = ()
    begin: datetime = NOW - timedelta(days=1)
    end: datetime = NOW + timedelta(days=90)
    key: Key = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    usage: x509.ObjectIdentifier | None = None
    offered_at: str = ""
    more: tuple[x509.ExtensionType, ...] = ()

    def __post_init__(self) -> None:
        signer = self.issuer or self
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(self.name))
            .issuer_name(_name(signer.name))
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(self.begin)
            .not_valid_after(self.end)
            .add_extension(x509.BasicConstraints(ca=self.ca, path_length=self.path_length), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.key.public_key()), critical=False)
        )
        if self.names:
            builder = builder.add_extension(x509.SubjectAlternativeName([_alternative(n) for n in self.names]), False)
        if self.usage:
            builder = builder.add_extension(x509.ExtendedKeyUsage([self.usage]), critical=False)
        if self.offered_at:
            place = x509.UniformResourceIdentifier(self.offered_at)
            access = x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, place)
            builder = builder.add_extension(x509.AuthorityInformationAccess([access]), critical=False)
        for each in self.more:
            builder = builder.add_extension(each, critical=True)
        own = isinstance(signer.key, ed25519.Ed25519PrivateKey)
        self.certificate = builder.sign(signer.key, None if own else hashes.SHA256())

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(PEM).decode()

    @property
    def key_pem(self) -> str:
        return self.key.private_bytes(PEM, PKCS8, PLAIN).decode()


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


ROOT = Signed("Root")
UPPER = Signed("Upper", ROOT)
LOWER = Signed("Lower", UPPER, path_length=0, offered_at="http://ca.example/upper.der")
SITE = Signed("shop.example", LOWER, ca=False, names=("shop.example", "*.shop.example", "192.0.2.7"))
OTHER = Signed("Other root")
ALIEN = Signed("Alien", OTHER)


@dataclass
class Given:
    """The given files, and the problems reported about them."""

    stack: Stack
    folder: Path
    certificate: Path = Path("site.pem")
    key: Path = Path("site.key")

    def write(self, *chain: Signed, key: Signed | None = None) -> None:
        (self.folder / self.certificate).write_text("".join(one.pem for one in chain))
        (self.folder / self.key).write_text((key or chain[0]).key_pem)
        (self.folder / self.key).chmod(0o600)

    def with_names(self, *names: str) -> Stack:
        tls = GivenCertificate(certificate=self.certificate, key=self.key)
        changed = self.stack.settings(Balancer).model_copy(update={"server_names": names, "tls": tls})
        return self.stack.model_copy(update={"balancer": changed, "folder": self.folder})

    def problems(self, *names: str) -> list[str]:
        stack = self.with_names(*names)
        given = stack.settings(Balancer).tls
        assert isinstance(given, GivenCertificate)
        always = [f"{key}: {what}" for key, what in given_certificate.problems(stack, given)]
        # A certificate that openssl makes may begin a little later than NOW, when this module was imported.
        return always or self.not_now(NOW + timedelta(minutes=30), *names)

    def not_now(self, now: datetime, *names: str) -> list[str]:
        """Return the problems that only plan and deploy report."""
        reported = balancer.ROLE.problems(self.with_names(*names), now)
        return [one.removeprefix("balancer.tls.") for one in reported]


@contextmanager
def given_files(stack: Stack, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Given]:
    """Yield the given files on a machine that knows one root."""
    bundle = folder / "roots.pem"
    bundle.write_text(f"# Root\n{ROOT.pem}")
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    forget = given_certificate.roots.cache_clear
    forget()
    yield Given(stack, folder)
    forget()
