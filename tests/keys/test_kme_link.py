"""The channel between two KMEs: who may be at its other end, what is asked, and how it ends."""

import asyncio
import contextlib

import pytest
from kme_certificates import Authority

from bellrelay.keys.kme_frames import FrameError, encode, read_frame
from bellrelay.keys.kme_link import KmeLink, PeerAway, PeerRefused
from bellrelay.service.peer_connection import PeerDialler, PeerListener
from bellrelay.settings.peer import PeerSettings

HELLO = {"pairs": "d" * 64, "unit_bits": 256}


@pytest.fixture
def authority(tmp_path):
    authority = Authority(tmp_path / "ca")
    for name in ("kme-a", "kme-b", "sae-alice"):
        authority.issue(name, dns=[name])
    return authority


def settings(authority, own, other, **way):
    folder = authority.folder
    tls = {"certificate": folder / f"{own}.crt", "key": folder / f"{own}.key", "ca": authority.ca}
    return PeerSettings.model_validate({"name": other, "tls": tls, **way})


class Both:
    """Two links that look for each other."""

    def __init__(self, authority, *, dialler="kme-b", hello_b=None, answers=None, kme_b="kme-b"):
        self.authority = authority
        self.dialler = dialler
        self.greeted = []

        async def double(body):
            return body * 2

        async def refuse(_body):
            raise PeerRefused("not today")

        async def fail(_body):
            raise ValueError("SECRET")

        async def never(_body):
            await asyncio.sleep(60)

        self.answers = answers or {
            "double": double,
            "refuse": refuse,
            "fail": fail,
            "never": never,
        }
        self.hello_b = hello_b or HELLO
        self.kme_b = kme_b

    async def __aenter__(self):
        listener = PeerListener(settings(self.authority, "kme-a", "kme-b", listen="127.0.0.1:0"))
        await listener.start()
        self.listener = listener
        dialler = PeerDialler(
            settings(self.authority, self.dialler, "kme-a", connect=f"127.0.0.1:{listener.port}")
        )

        async def greet():
            self.greeted.append(1)

        self.a = KmeLink(listener.connection, "kme-a", "kme-b", HELLO, self.answers, greet)
        self.b = KmeLink(dialler.connection, self.kme_b, "kme-a", self.hello_b, self.answers, greet)
        self._tasks = [asyncio.ensure_future(link.run()) for link in (self.a, self.b)]
        return self

    async def __aexit__(self, *_):
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.listener.stop()

    async def connected(self):
        async with asyncio.timeout(10):
            while not (self.a.connected and self.b.connected):
                await asyncio.sleep(0.01)


def test_questions_and_answers_both_ways_and_out_of_order(authority):
    async def main():
        async with Both(authority) as both:
            await both.connected()
            for link in (both.a, both.b):
                slow = asyncio.ensure_future(link.ask("never", None, 0.3))
                found = await asyncio.gather(*(link.ask("double", i) for i in range(50)))
                assert found == [2 * i for i in range(50)]
                with pytest.raises(PeerRefused, match="not today"):
                    await link.ask("refuse", None)
                with pytest.raises(PeerRefused, match="no such question"):
                    await link.ask("nonsense", None)
                with pytest.raises(PeerRefused, match="ValueError") as caught:
                    await link.ask("fail", None)
                assert "SECRET" not in str(caught.value)
                # Nobody knows whether it was done; the connection stays.
                with pytest.raises(PeerAway):
                    await slow
                assert link.connected
            assert both.greeted == [1, 1]

    asyncio.run(main())


def test_a_connection_that_ends_ends_questions_and_comes_back(authority):
    async def main():
        async with Both(authority) as both:
            await both.connected()
            asked = asyncio.ensure_future(both.a.ask("never", None, 30))
            await asyncio.sleep(0.05)
            both.b._writer.transport.abort()
            with pytest.raises(PeerAway):
                await asked
            with pytest.raises(PeerAway):
                await both.a.ask("double", 1)
            await both.connected()
            assert await both.a.ask("double", 4) == 8
            assert both.a.connections == 2

    asyncio.run(main())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"hello_b": {**HELLO, "pairs": "e" * 64}}, "differ in pairs"),
        ({"hello_b": {**HELLO, "unit_bits": 128}}, "differ in unit_bits"),
        ({"kme_b": "kme-c"}, "differ in kme_id"),
    ],
)
def test_a_kme_that_is_set_up_otherwise_is_refused(authority, change, words):
    async def main():
        async with Both(authority, **change) as both:
            async with asyncio.timeout(10):
                while not both.a.alarms:
                    await asyncio.sleep(0.01)
            assert words in both.a.reason
            assert not both.a.connected
            with pytest.raises(PeerAway):
                await both.a.ask("double", 1)

    asyncio.run(main())


def test_an_application_s_certificate_is_no_kme_s(authority):
    async def main():
        async with Both(authority, dialler="sae-alice") as both:
            async with asyncio.timeout(10):
                while not both.listener.refused:
                    await asyncio.sleep(0.01)
            assert not both.a.connected
            assert not both.greeted

    asyncio.run(main())


def frames(data):
    async def main():
        reader = asyncio.StreamReader()
        reader.feed_data(data)
        reader.feed_eof()
        found = []
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                found.append(await read_frame(reader))
        return found

    return asyncio.run(main())


def test_frames():
    assert frames(encode({"a": 1}) + encode({"b": ["ü"]})) == [{"a": 1}, {"b": ["ü"]}]
    for bad in (
        b"\xff\xff\xff\xff",
        (2).to_bytes(4, "big") + b"[]",
        (2).to_bytes(4, "big") + b"{x",
        (2).to_bytes(4, "big") + b"\xff\xfe",
    ):
        with pytest.raises(FrameError):
            frames(bad)
    with pytest.raises(ValueError, match="bytes"):
        encode({"a": "x" * (1 << 25)})
