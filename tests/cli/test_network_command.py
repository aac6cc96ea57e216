"""`bellrelay network`: what is full first in a city, what to add, and what that rests on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.testing import CliRunner
from verb_calls import app_of, failure_of, json_of

from bellrelay.cli.exits import ExitCode
from bellrelay.cli.network import register
from bellrelay.control.capacity.city import City, city_values
from bellrelay.control.capacity.resources import Resource

ROOT = Path(__file__).resolve().parents[2]
SMALL = ("--relays", "3", "--endpoints", "14", "--pairs", "8", "--seconds", "60")


@pytest.fixture
def app() -> typer.Typer:
    return app_of(register)


def test_of_a_hundred_relays_and_a_thousand_endpoints_what_is_full_first(
    app: typer.Typer, tmp_path: Path
) -> None:
    values = city_values(City(100, 1000))
    for relay in values["relays"]:  # whole turns in less time
        relay.update(turn_s=10.0, settle_s=0.5 / 6.0)
    # Which of two that are nearly as full comes first does not hang on one machine's rates.
    values["load"].update(broker_nodes=5)
    path = tmp_path / "city.yaml"
    path.write_text(yaml.safe_dump(values))
    said = json_of(
        app, "network", "--config", path, "--grow", "1.6", "--seconds", "10", "--warm-up", "1"
    )
    assert said["simulation"] is True
    assert (said["relays"], said["endpoints"], said["pairs"]) == (100, 1000, 1000)
    now, grown, carried = said["cases"]
    first = said["first_full"]
    by_name = {r["resource"]: r for r in now["resources"]}
    # What is full first is what the paper has as the fullest, and it is full where it says.
    assert by_name[first["resource"]]["paper"]["most"] == pytest.approx(1.0 / first["at_demand"])
    assert first["at_demand"] == min(r["full_at_demand"] for r in now["resources"])
    assert 1.0 < first["at_demand"] < 1.6
    assert said["steps"][0]["full"] == first["resource"]
    assert said["steps"][0]["at_demand"] == pytest.approx(first["at_demand"], rel=1e-6)
    # What is added carries it.
    assert [s["added"] for s in said["steps"]]
    assert all(r["paper"]["most"] <= 1.0 for r in carried["resources"])
    assert any(r["paper"]["most"] > 1.0 for r in grown["resources"])
    assert carried["worst_satisfied"] == pytest.approx(1.0, abs=1e-5)
    # By events the same comes out, where nothing is full.
    for case in (now, carried):
        for what in ("messages", "deliveries", "requests"):
            flow = case["per_second"][what]
            assert flow["events"] == pytest.approx(flow["paper"], rel=0.1)
        assert case["cost"]["per_key"] > 0.0
    assert len(said["assumptions"]) > 8
    assert said["rates"]["machine"]["processor"]
    assert len(said["key_per_pair"]) == 1000


def test_the_form(app: typer.Typer) -> None:
    said = json_of(app, "network", *SMALL, "--grow", "1")
    (case,) = said["cases"]
    assert said["steps"] == []
    assert {r["resource"] for r in case["resources"]} == {r.value for r in Resource}
    for times in case["latency_s"].values():
        assert set(times) == {"number", "mean", "p50", "p99", "most"}
    assert case["requests"]["asked"] > 100
    assert said["loss"] is None
    assert json_of(app, "network", *SMALL, "--grow", "1") == said
    assert json_of(app, "network", *SMALL, "--grow", "1", "--seed", "2") != said


def test_for_a_person_with_a_plot(app: typer.Typer, tmp_path: Path) -> None:
    plot, city = tmp_path / "capacity.png", tmp_path / "city.yaml"
    ran = CliRunner().invoke(
        app,
        ["network", *SMALL, "--grow", "20", "--lose", "r000@20", "--plot", str(plot),
         "--write", str(city)],
        catch_exceptions=False,
    )  # fmt: skip
    assert ran.exit_code == ExitCode.OK
    assert plot.read_bytes().startswith(b"\x89PNG")
    for text in ("SIMULATION", "full first", "assumptions", "loss of r000", "relay's time"):
        assert text in ran.stdout
    # The city is a network's file like any other.
    again = json_of(app, "network", "--config", city, "--seconds", "60", "--grow", "1")
    drawn = json_of(app, "network", *SMALL, "--grow", "1")
    assert again["cases"] == drawn["cases"]


def test_the_example_of_plan_is_a_network_too(app: typer.Typer, tmp_path: Path) -> None:
    values: dict[str, Any] = yaml.safe_load((ROOT / "deploy/network.example.yaml").read_text())
    del values["options"]
    values["relays"][0]["turn_s"] = 240.0
    path = tmp_path / "network.yaml"
    path.write_text(yaml.safe_dump(values))
    said = json_of(app, "network", "--config", path, "--seconds", "240", "--grow", "1")
    assert said["first_full"]["resource"] == Resource.LIGHT.value
    assert said["first_full"]["at_demand"] < 1.0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--lose", "nobody"), "nobody"),
        (("--lose", "r000@noon"), "RELAY@SECONDS"),
        (("--relays", "1", "--endpoints", "3", "--pairs", "9"), "9 pairs"),
        (("--rates", "none.yaml"), "none.yaml"),
        (("--config", "none.yaml"), "none.yaml"),
    ],
)
def test_what_cannot_be_asked(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    code, line = failure_of(capsys, "network", *words)
    assert code in (ExitCode.USAGE, ExitCode.CONFIGURATION)
    assert said in line


def test_a_network_with_trusted_nodes_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    values = yaml.safe_load((ROOT / "deploy/network.example.yaml").read_text())
    values["sites"][2]["trusted"] = True
    path = tmp_path / "network.yaml"
    path.write_text(yaml.safe_dump(values))
    code, line = failure_of(capsys, "network", "--config", path)
    assert code == ExitCode.USAGE
    assert "trusted" in line


def test_help_has_an_example(app: typer.Typer) -> None:
    ran = CliRunner().invoke(app, ["network", "--help"])
    assert ran.exit_code == ExitCode.OK
    assert "bellrelay network" in ran.stdout
