"""Messages between endpoints: there and back, and nothing that is not one."""

import contextlib
import struct
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bellrelay.wire.peer_messages import (
    BODY_LIMITS,
    FRAME_HEADER_BYTES,
    Abort,
    Amplify,
    Commit,
    Exchange,
    Hello,
    Kind,
    OpenBlock,
    OpenBlocks,
    PeerFrame,
    PeerMessageError,
    Pending,
    Reveal,
    Start,
    Tag,
    Tallies,
    Verdict,
    Verified,
    Verify,
)

u8, u32, u64 = (st.integers(0, (1 << n) - 1) for n in (8, 32, 64))


def some(n):
    return st.binary(min_size=n, max_size=n)


MESSAGES = st.one_of(
    st.builds(
        Hello,
        st.integers(0, 65535),
        u8,
        *(some(n) for n in (16, 16)),
        expects=u64,
        parameters=some(32),
    ),
    st.builds(OpenBlocks, st.lists(st.builds(OpenBlock, u32, u64, u8, u8), max_size=5).map(tuple)),
    st.builds(Tallies, some(32)),
    st.builds(Start, u8, some(32), u32, u64),
    st.builds(Verify, some(16), some(16), u64, some(32), u64),
    st.builds(Verified, st.integers(0, 1), u64, u64),
    st.builds(Amplify, u64, u64, u64, st.binary(max_size=40)),
    st.builds(Pending, u64),
    st.builds(Verdict, st.integers(0, 1)),
    st.builds(Tag, u64, some(16)),
    st.builds(Abort, st.text("abcdefghij-", min_size=1, max_size=64)),
    st.builds(
        lambda announced, deviation, digest, parameters, edges: Commit(
            announced,
            deviation,
            digest,
            parameters,
            tuple(zip(sorted(edges)[::2], sorted(edges)[1::2], strict=True)),
        ),
        u64,
        u32,
        some(32),
        some(32),
        st.sets(u64, max_size=8).filter(lambda s: len(s) % 2 == 0),
    ),
)


@given(MESSAGES)
def test_there_and_back(message):
    assert type(message).parse(message.encode()) == message


@given(MESSAGES, st.integers(0, 30))
def test_what_is_cut_off_is_refused_or_says_something_else(message, length):
    body = message.encode()
    if length >= len(body):
        return
    with contextlib.suppress(PeerMessageError):
        assert type(message).parse(body[:length]) != message


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1)), max_size=70))
def test_a_reveal_says_bits_of_other_settings_than_the_signal_alone(choices):
    setting = np.array([s for s, _ in choices], np.uint8)
    bit = np.array([b for _, b in choices], np.uint8)
    body = Reveal(setting, bit[setting != 0]).encode()
    again = Reveal.parse(body)
    assert np.array_equal(again.setting, setting)
    assert np.array_equal(again.bit, bit[setting != 0])
    signal = np.where(setting == 0, bit ^ 1, bit)
    assert Reveal(setting, signal[setting != 0]).encode() == body


@pytest.mark.parametrize(
    "body",
    [
        b"",
        struct.pack("<Q", 1 << 60) + bytes(100),
        struct.pack("<Q", 3) + b"\xff\x80",
        struct.pack("<Q", 1) + b"\x01",
        struct.pack("<Q", 1) + b"\x01\x01",
        struct.pack("<Q", 1) + b"\x00\x00",
    ],
)
def test_a_reveal_that_contradicts_itself_is_refused(body):
    with pytest.raises(PeerMessageError):
        Reveal.parse(body)


@pytest.mark.parametrize("ranges", [((5, 5),), ((5, 4),), ((1, 3), (3, 4)), ((4, 9), (1, 2))])
def test_ranges_that_are_none_are_refused(ranges):
    with pytest.raises(PeerMessageError):
        Commit.parse(Commit(1, 0, bytes(32), bytes(32), ranges).encode())


@given(
    st.builds(
        PeerFrame,
        st.sampled_from([k for k in Kind if BODY_LIMITS[k] >= 100]),
        st.sampled_from(Exchange),
        u32,
        u64,
        st.integers(0, 255),
        u64,
        u64,
        st.binary(max_size=100),
    )
)
def test_frames_there_and_back(frame):
    data = frame.encode()
    head, size = PeerFrame.parse_header(data[:FRAME_HEADER_BYTES])
    assert size == len(frame.body) == len(data) - FRAME_HEADER_BYTES
    assert head == replace(frame, body=b"")


@pytest.mark.parametrize("kind", Kind)
def test_nobody_can_ask_for_more_than_a_kind_may_have(kind):
    limit = BODY_LIMITS[kind]
    header = struct.pack("<IBBBIQQQ", limit + 31, kind, 0, 0, 0, 0, 0, 0)
    assert PeerFrame.parse_header(header)[1] == limit
    with pytest.raises(PeerMessageError):
        PeerFrame.parse_header(struct.pack("<IBBBIQQQ", limit + 32, kind, 0, 0, 0, 0, 0, 0))
    if limit < 1 << 20:
        with pytest.raises(PeerMessageError):
            PeerFrame(kind, body=bytes(limit + 1)).encode()


def test_headers_that_are_none_are_refused():
    for header in (
        struct.pack("<IBBBIQQQ", 31, 99, 0, 0, 0, 0, 0, 0),
        struct.pack("<IBBBIQQQ", 31, Kind.TAG, 99, 0, 0, 0, 0, 0),
        struct.pack("<IBBBIQQQ", 30, Kind.TAG, 0, 0, 0, 0, 0, 0),
        bytes(10),
    ):
        with pytest.raises(PeerMessageError):
            PeerFrame.parse_header(header)


def test_transcripts_hold_kind_exchange_block_and_body():
    frames = [
        PeerFrame(Kind.TAG, Exchange.SIFT, 1, 2, body=b"x"),
        PeerFrame(Kind.TAG, Exchange.COMMIT, 1, 2, body=b"x"),
        PeerFrame(Kind.ABORT, Exchange.SIFT, 1, 2, body=b"x"),
        PeerFrame(Kind.TAG, Exchange.SIFT, 2, 2, body=b"x"),
        PeerFrame(Kind.TAG, Exchange.SIFT, 1, 3, body=b"x"),
        PeerFrame(Kind.TAG, Exchange.SIFT, 1, 2, body=b"y"),
        PeerFrame(Kind.TAG, Exchange.SIFT, 1, 2, 1, body=b"x"),
    ]
    assert len({f.transcribed() for f in frames}) == len(frames)
    assert (
        frames[0].transcribed()
        == PeerFrame(Kind.TAG, Exchange.SIFT, 1, 2, 0, 7, 9, b"x").transcribed()
    )


def test_nothing_secret_is_shown():
    secret = bytes([0xA7] * 40)
    for message in (
        PeerFrame(Kind.AMPLIFY, body=secret),
        Amplify(1, 2, 3, secret),
        Reveal(np.full(3, 2, np.uint8), np.ones(3, np.uint8)),
    ):
        shown = repr(message)
        assert "a7" not in shown
        assert "array" not in shown
