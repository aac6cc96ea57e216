"""`bellrelay plan`: the form that other programs read, the table, the plot, and how it fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.testing import CliRunner
from verb_calls import app_of, failure_of, json_of, written

from bellrelay.cli.exits import ExitCode
from bellrelay.cli.plan import register
from bellrelay.endpoint.timetable import load_timetable

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "deploy/network.example.yaml"


@pytest.fixture
def app() -> typer.Typer:
    return app_of(register)


@pytest.fixture
def values() -> dict[str, Any]:
    """What the example says; change it, then `written` it."""
    content: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text())
    return content


def call(app: typer.Typer, *words: object) -> Any:
    return json_of(app, "plan", *words)


def failure(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    return failure_of(capsys, "plan", *words)


def test_the_form(app: typer.Typer, values: Any) -> None:
    found = call(app, EXAMPLE)
    assert found["simulation"] is True
    assert found["epsilon"] == {"secrecy": 1e-10, "correctness": 1e-15}
    assert [o["name"] for o in found["options"]] == [
        "as it is", *(o["name"] for o in values["options"]),
    ]  # fmt: skip
    for option in found["options"]:
        assert [(p["a"], p["b"]) for p in option["pairs"]] == [
            (p["a"], p["b"]) for p in values["pairs"]
        ]
        satisfied = [p["satisfied"] for p in option["pairs"]]
        assert option["worst_satisfied"] == min(satisfied)
        assert all(0.0 <= s <= 1.0 for s in satisfied)
        left = [
            min(p["after_loss"][r] / p["demand"] for p in option["pairs"]) for r in option["relays"]
        ]
        assert option["worst_satisfied_after_loss"] == pytest.approx(min(left))
        for relay in option["relays"].values():
            shares = sum(s["share"] for s in relay["shares"])
            assert relay["busy"] == pytest.approx(shares)
            assert shares + relay["settling"] + relay["idle"] == pytest.approx(1.0, abs=1e-6)
        cost = option["cost"]
        assert cost["per_year"] == pytest.approx(
            cost["price"] / found["years"] + cost["running_per_year"]
        )
        assert sum(i["hours_per_month"] for i in option["items"]) == option["hours_per_month"]


def test_what_the_options_of_the_example_are_for(app: typer.Typer) -> None:
    by_name = {o["name"]: o for o in call(app, EXAMPLE)["options"]}
    as_it_is = by_name["as it is"]
    assert as_it_is["worst_satisfied"] < 0.5
    assert by_name["better detectors"]["worst_satisfied"] == 1.0
    # A second relay that one pair reaches serves nobody; with a trusted node it does.
    assert by_name["second relay"]["worst_satisfied"] == as_it_is["worst_satisfied"]
    node = by_name["second relay and a trusted node"]
    assert node["worst_satisfied"] > 2 * as_it_is["worst_satisfied"]
    assert node["pairs"][3]["routes"][0]["trusted"] == ["leiden"]
    assert node["hours_per_month"] > as_it_is["hours_per_month"]
    # Only where all reach two relays does a loss not stop a pair.
    lost = {name: o["worst_satisfied_after_loss"] for name, o in by_name.items()}
    assert [name for name, share in lost.items() if share > 0.0] == [
        "two relays for all with better detectors"
    ]


def test_primary_and_secondary(app: typer.Typer, values: Any, tmp_path: Path) -> None:
    """The pair stays with its first relay, and goes to the second one when that is lost."""
    two = values["options"][3]
    for key in ("relays", "fibres"):
        values[key] += two[key]
    values["relays"][0]["detectors"] = "snspd"
    values["options"] = []
    values["pairs"] = [{**values["pairs"][0], "relays": ["east", "west"]}]
    found = call(app, written(tmp_path, values))["options"][0]
    served = found["pairs"][0]
    assert [r["relays"] for r in served["routes"]] == [["east"]]
    assert served["after_loss"] == pytest.approx({"east": 30.0, "west": 30.0})


@pytest.mark.soak
def test_the_best_ladders_give_more(app: typer.Typer, values: Any, tmp_path: Path) -> None:
    values.update(sites=values["sites"][:2], fibres=values["fibres"][:2], options=[])
    values["pairs"] = values["pairs"][:1]
    path = written(tmp_path, values)
    rates = [
        call(app, path, *words)["options"][0]["links"][0]["bits_per_s"]
        for words in ((), ("--optimise",))
    ]
    assert rates[1] > 1.1 * rates[0]


def test_a_table_and_a_plot(app: typer.Typer, tmp_path: Path) -> None:
    plot = tmp_path / "options.png"
    ran = CliRunner().invoke(
        app, ["plan", str(EXAMPLE), "--plot", str(plot)], catch_exceptions=False
    )
    assert ran.exit_code == ExitCode.OK
    assert plot.read_bytes().startswith(b"\x89PNG")
    for text in ("as it is", "delft - utrecht", "1e-10", "a model's figures", "no key from hague"):
        assert text in ran.stdout


@pytest.mark.parametrize(
    ("where", "value", "said"),
    [
        (("sites", 1, "name"), "delft", ["sites.1.name", "'delft'", "a name of its own"]),
        (("sites",), [], ["sites", "[]", "at least one"]),
        (("relays", 0, "detectors"), "eyes", ["relays.0.detectors", "'eyes'", "ingaas, snspd"]),
        (("relays", 0, "connect"), "here", ["relays.0.connect", "'here'", "HOST:PORT"]),
        (("fibres", 2, "site"), "gouda", ["fibres.2.site", "'gouda'", "delft, hague"]),
        (("fibres", 2, "relay"), "north", ["fibres.2.relay", "'north'", "a relay: west"]),
        (("fibres", 2, "site"), "delft", ["fibres.2", "delft to west", "one fibre"]),
        (("fibres", 0, "length_km"), -1, ["fibres.0.length_km", "-1", "0 to 2000 km"]),
        (("pairs", 0, "b"), "delft", ["pairs.0.b", "'delft'", "another site"]),
        (("pairs", 0, "relays"), ["norht"], ["pairs.0.relays", "'norht'", "east, west"]),
        (("pairs", 0, "demand"), 0, ["pairs.0.demand", "0", "1e-06 to 1e+12 bits per second"]),
        (("pairs", 1, "b"), "hague", ["pairs.1", "delft, hague", "every pair of sites once"]),
        (("detectors", 0, "efficiency"), 2, ["detectors.0.efficiency", "2", "0 to 1"]),
        (("senders", "encoding"), "morse", ["senders.encoding", "'morse'", "time-bin"]),
        (("senders", "ladder", "nu"), 0.3, ["senders.ladder", "fall"]),
        (("senders", "colour"), 3, ["senders.colour", "no such key"]),
        (("finite", "epsilon_secrecy"), 0.9, ["finite.epsilon_secrecy", "0.9", "1e-60 to 0.5"]),
        (("costs", "relay", "price"), -5, ["costs.relay.price", "-5", "0 to 1e+12"]),
        (("options", 0, "detectors"), {"west": "x"}, ["options.0.detectors", "'x'", "snspd"]),
        (("options", 0, "detectors"), {"east": "snspd"}, ["options.0.detectors", "'east'", "west"]),
        (("options", 0, "detectors"), "snspd", ["options.0.detectors", "'snspd'", "relay:"]),
        (("options", 1, "detectors"), {"east": "snspd"}, ["options.1.detectors", "'east'", "west"]),
        (("options", 2, "trusted"), ["rome"], ["options.2.trusted", "'rome'", "a site: delft"]),
        (("options", 1, "fibres", 0, "relay"), "west", ["options.1.fibres.0", "one fibre"]),
        (("options", 1, "name"), "better detectors", ["options.1.name", "a name of its own"]),
    ],
)
def test_a_bad_network_is_named(
    capsys: pytest.CaptureFixture[str],
    values: Any,
    tmp_path: Path,
    where: tuple[str | int, ...],
    value: object,
    said: list[str],
) -> None:
    *way, last = where
    inner = values
    for step in way:
        inner = inner[step]
    inner[last] = value
    path = written(tmp_path, values)
    code, line = failure(capsys, path)
    assert code == ExitCode.CONFIGURATION
    for text in (str(path), *said):
        assert text in line


def test_a_file_that_is_not_there(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, line = failure(capsys, tmp_path / "none.yaml")
    assert code == ExitCode.CONFIGURATION
    assert "none.yaml" in line


def test_a_timetable_that_endpoints_can_read(app: typer.Typer, tmp_path: Path) -> None:
    made = tmp_path / "timetable.yaml"
    said = call(app, EXAMPLE, "--timetable", made, "--json")
    assert said["timetable"]["file"] == str(made)
    assert said["timetable"]["scale"] == 1.0
    timetable = load_timetable(made)
    assert len(timetable.windows) == said["timetable"]["windows"]
    shares = said["options"][0]["relays"]["west"]["shares"]
    windows = [w for w in timetable.windows if w.relay == "west" and not w.standby]
    assert {(w.a, w.b) for w in windows} == {(s["a"], s["b"]) for s in shares}
    for share in shares:
        own = sum(w.end_s - w.begin_s for w in windows if (w.a, w.b) == (share["a"], share["b"]))
        assert own == pytest.approx(timetable.frame_s * share["share"], abs=0.01)
    ran = CliRunner().invoke(app, ["plan", str(EXAMPLE), "--timetable", str(made)])
    assert "windows in a frame of 3600 s" in ran.output


def test_a_plot_that_cannot_be_written(app: typer.Typer, tmp_path: Path) -> None:
    for plot in (tmp_path, tmp_path / "none" / "options.png"):
        ran = CliRunner().invoke(app, ["plan", str(EXAMPLE), "--plot", str(plot)])
        assert ran.exit_code == ExitCode.USAGE
        assert "--plot" in ran.output
        assert not ran.stdout.startswith("options")


def test_help_has_an_example(app: typer.Typer) -> None:
    ran = CliRunner().invoke(app, ["plan", "--help"])
    assert ran.exit_code == ExitCode.OK
    assert "bellrelay plan" in ran.stdout


def test_the_reference_page_is_the_models() -> None:
    from bellrelay.control.network_reference import reference_page

    page = (ROOT / "docs/reference/network-file.md").read_text()
    assert page == reference_page(), (
        "python -m bellrelay.control.network_reference > docs/reference/network-file.md"
    )
