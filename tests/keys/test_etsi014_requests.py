"""Requests of ETSI GS QKD 014: what is one, what is none, and in which words that is said."""

import json
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bellrelay.keys.etsi014_errors import BadRequest
from bellrelay.keys.etsi014_requests import (
    KeyIds,
    KeyRequest,
    Limits,
    Route,
    key_ids,
    key_ids_of_query,
    key_request,
    key_request_of_query,
    route,
)

LIMITS = Limits(256, 64, 4096, 128, 2, 60.0)
A_UUID = "bc490419-7d60-487f-adc1-4ddcc177c139"


def body(value):
    return json.dumps(value).encode()


# ------------------------------------------------------------------------------------ paths


def test_paths_of_the_api():
    assert route("GET", "/api/v1/keys/sae-bob/status") == Route("sae-bob", "status")
    assert route("POST", "/api/v1/keys/sae-bob/enc_keys") == Route("sae-bob", "enc_keys")
    assert route("GET", "/api/v1/keys/sae-bob/dec_keys") == Route("sae-bob", "dec_keys")


def test_an_sae_id_in_a_path_is_percent_encoded():
    encoded = "/api/v1/keys/urn%3Asae%3A%2Fb%C3%B6b%20%25/status"
    assert route("GET", encoded) == Route("urn:sae:/böb %", "status")


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/api/v1/keys",
        "/api/v1/keys/",
        "/api/v1/keys//status",
        "/api/v1/keys/sae-bob",
        "/api/v1/keys/sae-bob/status/",
        "/api/v1/keys/sae-bob/Status",
        "/api/v1/keys/sae-bob/keys",
        "/api/v1/keys/a/b/status",
        "/api/v2/keys/sae-bob/status",
        "/api/v1/keys/%ff/status",
        "/api/v1/keys/%00/status",
        "/api/v1/keys/a%0Ab/status",
        "/api/v1/keys/" + "a" * 257 + "/status",
        "*",
        "",
    ],
)
def test_other_paths_are_bad_requests(path):
    with pytest.raises(BadRequest):
        route("GET", path)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD", "OPTIONS", "get"])
def test_status_is_had_by_get_alone(method):
    with pytest.raises(BadRequest, match="access method"):
        route(method, "/api/v1/keys/sae-bob/status")


# ------------------------------------------------------------------------------- key request


@pytest.mark.parametrize("empty", [b"", b"  \n", b"{}"])
def test_an_empty_key_request_takes_the_defaults(empty):
    assert key_request(empty, LIMITS) == KeyRequest(1, 256)
    assert key_request_of_query("", LIMITS) == KeyRequest(1, 256)


def test_a_full_key_request():
    wish = {
        "number": 20,
        "size": 512,
        "additional_slave_SAE_IDs": ["sae-carol", "sae-dave"],
        "extension_mandatory": [{"bellrelay_wait_s": 2.5}],
        "extension_optional": [{"abc_max_age": 30000}, {}],
    }
    expected = KeyRequest(20, 512, ("sae-carol", "sae-dave"), 2.5, True)
    assert key_request(body(wish), LIMITS) == expected
    assert key_request_of_query("number=20&size=512", LIMITS) == KeyRequest(20, 512)


@pytest.mark.parametrize(
    "text",
    [
        b"[]",
        b"null",
        b"1",
        b'"a"',
        b"true",
        b"{",
        b"{}{}",
        b"{'number': 1}",
        b'{"number": 1, "number": 2}',
        b'{"number": NaN}',
        b'{"number": 1e400}',
        b'{"number": 1' + b"0" * 5000 + b"}",
        b'\xff\xfe{"number": 1}',
        b'{"number": 1}\x00',
        b'{"extension_optional": [' + b'{"a": ' * 100 + b"1" + b"}" * 100 + b"]}",
        b'{"a":' * 100_000,
    ],
)
def test_what_is_no_json_object_is_a_bad_request(text):
    with pytest.raises(BadRequest):
        key_request(text, LIMITS)
    with pytest.raises(BadRequest):
        key_ids(text, LIMITS)


@pytest.mark.parametrize("name", ["number", "size"])
@pytest.mark.parametrize("value", [True, False, None, "1", 1.0, [], {}, 0, -8, 10**9])
def test_numbers_are_integers_within_limits(name, value):
    with pytest.raises(BadRequest, match=name):
        key_request(body({name: value}), LIMITS)


@pytest.mark.parametrize("query", ["number=x", "number=", "number=-1", "number=1.0", "number=%2B1"])
def test_numbers_of_a_query_are_integers(query):
    with pytest.raises(BadRequest, match="number"):
        key_request_of_query(query, LIMITS)


@pytest.mark.parametrize(
    "query",
    ["number=1&number=2", "size", "&", "extension_optional=x", "Number=1", "key_ID=" + A_UUID],
)
def test_a_query_of_get_key_has_number_and_size_once(query):
    with pytest.raises(BadRequest):
        key_request_of_query(query, LIMITS)


@pytest.mark.parametrize("size", [257, 255, 1, 63, 4097, 7])
def test_the_message_for_sizes_that_are_no_whole_bytes_is_the_standards(size):
    for ask in (
        lambda: key_request(body({"size": size}), LIMITS),
        lambda: key_request_of_query(f"size={size}", LIMITS),
    ):
        with pytest.raises(BadRequest) as caught:
            ask()
        assert caught.value.message == "size shall be a multiple of 8"


@pytest.mark.parametrize("size", [56, 4104])
def test_sizes_beyond_the_limits(size):
    with pytest.raises(BadRequest, match="64 to 4096"):
        key_request(body({"size": size}), LIMITS)


@pytest.mark.parametrize(
    "slaves", ["sae-carol", [1], [None], [""], [["a"]], {}, ["a", "a"], ["a", "b", "c"], ["a\nb"]]
)
def test_additional_slaves_are_few_names(slaves):
    with pytest.raises(BadRequest, match="additional_slave_SAE_IDs"):
        key_request(body({"additional_slave_SAE_IDs": slaves}), LIMITS)


def test_a_misspelt_item_is_not_ignored():
    with pytest.raises(BadRequest, match="'nmber'"):
        key_request(body({"nmber": 3}), LIMITS)


# -------------------------------------------------------------------------------- extensions


def test_an_unknown_mandatory_extension_is_refused_in_the_words_of_the_standard():
    wish = {"extension_mandatory": [{"abc_route_type": "direct"}, {"bellrelay_wait_s": 1}]}
    with pytest.raises(BadRequest) as caught:
        key_request(body(wish), LIMITS)
    assert caught.value.message == "not all extension_mandatory parameters are supported"
    assert caught.value.details == (
        {"extension_mandatory_unsupported": "abc_route_type is not supported"},
    )


def test_unknown_optional_extensions_are_ignored():
    assert (
        key_request(body({"extension_optional": [{"abc": [1, {"x": None}]}]}), LIMITS).wait_s == 0
    )


@pytest.mark.parametrize("kind", ["extension_mandatory", "extension_optional"])
@pytest.mark.parametrize("value", [{}, "x", [1], [[]], None])
def test_extensions_are_arrays_of_objects(kind, value):
    with pytest.raises(BadRequest, match=kind):
        key_request(body({kind: value}), LIMITS)


def test_a_wait_is_a_time_and_not_longer_than_this_kme_waits():
    def wait(value, kind="extension_optional"):
        return key_request(body({kind: [{"bellrelay_wait_s": value}]}), LIMITS)

    assert wait(3) == KeyRequest(1, 256, (), 3.0, False)
    assert wait(1000, "extension_mandatory") == KeyRequest(1, 256, (), 60.0, True)
    for bad in (True, "1", -1, None, []):
        with pytest.raises(BadRequest, match="bellrelay_wait_s"):
            wait(bad)


# ------------------------------------------------------------------------------------ key IDs


def test_key_ids_by_either_method():
    assert key_ids_of_query(f"key_ID={A_UUID}") == KeyIds((A_UUID,))
    asked = {
        "key_IDs": [
            {"key_ID": A_UUID.upper(), "key_ID_extension": {}},
            {"key_ID": A_UUID[:-1] + "8"},
        ],
        "key_IDs_extension": {"abc_x": 1},
    }
    assert key_ids(body(asked), LIMITS) == KeyIds((A_UUID, A_UUID[:-1] + "8"))


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"key_IDs": []},
        {"key_IDs": {}},
        {"key_IDs": [A_UUID]},
        {"key_IDs": [{}]},
        {"key_IDs": [{"key_ID": 1}]},
        {"key_IDs": [{"key_ID": None}]},
        {"key_IDs": [{"key_ID": A_UUID}, {"key_ID": A_UUID.upper()}]},
        {"key_IDs": [{"key_ID": A_UUID, "x": 1}]},
        {"key_IDs": [{"key_ID": A_UUID, "key_ID_extension": 1}]},
        {"key_IDs": [{"key_ID": A_UUID}], "key_IDs_extension": []},
        {"key_IDs": [{"key_ID": A_UUID}], "x": 1},
        {"key_IDs": [{"key_ID": str(UUID(int=i))} for i in range(129)]},
    ],
)
def test_what_is_no_key_ids_is_a_bad_request(value):
    with pytest.raises(BadRequest):
        key_ids(body(value), LIMITS)


@pytest.mark.parametrize("bad", ["x", A_UUID[:-1], "{" + A_UUID + "}", "urn:uuid:" + A_UUID])
def test_a_name_that_is_no_uuid_is_not_found(bad):
    for ask in (
        lambda: key_ids(body({"key_IDs": [{"key_ID": bad}]}), LIMITS),
        lambda: key_ids_of_query(f"key_ID={bad}"),
    ):
        with pytest.raises(BadRequest) as caught:
            ask()
        assert caught.value.message == "one or more keys specified are not found on KME"


@pytest.mark.parametrize("query", ["", "key_ID=", f"key_ID={A_UUID}&key_ID={A_UUID}", "key_id=x"])
def test_get_with_key_ids_names_exactly_one(query):
    with pytest.raises(BadRequest):
        key_ids_of_query(query)


# ---------------------------------------------------------------------------------- anything


@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_a_bad_request(data):
    for read in (key_request, key_ids):
        try:
            read(data, LIMITS)
        except BadRequest as error:
            json.dumps(error.message)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(
    [
        "number",
        "size",
        "additional_slave_SAE_IDs",
        "extension_mandatory",
        "extension_optional",
        "key_IDs",
        "key_IDs_extension",
    ]
)


@given(st.dictionaries(NAMES, JSON))
def test_any_values_are_a_request_or_a_bad_request(values):
    for read in (key_request, key_ids):
        try:
            found = read(body(values), LIMITS)
        except BadRequest as error:
            json.dumps([error.message, *error.details])
        else:
            if isinstance(found, KeyRequest):
                assert 1 <= found.number <= 128
                assert 64 <= found.size <= 4096
                assert found.size % 8 == 0


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_path_and_query_is_a_request_or_a_bad_request(path, query):
    for ask in (
        lambda: route("GET", "/api/v1/keys/" + path),
        lambda: key_request_of_query(query, LIMITS),
        lambda: key_ids_of_query(query),
    ):
        try:
            ask()
        except BadRequest as error:
            json.dumps(error.message)
