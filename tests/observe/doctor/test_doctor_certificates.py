"""What `bellrelay doctor` says of certificates, each way in which one can be wrong."""

import datetime
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID
from found_states import AnyFile, only, states
from kme_certificates import DAY, HOUR

from bellrelay.observe.doctor.certificates import check_certificates
from bellrelay.observe.doctor.needs import Certificates, Chain, TlsFiles
from bellrelay.service.private_file import UnsafeMode
from bellrelay.settings.model import ConfigError

FAR = 60 * DAY


def section(authority, name, ca=None, **more):
    files = TlsFiles(authority.folder / f"{name}.crt", authority.folder / f"{name}.key", ca)
    return Certificates("peer.tls", files, **{"listens": True, **more})


def look(*sections, now=None):
    return list(check_certificates(AnyFile(), sections, now))


def test_one_that_is_right_is_told_with_its_names_and_its_end(authority):
    authority.issue("alice", dns=["alice.example.net", "alice"], end=FAR)
    certificate, key = look(section(authority, "alice"))
    assert states([certificate, key]) == ["passed", "passed"]
    assert "59 days more, alice.example.net, alice" in certificate.detail
    assert "fits the certificate" in key.detail
    # The same files in another section are told once.
    assert len(look(section(authority, "alice"), section(authority, "alice"))) == 2


@pytest.mark.parametrize(
    ("begin", "end", "state", "words"),
    [
        (-2 * DAY, -HOUR, "failed", "which holds from"),
        (HOUR, FAR, "failed", "which holds from"),
        (-HOUR, 3 * DAY, "warning", "2 days more"),
    ],
    ids=["expired", "not yet valid", "soon over"],
)
def test_one_that_does_not_hold_now_or_not_for_long(authority, begin, end, state, words):
    authority.issue("alice", dns=["alice"], begin=begin, end=end)
    found = look(section(authority, "alice"))[0]
    assert (found.state, words in found.detail) == (state, True), found
    assert "signed anew" in found.remedy
    assert isinstance(found.error, ConfigError) == (state == "failed")


def test_a_key_that_others_can_read_and_one_of_another_certificate(authority):
    _, key, _ = authority.issue("alice", dns=["alice"], end=FAR)
    key.chmod(0o644)
    found = look(section(authority, "alice"))
    assert states(found) == ["passed", "failed"]
    assert "mode 0644 lets others in" in found[1].detail
    assert isinstance(found[1].error, UnsafeMode)
    _, other, _ = authority.issue("bob", dns=["bob"], end=FAR)
    key.write_bytes(other.read_bytes())
    key.chmod(0o600)
    found = look(section(authority, "alice"))
    assert states(found) == ["passed", "failed"]
    assert "wanted: the private key of" in found[1].detail
    key.unlink()
    found = look(section(authority, "alice"))
    assert states(found) == ["passed", "failed"]
    assert "it is not there" in found[1].detail


@pytest.mark.parametrize(
    ("ending", "text", "words"),
    [("crt", "nonsense", "a certificate, PEM"), ("key", "nonsense", "a private key, PEM")],
)
def test_what_is_no_pem(authority, ending, text, words):
    authority.issue("alice", dns=["alice"], end=FAR)
    path = authority.folder / f"alice.{ending}"
    path.write_text(text)
    found = look(section(authority, "alice"))[-1]
    assert (found.state, words in found.detail) == ("failed", True)


def test_without_a_name_only_where_somebody_looks_for_one(authority):
    authority.issue("alice", end=FAR)
    assert states(look(section(authority, "alice")))[0] == "failed"
    assert states(look(section(authority, "alice", names=False)))[0] == "passed"


@pytest.mark.parametrize("listens", [True, False])
@pytest.mark.parametrize(
    ("chain", "state"), [(Chain.NEEDED, "failed"), (Chain.USUAL, "warning"), (Chain.NOT_SAID, None)]
)
def test_of_another_authority_counts_by_who_has_to_believe_it(
    authority, stranger, listens, chain, state
):
    authority.issue("alice", dns=["alice"], end=FAR)
    about = section(authority, "alice", authority.ca, listens=listens, chain=chain)
    good = [f for f in look(about) if "has signed" in f.detail]
    assert states(good) == ([] if state is None else ["passed"])
    foreign = replace(about, files=replace(about.files, ca=stranger.ca))
    found = [f for f in look(foreign) if "signed" in f.detail]
    assert states(found) == ([] if state is None else [state])


def test_without_its_key_nobody_says_who_has_signed_it(authority):
    authority.issue("alice", dns=["alice"], end=FAR)
    about = section(authority, "alice", authority.ca, chain=Chain.NEEDED)
    handed = Path("/run/credentials/bellrelay-cluster@none-such.service/key")
    found = look(replace(about, files=replace(about.files, key=handed)))
    assert states(found) == ["passed", "not known", "warning", "not known"], found
    assert "systemd hands it to" in found[1].detail
    assert "not tried without its key" in found[3].detail


def test_a_certificate_for_another_use_is_refused_as_tls_would(authority):
    authority.issue("alice", dns=["a"], end=FAR, usages=[ExtendedKeyUsageOID.CLIENT_AUTH])
    for listens, state in ((True, "failed"), (False, "passed")):
        about = section(authority, "alice", authority.ca, listens=listens, chain=Chain.NEEDED)
        assert states(look(about))[-1] == state


def test_an_authority_that_has_expired_or_is_none(authority, tmp_path):
    authority.issue("alice", dns=["alice"], begin=-HOUR, end=FAR)
    about = section(authority, "alice", authority.ca, ca_name="clients_ca")
    assert only(look(about), "clients_ca").state == "warning"
    later = datetime.datetime.now(datetime.UTC) + 2 * DAY
    assert only(look(about, now=later), "an authority that has not expired").state == "failed"
    for text in ("nonsense", None):
        ca = tmp_path / "ca.crt"
        ca.write_text(text) if text else ca.unlink()
        found = look(replace(about, files=replace(about.files, ca=ca)))
        assert only(found, "clients_ca").state == "failed"


def test_a_revocation_list_that_is_new_old_or_another_authority_s(authority, stranger):
    authority.issue("kme", dns=["kme"], end=FAR)
    authority.revoke(begin=-HOUR, end=10 * HOUR)
    about = section(authority, "kme", authority.ca, revoked=authority.crl)
    assert only(look(about), "tls.crl").state == "passed"
    now = datetime.datetime.now(datetime.UTC)
    assert only(look(about, now=now + 9 * HOUR), "tls.crl").state == "warning"
    assert "not out of date" in only(look(about, now=now + 11 * HOUR), "tls.crl").detail
    found = only(look(replace(about, revoked=stranger.crl)), "tls.crl")
    assert (found.state, isinstance(found.error, ConfigError)) == ("failed", True)


def test_no_key_is_told(authority):
    _, key, _ = authority.issue("alice", dns=["alice"], end=FAR)
    secret = key.read_text().splitlines()[1]
    found = look(section(authority, "alice", authority.ca, chain=Chain.NEEDED))
    assert secret not in repr(found) + str([f.as_json() for f in found])
