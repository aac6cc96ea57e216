"""One-time tags over transcripts: the tag is Poly1305's, and no other transcript has it."""

from __future__ import annotations

import copy
import hashlib
import math
import pickle
import zlib
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bellrelay.distill.authenticate import (
    KEY_BYTES,
    TAG_BYTES,
    Forgery,
    KeyUsedTwice,
    OneTimeKey,
    Transcript,
    check,
    forgery_probability,
    longest_transcript,
    seal,
)
from bellrelay.distill.reconcile.engine import Role

A, B = Role.ALICE, Role.BOB
Messages = list[tuple[Role, bytes]]
CONTEXT = b"alice.example|bob.example|acquisition 7|block 3"


def key_bytes(number: int) -> bytes:
    return hashlib.sha256(f"key {number}".encode()).digest()


def transcript(messages: Messages, context: bytes = CONTEXT, exchange: int = 1) -> Transcript:
    made = Transcript(context, exchange)
    for speaker, message in messages:
        made.add(speaker, message)
    return made


def tag_of(messages: Messages, signer: Role = A, number: int = 1) -> bytes:
    return seal(OneTimeKey(key_bytes(number)), transcript(messages), signer)


def poly1305(key: bytes, message: bytes) -> bytes:
    """RFC 8439, section 2.5, by long hand."""
    r = int.from_bytes(key[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    total = 0
    for first in range(0, len(message), 16):
        total += int.from_bytes(message[first : first + 16] + b"\1", "little")
        total = total * r % (2**130 - 5)
    return ((total + int.from_bytes(key[16:], "little")) % 2**128).to_bytes(16, "little")


def accepted(tag: bytes, heard: Transcript, signer: Role = A, number: int = 1) -> bool:
    try:
        check(OneTimeKey(key_bytes(number)), heard, signer, tag)
    except Forgery:
        return False
    return True


SAID: Messages = [(A, b"commit"), (B, b"commit too"), (B, b""), (A, b"reveal"), (A, b"tail")]


def test_poly1305_of_the_rfc() -> None:
    key = bytes.fromhex("85d6be7857556d337f4452fe42d506a80103808afb0db2fd4abff6af4149f51b")
    tag = bytes.fromhex("a8061dc1305136c6c22b8baf0c0127a9")
    assert poly1305(key, b"Cryptographic Forum Research Group") == tag


@given(
    messages=st.lists(st.tuples(st.sampled_from([A, B]), st.binary(max_size=70)), max_size=6),
    number=st.integers(0, 2**32),
    signer=st.sampled_from([A, B]),
)
@settings(deadline=None)
def test_the_tag_is_poly1305_of_the_text(messages: Messages, number: int, signer: Role) -> None:
    made = transcript(messages)
    text = b"".join(made.text(signer))
    assert len(made) == len(text)
    tag = seal(OneTimeKey(key_bytes(number)), made, signer)
    assert tag == poly1305(key_bytes(number), text)
    assert len(tag) == TAG_BYTES
    check(OneTimeKey(key_bytes(number)), transcript(messages), signer, tag)


def _changed(messages: Messages, at: int, message: bytes) -> Messages:
    return [*messages[:at], (messages[at][0], message), *messages[at + 1 :]]


ATTACKS: dict[str, Callable[[Messages], Messages]] = {
    "a bit is flipped": lambda m: _changed(m, 3, b"reveam"),
    "a message is cut short": lambda m: _changed(m, 3, b"revea"),
    "a message is prolonged by a zero byte": lambda m: _changed(m, 3, b"reveal\0"),
    "a message is prolonged to a full block of the hash": lambda m: _changed(
        m, 3, b"reveal" + bytes(10)
    ),
    "the last message is missing": lambda m: m[:-1],
    "the first message is missing": lambda m: m[1:],
    "an empty message is missing": lambda m: [*m[:2], *m[3:]],
    "an empty message is added": lambda m: [*m, (A, b"")],
    "all is missing": lambda m: [],
    "a message comes twice": lambda m: [*m[:4], *m[3:]],
    "two messages of both sides change places": lambda m: [m[1], m[0], *m[2:]],
    "two messages of one side change places": lambda m: [*m[:3], m[4], m[3]],
    "a byte moves from one message into the next": lambda m: [
        *m[:3],
        (A, b"revea"),
        (A, b"ltail"),
    ],
    "two messages become one": lambda m: [*m[:3], (A, b"revealtail")],
    "one message becomes two": lambda m: [(A, b"com"), (A, b"mit"), *m[1:]],
    "the other side said it": lambda m: [(B, b"commit"), *m[1:]],
    "the sides are exchanged": lambda m: [(B if s is A else A, text) for s, text in m],
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_rule_21_a_transcript_that_differs_is_refused(attack: str) -> None:
    forged = ATTACKS[attack](list(SAID))
    assert forged != SAID
    assert accepted(tag_of(SAID), transcript(SAID))
    assert not accepted(tag_of(SAID), transcript(forged))


def test_rule_21_a_reflected_tag_is_refused() -> None:
    """Alice hears her own messages and her own tag: with any key, hers included."""
    tag = tag_of(SAID, signer=A)
    assert not accepted(tag, transcript(SAID), signer=B)
    mirrored: Messages = [(B if s is A else A, text) for s, text in SAID]
    assert not accepted(tag, transcript(mirrored), signer=B)


def test_rule_21_a_tag_of_another_exchange_block_or_session_is_refused() -> None:
    """Even if the key were the same, which the pool does not allow."""
    tag = tag_of(SAID)
    assert not accepted(tag, transcript(SAID, exchange=2))
    assert not accepted(tag, transcript(SAID, context=CONTEXT.replace(b"block 3", b"block 4")))
    # What leaves the context for the first message is no other way to write it.
    longer = transcript([(A, b"commit"), *SAID[1:]], context=CONTEXT + b"commit")
    assert not accepted(tag, longer)


def test_rule_21_a_tag_is_over_all_that_was_said_until_then() -> None:
    before = tag_of(SAID[:3])
    assert accepted(before, transcript(SAID[:3]))
    assert not accepted(before, transcript(SAID))


@pytest.mark.parametrize("bit", range(0, 128, 9))
def test_any_bit_of_the_tag_counts(bit: int) -> None:
    tag = bytearray(tag_of(SAID))
    tag[bit // 8] ^= 1 << bit % 8
    assert not accepted(bytes(tag), transcript(SAID))


@pytest.mark.parametrize(
    "tag", [b"", bytes(15), bytes(17), tag_of(SAID)[:-1], tag_of(SAID) + b"\0"]
)
def test_a_tag_of_another_length_is_refused(tag: bytes) -> None:
    assert not accepted(tag, transcript(SAID))


@given(
    pair=st.lists(
        st.lists(st.tuples(st.sampled_from([A, B]), st.binary(max_size=20)), max_size=4),
        min_size=2,
        max_size=2,
    ),
    contexts=st.lists(st.binary(max_size=20), min_size=2, max_size=2),
    exchanges=st.lists(st.integers(0, 2), min_size=2, max_size=2),
    signers=st.lists(st.sampled_from([A, B]), min_size=2, max_size=2),
)
@settings(deadline=None, max_examples=300)
def test_a_text_determines_what_was_said(
    pair: list[Messages], contexts: list[bytes], exchanges: list[int], signers: list[Role]
) -> None:
    texts = [
        b"".join(transcript(messages, context, exchange).text(signer))
        for messages, context, exchange, signer in zip(
            pair, contexts, exchanges, signers, strict=True
        )
    ]
    same = all(two[0] == two[1] for two in (pair, contexts, exchanges, signers))
    assert (texts[0] == texts[1]) == same


def test_rule_21_a_key_is_spent_once() -> None:
    key = OneTimeKey(key_bytes(1))
    seal(key, transcript(SAID), A)
    with pytest.raises(KeyUsedTwice):
        seal(key, transcript(SAID), A)
    with pytest.raises(KeyUsedTwice):
        check(key, transcript(SAID), A, bytes(16))
    checked = OneTimeKey(key_bytes(1))
    with pytest.raises(Forgery):
        check(checked, transcript(SAID), A, bytes(16))
    with pytest.raises(KeyUsedTwice):
        check(checked, transcript(SAID), A, tag_of(SAID))


def test_a_key_shows_itself_nowhere() -> None:
    secret = key_bytes(1)
    key = OneTimeKey(secret)
    shown = [repr(key), str(key), repr(transcript(SAID)), repr([key])]
    for make in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError) as refused:
            make(key)
        shown.append(str(refused.value))
    seal(key, transcript(SAID), A)
    for action in (key.spend, lambda: check(OneTimeKey(secret), transcript(SAID), B, bytes(16))):
        with pytest.raises((KeyUsedTwice, Forgery)) as error:
            action()
        shown.append(str(error.value))
    for text in shown:
        assert secret.hex()[:8] not in text
        assert repr(secret)[2:14] not in text


def test_a_key_has_32_bytes() -> None:
    for size in (0, 16, 31, 33):
        with pytest.raises(ValueError):
            OneTimeKey(bytes(size))
    assert KEY_BYTES == 32


def test_which_bits_of_r_count() -> None:
    """22 bits are cleared: the bound takes 106 for granted and no more."""
    text = transcript(SAID)
    base = bytearray(key_bytes(5))
    usual = seal(OneTimeKey(bytes(base)), text, A)
    ignored = 0
    for bit in range(128):
        key = bytearray(base)
        key[bit // 8] ^= 1 << bit % 8
        ignored += seal(OneTimeKey(bytes(key)), text, A) == usual
    assert 128 - ignored == 106


def test_the_bound() -> None:
    assert forgery_probability(1 << 20) == 2.0**-87
    assert forgery_probability(0) == forgery_probability(1) == forgery_probability(16) == 2.0**-103
    assert forgery_probability(17) == 2.0**-102
    assert forgery_probability(16, attempts=1000) == pytest.approx(1000 * 2.0**-103)
    assert forgery_probability(1 << 40, attempts=1 << 80) == 1.0
    assert forgery_probability(100, attempts=0) == 0.0
    for wrong in ((-1, 1), (1, -1)):
        with pytest.raises(ValueError):
            forgery_probability(*wrong)


def most_frequent_difference(tag: Callable[[int, bytes], int], keys: int) -> int:
    """Of how many keys the tags of two messages differ by the same number, at most."""
    first, second = b"sixteen bytes...and sixteen more", b"sixteen bytes...but sixteen more"
    differences = Counter((tag(key, first) - tag(key, second)) % 2**128 for key in range(keys))
    return max(differences.values())


def test_rule_17_the_hash_is_almost_universal_where_that_can_be_counted() -> None:
    """Over all r of a small set, no difference of tags comes more often than the bound says.

    The theorem needs of r only that it has so many values: here 2^14, so that the bound is
    8 ceil(L / 16) of them. A checksum's difference is the same for all keys: no bound at all.
    """
    keys = 1 << 14

    def poly(r: int, text: bytes) -> int:
        return int.from_bytes(poly1305((4 * r).to_bytes(16, "little") + bytes(16), text), "little")

    assert most_frequent_difference(poly, keys) <= 8 * 2
    assert most_frequent_difference(lambda key, text: zlib.crc32(text) ^ key, keys) > 8 * 2


@pytest.mark.parametrize("epsilon", [1e-10, 1e-15, 1e-25, 1e-31, 0.5])
@pytest.mark.parametrize("attempts", [1, 10, 10**6])
def test_rule_20_epsilons_of_a_block_fit_their_share(epsilon: float, attempts: int) -> None:
    """The longest transcript that a share of epsilon allows, and not a block more."""
    longest = longest_transcript(epsilon, attempts)
    if longest:
        assert forgery_probability(longest, attempts) <= epsilon
    assert forgery_probability(longest + 16, attempts) > epsilon * (1 - 1e-9)


def test_rule_20_epsilon_of_authentication_is_far_below_the_others() -> None:
    """Ten tags over 100 MB each, as a block of 1e7 bits may need, within the default of 1e-15."""
    assert 10 * forgery_probability(10**8) < 1e-15
    assert math.log2(longest_transcript(1e-15, 10)) > 50
