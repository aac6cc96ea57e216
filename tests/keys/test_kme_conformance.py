"""Two running KMEs against ETSI GS QKD 014 v1.1.1: every method, code and Error, from both sides.

Clause numbers are the standard's. Form and limits of requests by themselves: test_etsi014_requests;
what is no HTTP, certificates: test_kme_server.
"""

import base64
import threading
import time
import uuid

import pytest
from running_kmes import RunningKmes
from two_sites import TwoSites

NOT_FOUND = {"message": "one or more keys specified are not found on KME"}


@pytest.fixture(scope="module")
def kmes(tmp_path_factory):
    sites = TwoSites(
        tmp_path_factory.mktemp("kmes"),
        [
            ("bank", "sae-alice", "sae-bob", 2),
            ("hospital", "sae-carol", "sae-dave", 1),
            ("shared", "sae-alice", "sae-dave", 1),
            ("odd", "sae-erin", "sae-odd", 1),
        ],
        groups=[["sae-alice", "sae-bob", "sae-carol"]],
    )
    sites.add_blocks(4, 500)
    with RunningKmes(sites) as kmes:
        yield kmes


def one_key(kmes, master="sae-alice", site="kme-a", slave="sae-bob", **wish):
    code, container = kmes.enc_keys(master, site, slave, **wish)
    assert code == 200, container
    (key,) = container["keys"]
    return key


# --------------------------------------------------------------------------- 5.2, 6.1 Get status


def test_status_has_all_items_of_6_1(kmes):
    code, status = kmes.status("sae-alice", "kme-a", "sae-bob")
    assert code == 200
    count = status.pop("stored_key_count")
    assert 0 < count <= 400
    assert status == {
        "source_KME_ID": "kme-a",
        "target_KME_ID": "kme-b",
        "master_SAE_ID": "sae-alice",
        "slave_SAE_ID": "sae-bob",
        "key_size": 256,
        "max_key_count": 1_000_000,
        "max_key_per_request": 128,
        "max_key_size": 4096,
        "min_key_size": 64,
        "max_SAE_ID_count": 8,
    }


def test_status_at_the_other_kme_has_the_other_as_master(kmes):
    code, status = kmes.status("sae-bob", "kme-b", "sae-alice")
    assert code == 200
    assert (status["source_KME_ID"], status["target_KME_ID"]) == ("kme-b", "kme-a")
    assert (status["master_SAE_ID"], status["slave_SAE_ID"]) == ("sae-bob", "sae-alice")


def test_what_is_delivered_is_removed_from_the_count(kmes):
    before = kmes.status("sae-alice", "kme-a", "sae-bob")[1]["stored_key_count"]
    assert kmes.enc_keys("sae-alice", "kme-a", "sae-bob", number=3)[0] == 200
    after = kmes.status("sae-alice", "kme-a", "sae-bob")[1]["stored_key_count"]
    assert before - after == 3


# ------------------------------------------------------------------ 5.3, 5.4, 6.2 to 6.4 keys


@pytest.mark.parametrize(
    ("master", "site", "slave", "other"),
    [("sae-alice", "kme-a", "sae-bob", "kme-b"), ("sae-bob", "kme-b", "sae-alice", "kme-a")],
)
@pytest.mark.parametrize(("number", "size"), [(1, 256), (3, 64), (2, 384), (5, 4096), (128, 256)])
def test_both_sides_get_the_same_keys(kmes, master, site, slave, other, number, size):
    if number == 128:
        kmes.sites.add_blocks(2, 800)
        kmes.settle()
    code, container = kmes.enc_keys(master, site, slave, number=number, size=size)
    assert code == 200, container
    keys = container["keys"]
    assert len(keys) == len({key["key_ID"] for key in keys}) == number
    for key in keys:
        assert set(key) == {"key_ID", "key"}
        assert str(uuid.UUID(key["key_ID"])) == key["key_ID"]
        assert len(base64.b64decode(key["key"], validate=True)) == size // 8
    # As soon as it is returned, and in any order.
    asked = [key["key_ID"] for key in keys][::-1]
    code, found = kmes.dec_keys(slave, other, master, *asked)
    assert code == 200, found
    assert found["keys"] == keys[::-1]


def test_get_is_the_same_for_simple_requests(kmes):
    for query in ("", "?number=1", "?size=128", "?number=1&size=128"):
        code, container = kmes.ask("sae-alice", "kme-a", "/api/v1/keys/sae-bob/enc_keys" + query)
        assert code == 200
        (key,) = container["keys"]
        path = f"/api/v1/keys/sae-alice/dec_keys?key_ID={key['key_ID']}"
        assert kmes.ask("sae-bob", "kme-b", path) == (200, {"keys": [key]})


def test_post_without_a_body_is_one_key_of_the_default_size(kmes):
    code, container = kmes.ask("sae-alice", "kme-a", "/api/v1/keys/sae-bob/enc_keys", raw=b"")
    assert code == 200
    assert len(base64.b64decode(container["keys"][0]["key"])) == 32


def test_a_key_is_given_once_to_each(kmes):
    key = one_key(kmes)
    assert kmes.dec_keys("sae-bob", "kme-b", "sae-alice", key["key_ID"])[0] == 200
    assert kmes.dec_keys("sae-bob", "kme-b", "sae-alice", key["key_ID"]) == (400, NOT_FOUND)


def test_one_that_is_not_there_leaves_the_others_there(kmes):
    key = one_key(kmes)
    unknown = str(uuid.uuid4())
    found = kmes.dec_keys("sae-bob", "kme-b", "sae-alice", key["key_ID"], unknown)
    assert found == (400, NOT_FOUND)
    code, container = kmes.dec_keys("sae-bob", "kme-b", "sae-alice", key["key_ID"])
    assert (code, container["keys"]) == (200, [key])


def test_the_master_does_not_get_its_key_a_second_time(kmes):
    key = one_key(kmes)
    # It is no slave of itself, and Bob is not the master of this key.
    assert kmes.dec_keys("sae-alice", "kme-a", "sae-alice", key["key_ID"])[0] == 401
    assert kmes.dec_keys("sae-alice", "kme-a", "sae-bob", key["key_ID"]) == (400, NOT_FOUND)


def test_an_sae_that_was_not_named_is_a_401(kmes):
    key = one_key(kmes)
    # Dave may share keys with Alice, but was not named; Carol may not be asked for Bob's.
    code, error = kmes.dec_keys("sae-dave", "kme-b", "sae-alice", key["key_ID"])
    assert (code, set(error)) == (401, {"message"})
    assert kmes.dec_keys("sae-bob", "kme-b", "sae-alice", key["key_ID"])[0] == 200
    # What Dave is told does not depend on whether Bob has fetched.
    assert kmes.dec_keys("sae-dave", "kme-b", "sae-alice", key["key_ID"]) == (401, error)


def test_a_key_of_another_master_is_not_found(kmes):
    key = one_key(kmes, "sae-carol", "kme-a", "sae-dave")
    found = kmes.dec_keys("sae-dave", "kme-b", "sae-alice", key["key_ID"])
    assert found == (400, NOT_FOUND)
    assert kmes.dec_keys("sae-dave", "kme-b", "sae-carol", key["key_ID"])[0] == 200


@pytest.mark.parametrize("other", ["sae-dave", "nobody", "sae-alice", "kme-b"])
@pytest.mark.parametrize("verb", ["status", "enc_keys"])
def test_an_sae_that_may_not_be_had_keys_with_is_a_401_whether_there_is_one_or_not(
    kmes, other, verb
):
    code, error = kmes.ask("sae-erin", "kme-a", f"/api/v1/keys/{other}/{verb}")
    assert (code, error) == (401, {"message": "not authorized to share keys with this SAE"})


def test_an_sae_of_the_other_kme_is_no_sae_here(kmes):
    assert kmes.status("sae-bob", "kme-a", "sae-alice")[0] == 401
    assert kmes.dec_keys("sae-bob", "kme-a", "sae-alice", str(uuid.uuid4()))[0] == 401


# ------------------------------------------------------------------------------- 6.2 multicast


def test_additional_slaves_get_the_same_key_each_once(kmes):
    code, container = kmes.enc_keys(
        "sae-alice", "kme-a", "sae-bob", additional_slave_SAE_IDs=["sae-carol", "sae-dave"]
    )
    assert code == 200, container
    (key,) = container["keys"]
    for slave, site in (("sae-dave", "kme-b"), ("sae-carol", "kme-a"), ("sae-bob", "kme-b")):
        assert kmes.dec_keys(slave, site, "sae-alice", key["key_ID"]) == (200, container)
        assert kmes.dec_keys(slave, site, "sae-alice", key["key_ID"]) == (400, NOT_FOUND)


@pytest.mark.parametrize(
    ("slaves", "code"),
    [
        (["sae-odd"], 401),
        (["nobody"], 401),
        (["sae-bob"], 400),
        (["sae-alice"], 400),
        ([f"sae-{i}" for i in range(9)], 400),
    ],
)
def test_additional_slaves_that_may_not_be(kmes, slaves, code):
    found, error = kmes.enc_keys("sae-alice", "kme-a", "sae-bob", additional_slave_SAE_IDs=slaves)
    assert found == code
    assert isinstance(error["message"], str)


# ------------------------------------------------------------------------------ 6.2 extensions


def test_extensions_in_the_words_of_6_2(kmes):
    code, error = kmes.enc_keys(
        "sae-alice", "kme-a", "sae-bob", extension_mandatory=[{"abc_route_type": "direct"}]
    )
    assert code == 400
    assert error == {
        "message": "not all extension_mandatory parameters are supported",
        "details": [{"extension_mandatory_unsupported": "abc_route_type is not supported"}],
    }
    one_key(kmes, extension_optional=[{"abc_max_age": 30000}, {"abc": {"x": [1]}}])
    one_key(kmes, extension_mandatory=[{"bellrelay_wait_s": 1}])


def exhaust(kmes, master, site, slave):
    """Take all that this master can get."""
    while (left := kmes.status(master, site, slave)[1]["stored_key_count"]) > 0:
        assert kmes.enc_keys(master, site, slave, number=min(left, 128))[0] == 200


def test_where_keys_run_short(kmes):
    exhaust(kmes, "sae-erin", "kme-a", "sae-odd")
    code, error = kmes.enc_keys("sae-erin", "kme-a", "sae-odd")
    assert (code, error) == (
        503,
        {"message": "not enough keys", "details": [{"available_keys": 0}]},
    )
    code, error = kmes.enc_keys(
        "sae-erin", "kme-a", "sae-odd", extension_mandatory=[{"bellrelay_wait_s": 0.2}]
    )
    assert (code, error) == (
        400,
        {"message": "not all extension_mandatory request options could be met"},
    )
    begun = time.monotonic()
    code, _ = kmes.enc_keys(
        "sae-erin", "kme-a", "sae-odd", extension_optional=[{"bellrelay_wait_s": 0.5}]
    )
    assert code == 503
    assert time.monotonic() - begun >= 0.5
    # What others have is not touched by it.
    assert kmes.status("sae-alice", "kme-a", "sae-bob")[1]["stored_key_count"] > 0
    assert kmes.status("sae-odd", "kme-b", "sae-erin")[1]["stored_key_count"] > 0


def test_a_wait_ends_as_soon_as_there_are_keys(kmes):
    exhaust(kmes, "sae-erin", "kme-a", "sae-odd")
    threading.Timer(0.5, lambda: kmes.sites.add_blocks(1, 50)).start()
    begun = time.monotonic()
    key = one_key(
        kmes, "sae-erin", "kme-a", "sae-odd", extension_mandatory=[{"bellrelay_wait_s": 30}]
    )
    assert time.monotonic() - begun < 15
    assert kmes.dec_keys("sae-odd", "kme-b", "sae-erin", key["key_ID"])[0] == 200


def test_sizes_that_are_no_whole_bytes(kmes):
    code, error = kmes.enc_keys("sae-alice", "kme-a", "sae-bob", size=257)
    assert (code, error) == (400, {"message": "size shall be a multiple of 8"})
    for number in (0, 129, True):
        assert kmes.enc_keys("sae-alice", "kme-a", "sae-bob", number=number)[0] == 400


# ------------------------------------------------------------------------------ the other KME


def test_without_the_other_kme_there_is_a_503_and_nothing_is_lost(kmes):
    before = kmes.status("sae-alice", "kme-a", "sae-bob")[1]["stored_key_count"]
    key = one_key(kmes)
    kmes.stop("kme-b")
    code, error = kmes.enc_keys("sae-alice", "kme-a", "sae-bob")
    assert (code, error) == (503, {"message": "the other KME cannot be reached"})
    assert kmes.status("sae-alice", "kme-a", "sae-bob")[0] == 200
    kmes.start("kme-b")
    kmes.settle()
    end = time.monotonic() + 20
    while kmes.status("sae-alice", "kme-a", "sae-bob")[1]["stored_key_count"] < before - 1:
        assert time.monotonic() < end
        time.sleep(0.05)
    # It was adopted before it was delivered, so that it outlives both.
    assert kmes.dec_keys("sae-bob", "kme-b", "sae-alice", key["key_ID"])[0] == 200
