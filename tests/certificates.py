"""Certificates that live for one test."""

from __future__ import annotations

import dataclasses
import datetime as dt
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
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
    """

    ca: Path
    certificate: Path
    key: Path
    other_ca: Path

    @classmethod
    def make(cls, folder: Path) -> Authority:
        """Write them to `folder`."""
        ca_key, key = _key(), _key()
        other_key = _key()
        files = cls(folder / "ca.pem", folder / "server.pem", folder / "server.key", folder / "other.pem")
        files.ca.write_bytes(_certificate("ca", ca_key, "ca", ca_key))
        files.certificate.write_bytes(_certificate(SERVER, key, "ca", ca_key))
        files.other_ca.write_bytes(_certificate("other", other_key, "other", other_key))
        files.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return files


def _key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


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
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(subject)]), critical=False)
    )
    return builder.sign(issuer_key, hashes.SHA256()).public_bytes(Encoding.PEM)
