"""An authority of our own and the serving certificate that it signs; what is due when is a matter of time alone. Pure
but for the keys, which are random.

Both are made anew at two thirds of their life. A new authority is first made known beside the old one, and signs only
when it is ``SETTLE`` old: by then every API server trusts it, so no request meets a certificate that it cannot verify.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_LIFE = timedelta(days=5 * 365)
LIFE = timedelta(days=90)
SKEW = timedelta(minutes=10)
"""Validity begins so long ago, for API servers whose clock is behind."""
SETTLE = timedelta(minutes=10)
RENEW_AT = 2 / 3
"""Part of its life at which a certificate is due."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """What serves TLS, as PEM texts."""

    authorities: tuple[str, ...]
    """Certificates to trust, newest first."""
    authority_key: str
    """Private key of the newest authority."""
    certificate: str
    key: str
    """Private key of the serving certificate."""


def read_certificate(pem: str) -> x509.Certificate:
    """Raises ValueError when it is none."""
    return x509.load_pem_x509_certificate(pem.encode())


def split_certificates(pem: str) -> tuple[str, ...]:
    """The single certificates of a text that holds several; ValueError when it is none."""
    return tuple(_pem(found) for found in x509.load_pem_x509_certificates(pem.encode()))


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


def _load_key(pem: str) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(pem.encode(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError(f"private key: found {type(key).__name__}, expected one of an elliptic curve")  # noqa: TRY004
    return key


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def new_authority(now: datetime) -> tuple[str, str]:
    """Certificate and private key of a new authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _named(f"multinic webhook authority {now:%Y-%m-%d %H:%M:%S}")
    made = (
        _builder(name, name, key)
        .not_valid_before(now - SKEW)
        .not_valid_after(now + AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    return _pem(made), _key_pem(key)


def _host(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def issue(authority: str, authority_key: str, names: Collection[str], now: datetime) -> tuple[str, str]:
    """Serving certificate and its private key, for these host names and addresses."""
    signer, signer_key = read_certificate(authority), _load_key(authority_key)
    key = ec.generate_private_key(ec.SECP256R1())
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer_key.public_key())
    end = min(now + LIFE, signer.not_valid_after_utc)
    made = (
        _builder(_named("multinic webhook"), signer.subject, key)
        .not_valid_before(now - SKEW)
        .not_valid_after(end)
        .add_extension(identifier, critical=False)
        .add_extension(x509.SubjectAlternativeName([_host(name) for name in sorted(names)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .sign(signer_key, hashes.SHA256())
    )
    return _pem(made), _key_pem(key)


def _due(certificate: x509.Certificate, now: datetime) -> bool:
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return now >= begin + (end - begin) * RENEW_AT


def _names(certificate: x509.Certificate) -> set[str]:
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {*found.get_values_for_type(x509.DNSName), *map(str, found.get_values_for_type(x509.IPAddress))}


def _signed_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _anew(names: Collection[str], now: datetime) -> Bundle:
    authority, authority_key = new_authority(now)
    return Bundle((authority,), authority_key, *issue(authority, authority_key, names, now))


def renewed(bundle: Bundle | None, names: Collection[str], now: datetime) -> Bundle:
    """The bundle that should be in use now: the same value while nothing is due.

    Args:
        bundle: what is in use; None, or one that cannot be read or does not belong together, is replaced whole.
        names: host names and addresses that API servers may call.
    """
    try:
        return _anew(names, now) if bundle is None else _renewed(bundle, names, now)
    except (ValueError, x509.ExtensionNotFound):
        return _anew(names, now)


def _renewed(bundle: Bundle, names: Collection[str], now: datetime) -> Bundle:
    kept = [pem for pem in bundle.authorities if read_certificate(pem).not_valid_after_utc > now]
    if not kept or kept[0] != bundle.authorities[0]:
        return _anew(names, now)
    newest = read_certificate(kept[0])
    if _load_key(bundle.authority_key).public_key() != newest.public_key():
        return _anew(names, now)
    if _due(newest, now):
        authority, authority_key = new_authority(now)
        return replace(bundle, authorities=(authority, *kept), authority_key=authority_key)
    bundle = replace(bundle, authorities=tuple(kept))
    serving = read_certificate(bundle.certificate)
    if _load_key(bundle.key).public_key() != serving.public_key():
        return _anew(names, now)
    settled = len(kept) == 1 or now >= newest.not_valid_before_utc + SKEW + SETTLE
    trusted = any(_signed_by(serving, read_certificate(pem)) for pem in kept)
    useless = not trusted or serving.not_valid_after_utc <= now or not set(names) <= _names(serving)
    if useless or (settled and (_due(serving, now) or not _signed_by(serving, newest))):
        certificate, key = issue(kept[0], bundle.authority_key, {*names, *_names(serving)}, now)
        return replace(bundle, certificate=certificate, key=key)
    return bundle
