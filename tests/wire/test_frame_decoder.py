"""The decoder against damage of every kind: nothing wrong accepted, nothing whole lost."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bellrelay.wire.decoder import FrameDecoder
from bellrelay.wire.frames import MAGIC, FrameType, encode_frame

MAGIC_BYTES = MAGIC.to_bytes(4, "little")


def stream(payloads, first=0):
    return [
        encode_frame(FrameType.TAGS, first + i, 7, payload) for i, payload in enumerate(payloads)
    ]


def decode(data, chunk=None):
    decoder = FrameDecoder()
    step = chunk or max(1, len(data))
    frames = [f for i in range(0, len(data), step) for f in decoder.feed(data[i : i + step])]
    counts = decoder.counts
    assert counts.frame_bytes + counts.junk_bytes + decoder.pending == len(data)
    return frames, decoder


# Payloads that contain magic words and whole frames are the hard ones.
nested = encode_frame(FrameType.TAGS, 99, 7, [MAGIC, 1])
payloads = st.lists(
    st.one_of(
        st.lists(st.one_of(st.integers(0, 2**32 - 1), st.just(MAGIC)), max_size=20),
        st.just(nested),
    ),
    min_size=1,
    max_size=12,
)


def body(payload):
    return (
        payload
        if isinstance(payload, bytes)
        else b"".join(w.to_bytes(4, "little") for w in payload)
    )


@given(payloads, st.integers(1, 50))
def test_an_undamaged_stream_comes_through_in_pieces_of_any_size(bodies, chunk):
    frames, decoder = decode(b"".join(stream(bodies)), chunk)
    assert [f.payload for f in frames] == [body(p) for p in bodies]
    assert [f.sequence for f in frames] == list(range(len(bodies)))
    assert decoder.pending == 0
    assert decoder.counts.missing == decoder.counts.junk_bytes == 0


@settings(max_examples=300)
@given(payloads, st.data())
def test_damage_costs_exactly_the_frames_that_it_touches(bodies, data):
    frames = stream(bodies)
    whole = b"".join(frames)
    kind = data.draw(st.sampled_from(["flip", "drop", "insert", "cut"]))
    at = data.draw(st.integers(0, len(whole) - 1))
    length = data.draw(st.integers(1, 60))
    if kind == "flip":
        bit = data.draw(st.integers(0, 7))
        damaged = whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :]
    elif kind == "insert":
        damaged = whole[:at] + data.draw(st.binary(min_size=1, max_size=60)) + whole[at:]
    elif kind == "drop":
        damaged = whole[:at] + whole[at + length :]
    else:
        damaged = whole[:at]

    tail = stream([[1, 2, 3]] * 3, first=len(frames))
    # Long enough to fill whatever length a cut-off header still waits for.
    padding = b"".join(stream([[0] * 30] * 4, first=len(frames) + 3))
    got, decoder = decode(damaged + b"".join(tail) + padding, data.draw(st.integers(1, 200)))
    nested_ok = {nested[20:-4]}
    genuine = [f for f in got if f.sequence != 99 or f.payload not in nested_ok]
    numbers = [f.sequence for f in genuine]
    expected = [i for i, frame in enumerate(frames) if frame in damaged]
    total = len(frames) + 3 + 4
    if got == genuine:
        assert numbers == expected + list(range(len(frames), total))
        lost_at_front = numbers[0]
        assert decoder.counts.missing == total - lost_at_front - len(numbers)
        for f in genuine[: len(expected)]:
            assert f.payload == body(bodies[f.sequence])
    else:
        # A damaged frame that carried a whole frame: that one is genuine, though old.
        assert nested in whole


@given(st.binary(max_size=500))
@example(MAGIC_BYTES * 20)
@example(MAGIC_BYTES[:3])
def test_noise_is_no_frame(noise):
    frames, decoder = decode(noise)
    assert frames == []
    assert decoder.pending < 5 * 4 + 4 * 65536


def test_a_header_cut_off_from_its_frame_is_given_up_by_flush():
    first, second = stream([[1] * 200, [2]])
    frames, decoder = decode(first[:100] + second)
    assert frames == []
    assert [f.payload for f in decoder.flush()] == [body([2])]
    assert decoder.pending == 0


def test_gaps_are_counted_across_the_wrap_of_the_sequence():
    numbers = [2**32 - 2, 1, 2]
    frames, decoder = decode(b"".join(encode_frame(FrameType.LOSS, n, 1, [n]) for n in numbers))
    assert [f.missing for f in frames] == [0, 2, 0]
    assert decoder.counts.missing == 2
    assert decoder.counts.restarts == 0


@pytest.mark.parametrize(("before", "after"), [(10, 0), (5000, 3), (70, 1)])
def test_a_board_that_was_reset_is_noticed(before, after):
    frames, decoder = decode(
        b"".join(encode_frame(FrameType.LOSS, n, 1, []) for n in (before, after, after + 1))
    )
    assert [f.restarted for f in frames] == [False, True, False]
    assert decoder.counts.restarts == 1
    assert decoder.counts.missing == 0


def test_a_repeated_frame_is_taken_once():
    one, two = stream([[1], [2]], first=4)
    frames, decoder = decode(one + two + two + one)
    assert [f.sequence for f in frames] == [4, 5]
    assert decoder.counts.repeated == 2


def test_another_protocol_version_is_no_frame_of_ours():
    import struct
    import zlib

    good = encode_frame(FrameType.LOSS, 0, 1, [])
    words = list(struct.unpack("<6I", good))
    words[1] = words[1] & ~0xFF00 | 9 << 8
    words[4] = zlib.crc32(struct.pack("<4I", *words[:4]))
    words[5] = zlib.crc32(struct.pack("<5I", *words[:5]))
    frames, decoder = decode(struct.pack("<6I", *words))
    assert frames == []
    assert decoder.counts.foreign_versions == 1
