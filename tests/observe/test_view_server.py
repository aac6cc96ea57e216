"""The live view's server, without a relay: who may what, what is on record, what a page is sent."""

import asyncio
import contextlib
import json
from types import SimpleNamespace

import aiohttp
import numpy as np
import pytest

from bellrelay.keys.audit_record import AuditError
from bellrelay.observe.view_control import ChangeRefused, ViewControl
from bellrelay.observe.view_feed import pack, parse_message
from bellrelay.observe.view_records import CalibrationPictures
from bellrelay.observe.view_server import ViewServer
from bellrelay.observe.view_tokens import read_tokens
from bellrelay.relay.config import check_config
from bellrelay.service.private_file import UnsafeMode
from bellrelay.settings.model import ConfigError


class Records:
    def __init__(self):
        self.record = None

    def last_well(self, step):
        return self.record if step == "hom" else None


RECORDS = Records()
TOKEN = b"0123456789abcdef01234567"
TOKENS = {"ada": TOKEN, "emmy": b"another-token-of-24-letters"}
HEADERS = {"Authorization": f"Bearer {TOKEN.decode()}"}
COUNTS = np.arange(24, dtype=np.int64).reshape(3, 8)


class Settings:
    def __init__(self):
        self.values = [{"phase_ps": 0}]
        self.fails = None

    def tunable(self):
        return self.values[-1]

    def change(self, values, reason, author):
        if self.fails is not None:
            raise self.fails
        self.values.append({**self.values[-1], **values})
        return SimpleNamespace(number=len(self.values) - 1)

    def undo(self, reason, author):
        if len(self.values) == 1:
            raise OSError("there was no change")
        self.values.pop()
        return SimpleNamespace(number=len(self.values) - 1)

    def history(self):
        return list(self.values)


class Audit(list):
    """Keeps what it is told. room: how many events it still takes."""

    room = 1000

    def record(self, *events):
        if len(events) > self.room:
            raise AuditError(28, "no space left on device")
        self.room -= len(events)
        self.extend(events)


@pytest.fixture
def settings():
    return Settings()


@pytest.fixture
def audit():
    return Audit()


def served(control, use):
    """What `use(client, url, server)` gives, with the server running."""

    async def run():
        text = {"histogram": {"channels": 3, "bins": 8}, "n": 1}
        server = ViewServer(
            lambda: {"relay_id": "charlie"},
            lambda: pack(text, COUNTS),
            0.02,
            control,
            lambda: [{"kind": "start"}],
            CalibrationPictures(RECORDS),
        )
        await server.start("127.0.0.1", 0, None)
        task = asyncio.ensure_future(server.run())
        try:
            async with aiohttp.ClientSession() as client:
                return await use(client, f"http://127.0.0.1:{server.port}", server)
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await server.stop()

    return asyncio.run(run())


async def _post(client, url, body, headers=None):
    async with client.post(url, json=body, headers=headers) as answer:
        return answer.status, await answer.json()


def test_messages_come_again_as_they_were_packed():
    text, counts = parse_message(pack({"histogram": {"channels": 3, "bins": 8}, "x": 0.5}, COUNTS))
    assert text["x"] == 0.5
    assert (counts == COUNTS).all()
    text, counts = parse_message(pack({"histogram": None, "x": float("nan")}, None))
    assert text["x"] is None
    assert counts is None


def test_a_page_is_greeted_and_then_sent_messages(settings, audit):
    async def use(client, url, server):
        async with client.ws_connect(f"{url}/live") as socket:
            hello = json.loads((await socket.receive()).data)
            messages = [parse_message((await socket.receive()).data) for _ in range(3)]
            return hello, messages, server.watching

    hello, messages, watching = served(ViewControl("charlie", settings, TOKENS, audit), use)
    assert hello == {"relay_id": "charlie", "writable": True, "tunable": {"phase_ps": 0}}
    assert all((counts == COUNTS).all() for _, counts in messages)
    assert watching == 1


def test_a_change_is_audited_before_and_after_and_told_to_all_pages(settings, audit):
    async def use(client, url, _server):
        async with client.ws_connect(f"{url}/live") as socket:
            await socket.receive()
            change = {"values": {"phase_ps": 7}, "reason": "try"}
            done = await _post(client, f"{url}/change", change, HEADERS)
            async for said in socket:
                if said.type is aiohttp.WSMsgType.TEXT:
                    return done, json.loads(said.data)

    done, told = served(ViewControl("charlie", settings, TOKENS, audit), use)
    assert done == (200, {"tunable": {"phase_ps": 7}})
    assert told["tunable"] == {"phase_ps": 7}
    begun, ended = audit
    assert (begun.action, begun.outcome) == ("settings-changed", "unknown")
    assert (ended.action, ended.outcome) == ("settings-changed", "success")
    assert {event.actor for event in audit} == {"operator:ada"}
    assert {event.object_ for event in audit} == {"relay:charlie"}
    assert begun.details == {
        "source.ip": "127.0.0.1",
        "event.reason": "try",
        "values": '{"phase_ps": 7}',
    }
    became = {"before": '{"phase_ps": 0}', "after": '{"phase_ps": 7}', "version": 1}
    assert ended.details == {**begun.details, **became}


def test_what_is_undone_is_on_record_with_what_holds_then(settings, audit):
    control = ViewControl("charlie", settings, TOKENS, audit)
    control.change({"phase_ps": 7}, "try", "emmy", "::1")
    control.undo("worse", "emmy", "::1")
    ended = audit[-1]
    assert (ended.action, ended.outcome, ended.actor) == (
        "settings-undone",
        "success",
        "operator:emmy",
    )
    assert ended.details["before"] == '{"phase_ps": 7}'
    assert ended.details["after"] == '{"phase_ps": 0}'
    assert ended.details["version"] == 0
    with pytest.raises(ChangeRefused, match="there was no change"):
        control.undo("again", "emmy", "::1")
    assert audit[-1].outcome == "failure"


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ({}, "values: missing"),
        ({"values": []}, "values: missing"),
        ([1], "a JSON object"),
        ({"values": {}}, "values: missing"),
    ],
)
def test_what_is_no_change_is_refused(settings, audit, body, line):
    async def use(client, url, _server):
        return await _post(client, f"{url}/change", body, HEADERS)

    status, said = served(ViewControl("charlie", settings, TOKENS, audit), use)
    assert status == 400
    assert line in said["message"]
    assert len(settings.values) == 1


@pytest.mark.parametrize(
    ("error", "status"),
    [(ConfigError(["windows.early: allowed: less"]), 400), (OSError("the line is gone"), 409)],
)
def test_a_change_that_fails_says_why_and_is_audited(settings, audit, error, status):
    settings.fails = error

    async def use(client, url, _server):
        return await _post(client, f"{url}/change", {"values": {"phase_ps": 1}}, HEADERS)

    answered, said = served(ViewControl("charlie", settings, TOKENS, audit), use)
    assert answered == status
    assert str(error) in said["message"]
    assert (audit[-1].action, audit[-1].outcome) == ("settings-changed", "failure")
    assert str(error) in audit[-1].details["error.message"]


def test_what_nobody_thought_of_is_on_record_too(settings, audit):
    settings.fails = RuntimeError("board on fire")
    control = ViewControl("charlie", settings, TOKENS, audit)
    with pytest.raises(RuntimeError):
        control.change({"phase_ps": 1}, "try", "ada", "::1")
    assert audit[-1].outcome == "failure"


def test_a_change_too_long_for_the_record_is_refused_and_on_record(settings, audit):
    control = ViewControl("charlie", settings, TOKENS, audit)
    with pytest.raises(ChangeRefused) as refused:
        control.change({"phase_ps": "7" * 20_000}, "try", "ada", "::1")
    assert refused.value.status == 413
    assert [event.outcome for event in audit] == ["failure"]
    assert len(settings.values) == 1


def test_what_cannot_be_put_on_record_is_not_done(settings, audit):
    audit.room = 0

    async def use(client, url, _server):
        body = {"values": {"phase_ps": 1}}
        first = await _post(client, f"{url}/change", body, HEADERS)
        audit.room = 1
        # Its beginning is on record, its end cannot be: it is taken back.
        return first, await _post(client, f"{url}/change", body, HEADERS)

    for status, said in served(ViewControl("charlie", settings, TOKENS, audit), use):
        assert status == 503
        assert "no space left on device" in said["message"]
    assert [event.outcome for event in audit] == ["unknown"]
    assert settings.values == [{"phase_ps": 0}]


def test_a_wrong_token_that_cannot_be_put_on_record_is_refused_all_the_same(settings, audit):
    audit.room = 0
    control = ViewControl("charlie", settings, TOKENS, audit)
    with pytest.raises(ChangeRefused):
        control.check("Bearer " + "x" * 24, "::1")


def test_nobody_changes_anything_without_the_token(settings, audit):
    async def use(client, url, _server):
        body = {"values": {"phase_ps": 1}}
        out = [await _post(client, f"{url}/change", body)]
        out.append(await _post(client, f"{url}/undo", {}, {"Authorization": "Basic x"}))
        wrong = {"Authorization": "Bearer " + "x" * 24}
        out += [await _post(client, f"{url}/change", body, wrong) for _ in range(4)]
        # Even the right one waits now: guessing is slow.
        out.append(await _post(client, f"{url}/change", body, HEADERS))
        return [status for status, _ in out]

    control = ViewControl("charlie", settings, TOKENS, audit)
    assert served(control, use) == [401, 401, 401, 401, 401, 429, 429]
    assert len(settings.values) == 1
    assert {event.action for event in audit} == {"view-refused"}
    assert {event.details["source.ip"] for event in audit} == {"127.0.0.1"}
    assert len(audit) == 5
    assert TOKEN.decode() not in repr(audit)


def test_who_guesses_keeps_nobody_else_out(settings, audit):
    control = ViewControl("charlie", settings, TOKENS, audit)
    wrong, right = "Bearer " + "x" * 24, HEADERS["Authorization"]
    for _ in range(5):
        with pytest.raises(ChangeRefused, match="does not fit"):
            control.check(wrong, "192.0.2.1")
    with pytest.raises(ChangeRefused, match="too many"):
        control.check(right, "192.0.2.1")
    assert control.check(right, "192.0.2.2")
    # However many addresses guess, what is kept of them is bounded, the latest of all.
    for n in range(1000):
        with pytest.raises(ChangeRefused):
            control.check(wrong, f"198.51.100.{n}")
    assert len(control._refused) <= 256
    assert "198.51.100.999" in control._refused


@pytest.mark.parametrize(("with_settings", "tokens"), [(True, {}), (False, TOKENS)])
def test_a_view_without_token_or_settings_is_read_only(settings, audit, with_settings, tokens):
    async def use(client, url, _server):
        return await _post(client, f"{url}/undo", {}, HEADERS)

    control = ViewControl("charlie", settings if with_settings else None, tokens, audit)
    status, said = served(control, use)
    assert status == 403
    assert "read-only" in said["message"]


def test_only_the_page_s_own_files_are_served_and_no_other_page_may_listen(settings, audit):
    async def use(client, url, _server):
        codes = {}
        names = ("view.js", "uplot.js", "view.css", "../view_server.py", "uplot.LICENSE", "x.js")
        for name in names:
            async with client.get(f"{url}/page/{name.replace('/', '%2F')}") as answer:
                codes[name] = answer.status
        async with client.get(url) as answer:
            headers = dict(answer.headers)
        try:
            async with client.ws_connect(f"{url}/live", origin="http://evil.example"):
                codes["socket"] = 101
        except aiohttp.WSServerHandshakeError as refused:
            codes["socket"] = refused.status
        return codes, headers

    codes, headers = served(ViewControl("charlie", settings, TOKENS, audit), use)
    assert [codes[n] for n in ("view.js", "uplot.js", "view.css")] == [200, 200, 200]
    assert [codes[n] for n in ("../view_server.py", "uplot.LICENSE", "x.js")] == [404, 404, 404]
    assert codes["socket"] == 403
    assert "default-src 'self'" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_a_token_others_can_read_or_that_is_short_is_refused(tmp_path):
    path = tmp_path / "token"
    path.write_bytes(TOKEN + b"\n")
    path.chmod(0o600)
    assert read_tokens(path) == {"operator": TOKEN}
    path.chmod(0o644)
    with pytest.raises(UnsafeMode):
        read_tokens(path)
    path.chmod(0o600)
    path.write_bytes(b"# who may\nada " + TOKEN + b"\n\nemmy " + TOKENS["emmy"])
    assert read_tokens(path) == TOKENS
    for wrong in (b"short", b"", b"ada " + TOKEN + b" x", b"a/b " + TOKEN, b"\xff " + TOKEN):
        path.write_bytes(wrong)
        with pytest.raises(ConfigError, match="24 characters") as caught:
            read_tokens(path)
        assert TOKEN.decode() not in str(caught.value)
    for twice in (b"ada " + TOKEN + b"\nada " + b"y" * 24, b"ada " + TOKEN + b"\nemmy " + TOKEN):
        path.write_bytes(twice)
        with pytest.raises(ConfigError, match="differ"):
            read_tokens(path)


def test_a_page_that_may_change_things_is_served_by_tls_or_on_loopback_alone():
    values = {
        "relay_id": "charlie",
        "port": "/dev/null",
        "slot_period_ps": 10000,
        "windows": {"early": [2000, 3000], "late": [7000, 8000]},
        "detectors": [{"name": "D0", "port": "c"}, {"name": "D1", "port": "d"}],
        "log": {"directory": "log"},
        "view": {"listen": "0.0.0.0:8010", "token_file": "token"},
    }
    with pytest.raises(ConfigError, match=r"view: .*token_file with tls, or on a loopback"):
        check_config(values)
    del values["view"]["token_file"]
    check_config(values)


def test_the_last_scan_is_shown_with_its_picture(settings, audit, tmp_path, monkeypatch):
    picture = tmp_path / "picture.png"
    picture.write_bytes(b"\x89PNG")
    values = {"text": "visibility 0.48", "board": {"simulated": True}}
    record = SimpleNamespace(number=7, values=values, picture=picture)
    monkeypatch.setattr(RECORDS, "record", record)

    async def use(client, url, _server):
        async with client.get(f"{url}/records") as answer:
            shown = await answer.json()
        async with client.get(url + shown["dip"]["picture"]) as answer:
            png = await answer.read()
        async with client.get(f"{url}/record/tdc.png") as answer:
            return shown, png, answer.status

    shown, png, none = served(ViewControl("charlie", settings, TOKENS, audit), use)
    assert shown["dip"]["said"] == "record 7: visibility 0.48 (simulation)"
    assert set(shown) == {"dip"}
    assert (png, none) == (b"\x89PNG", 404)
