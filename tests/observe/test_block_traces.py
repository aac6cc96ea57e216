"""One trace per block: relay, both endpoints and both KMEs, each on its own, none knowing another.

The parties are the real ones; what they send is read by a collector of this test.
"""

import asyncio
import contextlib
import socket
import time
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from otlp_collector import OtlpCollector
from running_kmes import RunningKmes
from synthetic_blocks import synthetic_run
from two_endpoints import play, same_verdict
from two_sites import SITES, TwoSites

from bellrelay.cli.block_traces import kme_trace
from bellrelay.cli.gameday_delivery import deliver_everything
from bellrelay.cli.gameday_files import RELAYS, SHAPES, write_files
from bellrelay.cli.gameday_system import running_system
from bellrelay.cli.kme import _finished_keys
from bellrelay.endpoint.announcements import AnnouncementFollower
from bellrelay.endpoint.block import BlockState
from bellrelay.keys.kme_config import check_kme_config, load_kme_config
from bellrelay.keys.kme_daemon import KmeDaemon
from bellrelay.observe import span_export
from bellrelay.observe.block_spans import ATTRIBUTES, ENDPOINT_STEPS, PREFIX, SPANS, BlockName
from bellrelay.observe.block_tracer import block_tracer
from bellrelay.observe.endpoint_traces import EndpointTraces
from bellrelay.observe.relay_traces import RelayTraces
from bellrelay.observe.span_export import SpanQueue
from bellrelay.observe.trace_reference import reference_page
from bellrelay.relay.announcement_client import AnnouncementClient
from bellrelay.relay.announcement_log import AnnouncementLog
from bellrelay.relay.config import FanOut
from bellrelay.relay.fanout import FanOutServer
from bellrelay.relay.log_writer import LogWriter
from bellrelay.settings.model import ConfigError
from bellrelay.settings.traces import TraceSettings

RELAY = "charles"
SAES = {"kme-a": "sae-alice", "kme-b": "sae-bob"}


def wait_for(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.02)


@contextlib.contextmanager
def tracer_to(url, service, instance, **settings):
    tracer = block_tracer(TraceSettings(otlp=url, **settings), service, instance)
    try:
        yield tracer
    finally:
        tracer.close()


class Sink:
    """What a consumer makes of the announcements: nothing."""

    def __init__(self):
        self.blocks = 0

    async def begun(self, _begun):
        pass

    async def collected(self, _block):
        self.blocks += 1


def relay_serves(folder, run, tracer):
    """The relay writes what the blocks' lists say, and a consumer gets it."""

    async def main():
        log = AnnouncementLog(folder / "log")
        trace = RelayTraces(tracer, RELAY, run.block_slots)
        server = FanOutServer(FanOut(unix_socket=folder / "fan"), RELAY, log, trace)
        loop = asyncio.get_running_loop()
        writer = LogWriter(
            log, lambda _n: loop.call_soon_threadsafe(server.grown), lambda _e: None, trace
        )
        await server.start()
        follower = AnnouncementFollower(
            lambda wish: AnnouncementClient.unix(folder / "fan", wish), RELAY, run.block_slots
        )
        sink = Sink()
        following = asyncio.ensure_future(follower.run(sink))
        writer.event(1, {"kind": "start"})
        for n, block in enumerate(run.blocks):
            for part in range(0, block.slot.size, 5000):
                piece = slice(part, part + 5000)
                writer.announced(1, block.slot[piece], block.outcome[piece])
            writer.event(1, {"kind": "heartbeat", "cut_slot": (n + 1) * run.block_slots})
        async with asyncio.timeout(60):
            while sink.blocks < len(run.blocks):
                await asyncio.sleep(0.005)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await asyncio.to_thread(writer.close)
        await server.stop()
        log.close()

    asyncio.run(main())


class CountedTraces(EndpointTraces):
    """Knows how many blocks it was told the end of, which is after the store has it."""

    ends = 0

    def ended(self, row):
        super().ended(row)
        self.ends += 1


def endpoints_distil(folder, run, tracers, **options):
    """Both endpoints make key of the blocks."""

    def prepare(*parties_and_network):
        traces = []
        for party, tracer in zip(parties_and_network[:2], tracers, strict=True):
            traces.append(CountedTraces(tracer, party.name, [RELAY]))
            party.start(trace=traces[-1])

        async def until_told():
            async with asyncio.timeout(150):
                while min(trace.ends for trace in traces) < len(run.blocks):
                    await asyncio.sleep(0.005)

        return until_told()

    return play(folder, run, prepare=prepare, blocks=len(run.blocks), **options)


class TracedKmes(RunningKmes):
    """As `bellrelay kme` runs them."""

    def __enter__(self):
        self.stack = contextlib.ExitStack()
        return super().__enter__()

    def __exit__(self, *what):
        super().__exit__(*what)
        self.stack.close()

    def start(self, site):
        config = load_kme_config(self.sites.config(site))
        trace = self.stack.enter_context(kme_trace(config))
        daemon = KmeDaemon(config, _finished_keys(config), trace)
        self.call(daemon.start())
        self.daemons[site] = daemon


def sites_beside(folder, parties, url):
    """Two KMEs that take over what these endpoints have stored."""
    sites = TwoSites(folder, [("office", "sae-alice", "sae-bob", 1)])
    for site, party in zip(SITES, parties, strict=True):
        values = yaml.safe_load(sites.config(site).read_text())
        values["intake"].update(
            directory=str(party.folder), endpoint_id=party.name, relay="another"
        )
        values["traces"] = {"otlp": url}
        sites.config(site).write_text(yaml.safe_dump(values))
    return sites


@pytest.fixture(scope="module")
def life(tmp_path_factory):
    """Spans of a run from announcements to keys in applications; the keys; how blocks ended."""
    folder = tmp_path_factory.mktemp("life")
    run = synthetic_run()
    with OtlpCollector() as collector, contextlib.ExitStack() as stack:
        relay, *ends = (
            stack.enter_context(tracer_to(collector.url, f"bellrelay-{service}", instance))
            for service, instance in (
                ("relay", RELAY),
                ("endpoint", "alice-1"),
                ("endpoint", "bob-1"),
            )
        )
        relay_serves(folder, run, relay)
        parties = endpoints_distil(folder, run, ends)
        ended = same_verdict(*parties)
        rows = [party.rows()["1/0"] for party in parties]
        packed = next(iter(parties[0].keys().values()))[1]
        stack.close()
        sites_folder = folder / "sites"
        sites_folder.mkdir()
        with TracedKmes(sites_beside(sites_folder, parties, collector.url)) as kmes:
            code, given = kmes.enc_keys("sae-alice", "kme-a", "sae-bob", number=2)
            assert code == 200
            names = [key["key_ID"] for key in given["keys"]]
            assert kmes.dec_keys("sae-bob", "kme-b", "sae-alice", *names)[0] == 200
            wait_for(lambda: sum(s.name == "issue" for s in collector.spans) == 2)
        yield {
            "spans": list(collector.spans),
            "ended": ended,
            "rows": rows,
            "secrets": [packed.hex(), *(key["key"] for key in given["keys"]), *names],
        }


def test_one_trace_has_the_spans_of_all_parties(life):
    assert life["ended"] == {"1/0": BlockState.STORED}
    name = BlockName(RELAY, 1, 0)
    spans = [s for s in life["spans"] if s.trace_id == f"{name.trace_id:032x}"]
    by_party = {}
    for span in spans:
        by_party.setdefault(f"{span.service} {span.instance}", []).append(span.name)
    steps = sorted(ENDPOINT_STEPS)
    of_kme = ["agree", "hand-over", "intake", "issue"]
    assert {party: sorted(names) for party, names in by_party.items()} == {
        "bellrelay-relay charles": ["serve", "write"],
        "bellrelay-endpoint alice-1": sorted(["block", *steps]),
        "bellrelay-endpoint bob-1": steps,
        "bellrelay-kme kme-a": of_kme,
        "bellrelay-kme kme-b": of_kme,
    }
    assert {s.name for s in spans} == {kind.name for kind in SPANS}


def test_every_span_is_a_child_of_the_block(life):
    roots = [s for s in life["spans"] if s.name == "block"]
    assert len(roots) == 1
    (root,) = roots
    assert root.parent_id == ""
    assert {s.parent_id for s in life["spans"] if s is not root} == {root.span_id}
    assert len({s.span_id for s in life["spans"]}) == len(life["spans"])


def test_steps_follow_each_other(life):
    for instance in ("alice-1", "bob-1"):
        steps = {s.name: s for s in life["spans"] if s.instance == instance and s.name != "block"}
        order = [steps[name] for name in ENDPOINT_STEPS]
        assert all(a.end_ns == b.begin_ns for a, b in pairwise(order))
        assert all(s.begin_ns <= s.end_ns for s in order)
        assert not any(s.fault for s in order)


def test_spans_say_what_the_blocks_record_says(life):
    row = life["rows"][0]
    said = {}
    for span in life["spans"]:
        said.setdefault(span.name, {}).update(span.attributes)
    for name, key in (
        ("block", "key_bits"),
        ("sift", "sifted_bits"),
        ("estimate", "phase_error_upper"),
        ("reconcile", "disclosed_bits"),
        ("verify", "error_rate_z"),
        ("amplify", "pool_bits"),
        ("commit", "pulses"),
    ):
        assert said[name][PREFIX + key] == row.record[key]
    for name in ("write", "serve"):
        assert said[name][PREFIX + "announcements"] == row.record["announced"]
    assert said["issue"][PREFIX + "keys"] == said["issue"][PREFIX + "units"] == 2
    assert said["block"][PREFIX + "state"] == "stored"


def test_nothing_but_what_the_tables_name_is_said(life):
    told = repr(life["spans"])
    for secret in life["secrets"]:
        assert secret not in told
    allowed = {PREFIX + key for key in ATTRIBUTES}
    for span in life["spans"]:
        assert span.attributes.keys() <= allowed
        values = [v for k, v in span.attributes.items() if not k.endswith(("relay", "consumer"))]
        assert all(not isinstance(v, str) or len(v) < 32 for v in values)


def test_a_block_without_key_says_why(tmp_path):
    run = synthetic_run(2000)
    with OtlpCollector() as collector:
        with (
            tracer_to(collector.url, "bellrelay-endpoint", "alice-1") as alice,
            tracer_to(collector.url, "bellrelay-endpoint", "bob-1") as bob,
        ):
            parties = endpoints_distil(tmp_path, run, (alice, bob))
        cause = parties[0].rows()["1/0"].cause
    assert cause
    (block,) = [s for s in collector.spans if s.name == "block"]
    assert (block.fault, block.attributes[PREFIX + "cause"]) == (cause, cause)
    # The step in which it ended, at both.
    assert sum(s.fault == cause for s in collector.spans) == 3


def test_the_same_share_of_blocks_everywhere(tmp_path):
    run = synthetic_run(2000, blocks=4)
    names = [BlockName(RELAY, 1, n) for n in range(4)]
    share = sorted((n.trace_id & ((1 << 64) - 1)) / 2**64 for n in names)[1] + 1e-9
    traced = {f"{n.trace_id:032x}" for n in names if n.in_share(share)}
    assert len(traced) == 2
    with OtlpCollector() as collector:
        with contextlib.ExitStack() as stack:
            relay, alice, bob = (
                stack.enter_context(tracer_to(collector.url, "s", who, share=share))
                for who in ("r", "a", "b")
            )
            relay_serves(tmp_path, run, relay)
            endpoints_distil(tmp_path, run, (alice, bob))
        for who in ("r", "a", "b"):
            assert {s.trace_id for s in collector.spans if s.instance == who} == traced


def test_names_of_blocks_make_trace_ids_apart():
    names = [
        BlockName(*each)
        for each in (("r", 1, 11), ("r", 11, 1), ("r1", 1, 1), ("r", 1, 1), ("s", 1, 1))
    ]
    assert len({n.trace_id for n in names}) == len({n.root_id for n in names}) == len(names)


# ---------------------------------------------------------------- a collector that is away


@pytest.fixture
def impatient(monkeypatch):
    """Tries again sooner than a daemon would."""
    monkeypatch.setattr(span_export, "_SEND_S", 1.0)
    monkeypatch.setattr(span_export, "_RETRY_S", 0.1)


def silent_port():
    """A port that accepts connections and never answers."""
    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    server.listen(64)
    return server


def numbers(tracer):
    return {sample.name: sample.value for family in tracer.metrics() for sample in family.samples}


@pytest.mark.parametrize("silent", [True, False])
def test_a_dead_collector_holds_nobody_up_and_drops_are_counted(silent):
    server = silent_port()
    url = f"http://127.0.0.1:{server.getsockname()[1]}/v1/traces"
    if not silent:
        server.close()
    block, spans = BlockName(RELAY, 1, 0), 5000
    tracer = block_tracer(TraceSettings(otlp=url, queue=512), "bellrelay-relay", RELAY)
    longest = 0.0
    for n in range(spans):
        began = time.perf_counter()
        tracer.span(block, "write", n, n + 1, {"announcements": n})
        longest = max(longest, time.perf_counter() - began)
    said = numbers(tracer)
    assert said["bellrelay_trace_spans_sent_total"] == 0
    assert said["bellrelay_trace_spans_dropped_total"] == spans - 512
    # A send to it would take ten seconds.
    assert longest < 5.0
    began = time.monotonic()
    tracer.close()
    assert time.monotonic() - began < 8.0
    server.close()


def test_what_a_collector_missed_is_sent_when_it_is_back(impatient):
    with OtlpCollector() as first:
        url, port = first.url, first.port
        tracer = block_tracer(TraceSettings(otlp=url), "bellrelay-relay", RELAY)
        block = BlockName(RELAY, 1, 0)
        tracer.span(block, "write", 0, 1, {"announcements": 0})
        wait_for(lambda: len(first.spans) == 1)
    for n in range(1, 700):
        tracer.span(block, "write", n, n + 1, {"announcements": n})
    wait_for(lambda: tracer.queue._away)
    with OtlpCollector(port) as again:
        wait_for(lambda: len(again.spans) == 699)
    assert [s.begin_ns for s in again.spans] == list(range(1, 700))
    assert numbers(tracer)["bellrelay_trace_spans_dropped_total"] == 0
    assert numbers(tracer)["bellrelay_trace_spans_sent_total"] == 700
    tracer.close()


def test_a_collector_that_refuses_is_asked_again(impatient):
    with OtlpCollector() as collector:
        collector.answer = 400
        with tracer_to(collector.url, "s", "i") as tracer:
            tracer.span(BlockName(RELAY, 1, 0), "write", 0, 1, {})
            wait_for(lambda: tracer.queue._away)
            collector.answer = 200
            wait_for(lambda: len(collector.spans) == 1)


def test_an_exporter_that_raises_ends_nothing():
    class Broken:
        tried = 0

        def export(self, _spans):
            self.tried += 1
            raise RuntimeError

        def shutdown(self):
            pass

    broken = Broken()
    queue = SpanQueue(broken, 512)
    queue.on_end(object())
    wait_for(lambda: broken.tried > 0)
    queue.shutdown()
    assert queue.sent == 0


# ---------------------------------------------------------------- settings


@pytest.mark.parametrize(
    "url",
    [
        "http://collector.example.net:4318/v1/traces",
        "ftp://127.0.0.1/v1/traces",
        "http://127.0.0.1:4318",
        "https://user:word@collector.example.net/v1/traces",
        "http://127.0.0.1:none/v1/traces",
        7,
    ],
)
def test_a_url_that_spans_may_not_go_to_is_refused(tmp_path, url):
    values = TwoSites(tmp_path, [("office", "sae-alice", "sae-bob", 1)]).values("kme-a")
    check_kme_config({**values, "traces": {"otlp": "https://collector.example.net/v1/traces"}})
    with pytest.raises(ConfigError, match=r"traces\.otlp"):
        check_kme_config({**values, "traces": {"otlp": url}})


def test_a_certificate_that_is_not_there_is_told_at_the_start(tmp_path):
    values = TwoSites(tmp_path, [("office", "sae-alice", "sae-bob", 1)]).values("kme-a")
    traces = {"otlp": "https://collector.example.net/v1/traces", "ca": str(tmp_path / "none.pem")}
    config = check_kme_config({**values, "traces": traces})
    with pytest.raises(ConfigError, match=r"traces\.ca"), kme_trace(config):
        pass


def test_nothing_is_traced_by_default(tmp_path):
    values = TwoSites(tmp_path, [("office", "sae-alice", "sae-bob", 1)]).values("kme-a")
    with kme_trace(check_kme_config(values)) as trace:
        assert trace is None


def test_the_reference_page_is_of_these_tables():
    page = Path(__file__).parents[2] / "docs" / "reference" / "traces.md"
    assert page.read_text() == reference_page(), (
        "python -m bellrelay.observe.trace_reference > docs/reference/traces.md"
    )


def test_daemons_as_operators_start_them(tmp_path):
    """Every daemon a process, each with the section of the how-to in its YAML."""
    files = write_files(tmp_path, SHAPES["event", "bright"], kmes=True)
    slots = yaml.safe_load(files.yaml_of("alice").read_text())["block"]["slots"]
    with OtlpCollector() as collector:
        for name in (*RELAYS, "alice", "bob", "kme-alice", "kme-bob"):
            path = files.yaml_of(name)
            traces = {"otlp": collector.url, **({"block_slots": slots} if name in RELAYS else {})}
            path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "traces": traces}))
        with running_system(files):
            wait_for(lambda: deliver_everything(files)["keys"] > 0, 120.0)
            wait_for(lambda: any(whole(spans) for spans in by_trace(collector).values()), 120.0)


def by_trace(collector):
    found = {}
    for span in list(collector.spans):
        found.setdefault(span.trace_id, []).append(span)
    return found


def whole(spans):
    """Whether a trace has every sort of span, of all that emit it."""
    emitters = {}
    for span in spans:
        emitters.setdefault(span.name, set()).add(span.service)
    endpoints = {s.instance for s in spans if s.service == "bellrelay-endpoint"}
    kmes = {s.instance for s in spans if s.name == "issue"}
    return emitters.keys() == {k.name for k in SPANS} and len(endpoints) == len(kmes) == 2
