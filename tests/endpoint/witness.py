"""Sees everything that must be used once, on both sides and over all their lives."""

from collections import defaultdict
from itertools import pairwise

import pytest

from bellrelay.distill import authenticate
from bellrelay.distill.authenticate import Poly1305
from bellrelay.endpoint.key_pool import KeyPool
from bellrelay.endpoint.peer_channel import PeerChannel
from bellrelay.wire.peer_messages import Amplify, Exchange, Kind, Start, Verify

_ROLES = ("alice", "bob")


class Witness:
    """A context manager: what happens within it is seen, as far as it is about keys.

    drawn, taken : by role, (index, bytes, key) of the key pool. texts : what every key of a tag
    was used for. said : (role, kind, exchange, block, body) in order, without repetitions by the
    channel.
    """

    def __init__(self):
        self.drawn, self.taken = defaultdict(list), defaultdict(list)
        self.texts = defaultdict(set)
        self.said = []

    def __enter__(self):
        self._patch = pytest.MonkeyPatch()
        draw, take, send = KeyPool.draw, KeyPool.take, PeerChannel.send

        def seen_draw(pool, n_bytes=32):
            index, key = draw(pool, n_bytes)
            self.drawn[_ROLES[pool._send]].append((index, n_bytes, key))
            return index, key

        def seen_take(pool, index, n_bytes=32):
            key = take(pool, index, n_bytes)
            self.taken[_ROLES[pool._send]].append((index, n_bytes, key))
            return key

        async def seen_send(channel, session, kind, exchange, block=(0, 0), body=b""):
            sent = await send(channel, session, kind, exchange, block, body)
            if sent:
                role = _ROLES[channel._session._role]
                self.said.append((role, Kind(kind), Exchange(exchange), block, body))
            return sent

        class SeenPoly1305:
            def __init__(computation, key):
                computation.key, computation.parts = bytes(key), []

            def update(computation, data):
                computation.parts.append(bytes(data))

            def finalize(computation):
                text = b"".join(computation.parts)
                self.texts[computation.key].add(text)
                return Poly1305.generate_tag(computation.key, text)

        self._patch.setattr(KeyPool, "draw", seen_draw)
        self._patch.setattr(KeyPool, "take", seen_take)
        self._patch.setattr(PeerChannel, "send", seen_send)
        self._patch.setattr(authenticate, "Poly1305", SeenPoly1305)
        return self

    def __exit__(self, *_):
        self._patch.undo()

    def bodies(self, kind, role=None, block=None):
        """Of messages of this kind."""
        return [
            body
            for who, what, _, at, body in self.said
            if what is kind and role in (None, who) and block in (None, at)
        ]

    def require_once(self, *, forged=False):
        """No byte of the pool, no key of a tag and no seed was used twice.

        With ``forged`` messages a key may have been asked for two texts: what was sealed, and what
        came instead.
        """
        for spent in (*self.drawn.values(), *self.taken.values()):
            ends = sorted((index, index + n) for index, n, _ in spent)
            assert all(one[1] <= other[0] for one, other in pairwise(ends)), "a byte drawn twice"
            keys = [key for _, _, key in spent]
            assert len(set(keys)) == len(keys), "a key drawn twice"
        both = [{key for _, _, key in self.drawn[role]} for role in _ROLES]
        assert not both[0] & both[1], "both sides have drawn the same key"
        for texts in self.texts.values():
            assert len(texts) <= 1 + forged, "a key for the tags of two texts"
        seeds = [Amplify.parse(b).seed_packed for b in self.bodies(Kind.AMPLIFY)]
        seeds += [Start.parse(b).seed for b in self.bodies(Kind.START)]
        seeds += [Verify.parse(b).key for b in self.bodies(Kind.VERIFY)]
        assert len(set(seeds)) == len(seeds), "a seed twice"
        for kind in (Kind.START, Kind.VERIFY, Kind.AMPLIFY):
            blocks = [at for _, what, _, at, _ in self.said if what is kind]
            assert len(set(blocks)) == len(blocks), f"{kind.name} twice of one block"
        # What may be said again, is the same said again.
        for kind in (Kind.COMMIT, Kind.REVEAL, Kind.TALLIES, Kind.VERDICT):
            first = {}
            for role, what, _, at, body in self.said:
                if what is kind:
                    assert first.setdefault((role, at), body) == body, f"another {kind.name}"
