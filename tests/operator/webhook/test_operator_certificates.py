"""The webhook's certificates: what they are good for, and what is made anew when."""

from __future__ import annotations

import ssl
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from multinic_operator.webhook.certificates import (
    AUTHORITY_LIFE,
    LIFE,
    SETTLE,
    Bundle,
    issue,
    new_authority,
    read_certificate,
    renewed,
)
from multinic_operator.webhook.server import tls_context

START = datetime(2026, 1, 1, tzinfo=UTC)
NAMES = ("webhook.here.svc", "127.0.0.1")


def shake_hands(bundle: Bundle, trusted: str, name: str) -> None:
    """A TLS handshake in memory; raises ssl.SSLCertVerificationError when the client does not trust the server."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.load_verify_locations(cadata=trusted)
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    caller = client.wrap_bio(to_client, to_server, server_hostname=name)
    server = tls_context(bundle).wrap_bio(to_server, to_client, server_side=True)
    for side in (caller, server, caller, server):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue


def test_a_new_bundle_serves_all_its_names_and_no_other() -> None:
    """Strictly verified, by host name and by address."""
    bundle = renewed(None, NAMES, datetime.now(UTC))
    for name in NAMES:
        shake_hands(bundle, bundle.authorities[0], name)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(bundle, bundle.authorities[0], "elsewhere.svc")


def test_nothing_is_made_anew_before_it_is_due() -> None:
    """The same value until two thirds of the serving certificate's life."""
    bundle = renewed(None, NAMES, START)
    assert renewed(bundle, NAMES, START) == bundle
    assert renewed(bundle, NAMES[:1], START + LIFE * 0.6) == bundle


def test_a_certificate_is_renewed_at_two_thirds_of_its_life_by_the_same_authority() -> None:
    """What API servers trust stays as it is."""
    bundle = renewed(None, NAMES, START)
    later = renewed(bundle, NAMES, START + LIFE * 0.7)
    assert (later.authorities, later.authority_key) == (bundle.authorities, bundle.authority_key)
    assert later.certificate != bundle.certificate
    assert read_certificate(later.certificate).not_valid_after_utc > START + LIFE * 1.6


def test_a_new_authority_is_trusted_before_it_signs() -> None:
    """First both are trusted and the old one's certificate serves, then the new one signs, at last the old one goes."""
    bundle, at = renewed(None, NAMES, START), START
    while at + LIFE * 0.7 < START + AUTHORITY_LIFE * 0.66:
        at += LIFE * 0.7
        bundle = renewed(bundle, NAMES, at)
    (old,) = bundle.authorities
    at = START + AUTHORITY_LIFE * 0.67
    both = renewed(bundle, NAMES, at)
    assert (len(both.authorities), both.authorities[1], both.certificate) == (2, old, bundle.certificate)
    assert renewed(both, NAMES, at + SETTLE / 2) == both
    signed = renewed(both, NAMES, at + SETTLE)
    assert signed.authorities == both.authorities
    read_certificate(signed.certificate).verify_directly_issued_by(read_certificate(signed.authorities[0]))
    assert renewed(signed, NAMES, START + AUTHORITY_LIFE + timedelta(days=1)).authorities == both.authorities[:1]


def test_every_bundle_in_a_life_of_ten_years_is_trusted_by_those_who_read_the_one_before() -> None:
    """Whoever looks once a day never meets a certificate that the authorities of the day before do not cover."""
    bundle, at = renewed(None, NAMES, START), START
    for _ in range(3650):
        before, at = bundle, at + timedelta(days=1)
        bundle = renewed(bundle, NAMES, at)
        serving = read_certificate(bundle.certificate)
        assert serving.not_valid_after_utc > at
        issuers = [read_certificate(pem).subject for pem in before.authorities]
        assert serving.issuer in issuers


def test_a_name_that_is_missing_is_added_at_once() -> None:
    """And those that were there stay."""
    bundle = renewed(renewed(None, NAMES, START), ["another.svc"], START)
    shake = renewed(bundle, [*NAMES, "another.svc"], START)
    assert shake == bundle


def test_what_does_not_belong_together_is_replaced_whole() -> None:
    """A text that is no certificate, a key of something else, an authority that has expired."""
    bundle, other = renewed(None, NAMES, START), renewed(None, NAMES, START)
    for broken in (
        replace(bundle, certificate="nonsense"),
        replace(bundle, authorities=()),
        replace(bundle, key=other.key),
        replace(bundle, authority_key=other.authority_key),
    ):
        made = renewed(broken, NAMES, START)
        assert made.authorities[:1] != bundle.authorities[:1]
        assert renewed(made, NAMES, START) == made
    late = renewed(bundle, NAMES, START + 2 * AUTHORITY_LIFE)
    assert (len(late.authorities), late.authorities != bundle.authorities) == (1, True)


def test_a_certificate_does_not_outlive_its_authority() -> None:
    """One that is issued late in the authority's life ends with it."""
    authority, key = new_authority(START)
    late = START + AUTHORITY_LIFE - timedelta(days=5)
    certificate, _ = issue(authority, key, NAMES, late)
    assert read_certificate(certificate).not_valid_after_utc == read_certificate(authority).not_valid_after_utc
