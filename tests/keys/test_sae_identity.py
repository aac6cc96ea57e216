"""Whose certificate it is, and whether it still stands."""

import ssl

import pytest
from kme_certificates import DAY, HOUR, Authority

from bellrelay.keys.sae_identity import (
    CertificateRefused,
    RevocationError,
    RevocationList,
    SaeCertificate,
)

FOUND = {
    "subject": ((("countryName", "AT"),), (("commonName", "sae-alice"),)),
    "serialNumber": "0A",
    "notAfter": "Nov 25 12:00:00 2026 GMT",
    "subjectAltName": (("DNS", "alice.example"), ("URI", "urn:sae:alice"), ("URI", "https://x")),
}


def test_the_sae_id_is_the_common_name_or_a_uri():
    by_name = SaeCertificate.of(FOUND, "common-name")
    assert (by_name.sae_id, by_name.serial) == ("sae-alice", 10)
    assert by_name.not_after == 1795608000
    assert SaeCertificate.of(FOUND, "uri", "urn:sae:").sae_id == "alice"


@pytest.mark.parametrize(
    "change",
    [
        {"subject": ()},
        {"subject": ((("commonName", ""),),)},
        {"subject": ((("commonName", "sae-alice"),), (("commonName", "sae-bob"),))},
    ],
)
def test_one_common_name_and_no_other(change):
    with pytest.raises(CertificateRefused):
        SaeCertificate.of({**FOUND, **change}, "common-name")


@pytest.mark.parametrize("prefix", ["urn:other:", "", "urn:sae:alice"])
def test_one_uri_with_the_prefix_and_no_other(prefix):
    with pytest.raises(CertificateRefused):
        SaeCertificate.of(FOUND, "uri", prefix)


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path / "ca")


def certificate(serial):
    return SaeCertificate("sae-alice", serial, 2e9)


def test_a_list_that_changes_is_read_again(authority):
    revoked = RevocationList(authority.crl, authority.ca)
    assert revoked.fault(certificate(77)) is None
    assert not revoked.refresh()
    authority.revoke(77)
    assert revoked.refresh()
    assert revoked.fault(certificate(77)) == "revoked"
    assert revoked.fault(certificate(78)) is None


def test_a_list_that_is_out_of_date_vouches_for_nobody(authority):
    authority.revoke(begin=-2 * DAY, end=-HOUR)
    revoked = RevocationList(authority.crl, authority.ca)
    assert revoked.fault(certificate(1)) == "the revocation list is out of date"


def test_a_list_of_somebody_else_is_no_list(authority, tmp_path):
    other = Authority(tmp_path / "other")
    with pytest.raises(RevocationError, match="authority"):
        RevocationList(other.crl, authority.ca)
    authority.crl.write_text("nonsense")
    with pytest.raises(RevocationError):
        RevocationList(authority.crl, authority.ca)
    with pytest.raises(RevocationError):
        RevocationList(tmp_path / "nowhere", authority.ca)


def test_what_was_read_stays_while_the_file_is_unreadable(authority):
    authority.revoke(77)
    revoked = RevocationList(authority.crl, authority.ca)
    authority.crl.write_text("half a list")
    with pytest.raises(RevocationError):
        revoked.refresh()
    assert revoked.fault(certificate(77)) == "revoked"


def test_tls_takes_the_list(authority):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    RevocationList(authority.crl, authority.ca).load_into(context)
    assert context.verify_flags & ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF
