"""Certificates that live for one test."""

from __future__ import annotations

import dataclasses
import datetime as dt
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import NameOID

SERVER = "db.example"


@dataclasses.dataclass(frozen=True, slots=True)
class Authority:
    """PEM files.

    Args:
        ca: The authority's certificate.
        certificate: Of the server `db.example`, signed by it.
        key: The server's.
        other_ca: The certificate of an authority that signed nothing.
        ca_key: The authority's.
    """

    ca: Path
    certificate: Path
    key: Path
    other_ca: Path
    ca_key: Path

    @classmethod
    def make(cls, folder: Path) -> Authority:
        """Write them to `folder`."""
        ca_key, key = _key(), _key()
        other_key = _key()
        names = ("ca.pem", "server.pem", "server.key", "other.pem", "ca.key")
        files = cls(*(folder / name for name in names))
        files.ca.write_bytes(_certificate("ca", ca_key, "ca", ca_key))
        files.certificate.write_bytes(_certificate(SERVER, key, "ca", ca_key))
        files.other_ca.write_bytes(_certificate("other", other_key, "other", other_key))
        files.key.write_bytes(_pem(key))
        files.ca_key.write_bytes(_pem(ca_key))
        return files

    def issue(self, subject: str) -> tuple[Path, Path]:
        """Certificate and key of a server or client of that name, signed by the authority."""
        ca_key = load_pem_private_key(self.ca_key.read_bytes(), None)
        assert isinstance(ca_key, ec.EllipticCurvePrivateKey)
        key = _key()
        certificate, key_file = self.ca.with_name(f"{subject}.pem"), self.ca.with_name(f"{subject}.key")
        certificate.write_bytes(_certificate(subject, key, "ca", ca_key))
        key_file.write_bytes(_pem(key))
        return certificate, key_file


def _key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _general_name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _certificate(
    subject: str, key: ec.EllipticCurvePrivateKey, issuer: str, issuer_key: ec.EllipticCurvePrivateKey
) -> bytes:
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=key is issuer_key, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([_general_name(subject)]), critical=False)
    )
    return builder.sign(issuer_key, hashes.SHA256()).public_bytes(Encoding.PEM)
