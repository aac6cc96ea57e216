"""`bellrelay keyrate`: the forms that other programs read, and how it fails."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.testing import CliRunner
from verb_calls import app_of, failure_of, json_of, written

from bellrelay.cli.exits import ExitCode
from bellrelay.cli.keyrate import register

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "deploy/link.example.yaml"
PUBLISHED = json.loads((ROOT / "tests/data/published_mdi.json").read_text())
CELLS = [f"{a}_{b}" for a in ("mu", "nu", "o") for b in ("mu", "nu", "o")]


@pytest.fixture
def app() -> typer.Typer:
    return app_of(register)


@pytest.fixture
def values() -> dict[str, Any]:
    """What the example says; change it, then `written` it."""
    content: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text())
    return content


def call(app: typer.Typer, *words: object) -> Any:
    return json_of(app, "keyrate", *words)


def failure(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    return failure_of(capsys, "keyrate", *words)


def test_the_form_of_a_link(app: typer.Typer) -> None:
    found = call(app, EXAMPLE)
    assert found["simulation"] is True
    assert list(found["X"]) == CELLS
    assert all(0.0 < cell["Q"] < 1.0 and 0.0 < cell["E"] <= 0.5 for cell in found["X"].values())
    assert 0.0 < found["R_two_decoy"] < found["R_infinite"]
    assert found["Y11_X_L"] < found["Y11"]
    assert found["e11_X"] < found["e11_X_U"]
    assert [float(n) for n in found["R_finite"]] == [1e10, 1e12]
    # Per pair sent: what both signals make of the asymptotic rate is out of reach.
    assert found["R_finite"]["1000000000000"] < 0.45**2 * found["R_infinite"]
    for n, block in found["finite"].items():
        assert block["pulses"] == int(n)
        assert block["rate"] == found["R_finite"][n]
        assert block["epsilon"]["secrecy"] == pytest.approx(1e-10)
        assert block["epsilon"]["correctness"] == pytest.approx(1e-15)
        assert block["method"]
        assert (block["length"] == 0) == (block["aborted"] is not None)


def test_figures_of_the_example(app: typer.Typer) -> None:
    """Leading orders by hand: eta mu = 0.04, 0.03, 0.005; overlap 0.98."""
    found = call(app, EXAMPLE)
    assert found["Q_Z"] == pytest.approx(0.04**2 / 2.0, rel=0.1)
    assert found["E_Z"] == pytest.approx(0.005, rel=0.01)
    assert found["Y11"] == pytest.approx(0.1**2 / 2.0, rel=1e-4)
    assert found["e11_X"] == pytest.approx(0.01 + 0.005 - 2 * 0.01 * 0.005, rel=1e-3)
    assert found["X"]["mu_o"]["E"] == pytest.approx(0.5)
    assert found["X"]["nu_nu"]["E"] == pytest.approx(0.25 + 0.01 / 2, abs=5e-3)


def test_methods(app: typer.Typer, values: Any, tmp_path: Path) -> None:
    rates = {}
    for method in ("weighted-counts", "double-scanning", "linear-program", "closed-form"):
        values["finite"] = {"pulses": [1.0e12], "method": method}
        found = call(app, written(tmp_path, values))
        assert found["finite"]["1000000000000"]["method"] == method
        rates[method] = found["R_finite"]["1000000000000"]
    assert max(rates, key=rates.__getitem__) == "weighted-counts"
    assert all(rate > 0.0 for rate in rates.values())


def test_closed_forms_need_a_dark_vacuum(
    capsys: pytest.CaptureFixture[str], values: Any, tmp_path: Path
) -> None:
    values["alice"]["o"] = 0.001
    values["finite"]["method"] = "closed-form"
    code, line = failure(capsys, written(tmp_path, values))
    assert code == ExitCode.CONFIGURATION
    assert "finite.method: 'closed-form'; allowed: weighted-counts" in line


def test_outcomes_are_pooled_or_one_alone(app: typer.Typer, values: Any, tmp_path: Path) -> None:
    both = call(app, EXAMPLE)
    parts = []
    for outcome in ("psi-plus", "psi-minus"):
        values["link"]["outcomes"] = [outcome]
        parts.append(call(app, written(tmp_path, values)))
    for key in ("Q_Z", "Y11"):
        assert parts[0][key] + parts[1][key] == pytest.approx(both[key])
    n = "1000000000000"
    assert parts[0]["finite"][n]["n_z"] < both["finite"][n]["n_z"]


def test_eta_from_a_budget(app: typer.Typer, values: Any, tmp_path: Path) -> None:
    link = values["link"]
    del link["eta_a"], link["eta_b"]
    link.update(length_km=[10, 60], attenuation=0.2, loss=[1.0, 0.5], detector_efficiency=0.5)
    found = call(app, written(tmp_path, values))["link"]
    assert found["eta_a"] == pytest.approx(0.5 * 10**-0.3)
    assert found["eta_b"] == pytest.approx(0.5 * 10**-1.25)
    link.update(length_km=70, loss=1.5)
    found = call(app, written(tmp_path, values))["link"]
    assert found["eta_a"] == found["eta_b"] == pytest.approx(0.5 * 10**-0.775)


def test_dead_time_and_rates_and_the_dip(app: typer.Typer, values: Any, tmp_path: Path) -> None:
    plain = call(app, EXAMPLE)
    del values["link"]["mode_overlap"], values["link"]["dark_count_probability"]
    values["link"].update(
        visibility=0.49, dark_count_rate=100.0, window_ps=1000.0, slot_period_ps=10_000,
        dead_time_ps=5_000,
    )  # fmt: skip
    same = call(app, written(tmp_path, values))
    assert same["link"]["live_fraction"] == 1.0
    assert same["Q_Z"] == pytest.approx(plain["Q_Z"], rel=1e-5)
    assert same["finite_per_second"]["1000000000000"] == pytest.approx(
        1e8 * same["R_finite"]["1000000000000"]
    )
    values["link"].update(dead_time_ps=25_000, detectors_per_port=2)
    dead = call(app, written(tmp_path, values))
    assert 0.8 < dead["link"]["live_fraction"] < 0.99
    assert dead["Q_Z"] < plain["Q_Z"]


def test_scan(app: typer.Typer, values: Any, tmp_path: Path) -> None:
    values["finite"]["method"] = "closed-form"  # the quickest
    path = written(tmp_path, values)
    plot = tmp_path / "rates.png"
    found = call(app, path, "--scan", "distance", "--range", 0, 100, 50, "--plot", plot)
    assert [p["at"] for p in found["points"]] == [0.0, 50.0, 100.0]
    assert found["unit"] == "km"
    assert found["points"][0]["R_infinite"] == pytest.approx(call(app, path)["R_infinite"])
    # 100 km of 0.2 dB/km are 20 dB.
    lossy = call(app, path, "--scan", "loss", "--range", 20, 20, 1)
    assert lossy["points"][0]["R_infinite"] == pytest.approx(found["points"][2]["R_infinite"])
    assert plot.read_bytes().startswith(b"\x89PNG")
    # Without a range it ends where nothing is left.
    values["finite"] = {}
    full = call(app, written(tmp_path, values), "--scan", "loss")
    assert full["points"][-1]["R_infinite"] == 0.0 < full["points"][-2]["R_infinite"]


def wei(loss: str) -> dict[str, Any]:
    """Counts of K. Wei et al., PRX 10, 031030 (2020), table II; cells not printed there are 0."""
    table = PUBLISHED["wei2020_prx_10_031030"][loss]
    (s, mu, nu), (p_s, p_mu, p_nu) = table["I"], table["P"]
    party = {"s": s, "mu": mu, "nu": nu, "o": 0.0, "p_s": p_s, "p_mu": p_mu, "p_nu": p_nu}
    return {
        "N": table["N"],
        "alice": party,
        "bob": party,
        "finite": {"reconciliation_efficiency": 1.16},
        "n_x": [
            [table["mm"], 0, table["m0"]],
            [0, table["vv"], table["v0"]],
            [table["om"], table["ov"], table["oo"]],
        ],
        "m_x": [[0, 0, 0], [0, table["Evv"], table["Ev0"]], [0, table["Eov"], table["Eoo"]]],
        "n_z": table["ss"],
        "m_z": table["Ess"],
    }


def test_the_form_of_counts(app: typer.Typer, tmp_path: Path) -> None:
    found = call(app, "--counts", written(tmp_path, wei("loss_36_dB")))
    assert found["simulation"] is False
    assert found["length"] > 0
    assert found["aborted"] is None
    assert 0 < found["n11_L"] < 6305857
    assert 0.0 < found["e_phase_U"] < 0.5
    assert found["leak_ec"] == pytest.approx(1.16 * 6305857 * 0.1863, rel=1e-2)
    assert found["pulses"] == 45_000_000_000_000


def test_gaps_of_a_printed_table_are_no_counts(app: typer.Typer, tmp_path: Path) -> None:
    """Null, or a 0 where none can be: to believe it would give four times the key."""
    counts = wei("loss_36_dB")
    zeros = call(app, "--counts", written(tmp_path, counts))
    assert zeros["not_reported"] == ["m mu_mu", "n mu_nu", "m mu_o", "n nu_mu", "m o_mu"]
    for table, cells in (("n_x", [(0, 1), (1, 0)]), ("m_x", [(0, 0), (0, 2), (2, 0)])):
        for i, j in cells:
            counts[table][i][j] = None
    nulls = call(app, "--counts", written(tmp_path, counts))
    assert {**nulls, "not_reported": None} == {**zeros, "not_reported": None}
    # A 0 among zeros is a count.
    assert "n o_o" not in zeros["not_reported"]


def test_counts_of_a_model_give_its_key(app: typer.Typer, tmp_path: Path) -> None:
    """The file has no cells of Z against X: to do without them costs a little."""
    from bellrelay.cli.link_file import load_link_file
    from bellrelay.distill.link_rates import expected_tallies
    from bellrelay.distill.tally import pooled

    link = load_link_file(EXAMPLE)
    tally = pooled(
        expected_tallies(link.modelled(), link.alice.ladder(), link.bob.ladder(), 10**12)
    )
    block = call(app, EXAMPLE)["finite"]["1000000000000"]
    content = {
        **yaml.safe_load(EXAMPLE.read_text()),
        "N": 10**12,
        "n_x": tally.n_x.round().astype(int).tolist(),
        "m_x": tally.m_x.round().astype(int).tolist(),
        "n_z": round(float(tally.n_z)),
        "m_z": 0,
        "leak_ec": block["leak_ec"],
    }
    del content["link"]
    found = call(app, "--counts", written(tmp_path, content))
    assert found["not_reported"] == []
    assert 0.97 * block["length"] < found["length"] <= block["length"]


def test_disclosed_bits_are_those_that_were_counted(app: typer.Typer, tmp_path: Path) -> None:
    counts = wei("loss_36_dB")
    free = call(app, "--counts", written(tmp_path, {**counts, "leak_ec": 0}))
    paid = call(app, "--counts", written(tmp_path, {**counts, "leak_ec": 100_000}))
    assert free["length"] - paid["length"] == 100_000
    all_of_it = call(app, "--counts", written(tmp_path, {**counts, "leak_ec": 10**7}))
    assert all_of_it["length"] == 0
    assert all_of_it["aborted"] == "leak-exceeds-private-bits"


def test_counts_that_bound_nothing_abort(app: typer.Typer, tmp_path: Path) -> None:
    counts = wei("loss_36_dB")
    counts["m_x"][1][1] = counts["n_x"][1][1]
    found = call(app, "--counts", written(tmp_path, counts))
    assert (found["length"], bool(found["aborted"])) == (0, True)


@pytest.mark.parametrize(
    ("where", "value", "said"),
    [
        (("link", "encoding"), "morse", ["link.encoding", "'morse'", "time-bin"]),
        (("link", "eta_a"), 1.5, ["link.eta_a", "1.5", "0 to 1"]),
        (("link", "eta_b"), None, ["link.eta_b", "allowed"]),
        (("link", "length_km"), 3, ["link.length_km", "allowed: nothing beside eta_a"]),
        (("link", "outcomes"), ["phi"], ["link.outcomes", "phi", "psi-plus"]),
        (("link", "dead_time_ps"), 10, ["link.slot_period_ps", "allowed"]),
        (("link", "colour"), 3, ["link.colour", "no such key"]),
        (("alice", "nu"), 0.3, ["alice.mu", "0.3", "above nu"]),
        (("alice", "o"), 0.06, ["alice.nu", "0.05", "above o"]),
        (("bob", "p_s"), 0.7, ["bob.p_s", "below 1"]),
        (("bob", "s"), 0.0, ["bob.s", "above 0"]),
        (("bob", "mu"), "much", ["bob.mu", "'much'", "0 to 3"]),
        (("finite", "method"), "guess", ["finite.method", "'guess'", "weighted-counts"]),
        (("finite", "pulses"), [0], ["finite.pulses", "[0]", "1 to 1e+18"]),
        (("finite", "epsilon_secrecy"), 0.9, ["finite.epsilon_secrecy", "0.9", "1e-60 to 0.5"]),
    ],
)
def test_a_bad_link_is_named(
    capsys: pytest.CaptureFixture[str],
    values: Any,
    tmp_path: Path,
    where: tuple[str, str],
    value: object,
    said: list[str],
) -> None:
    values[where[0]][where[1]] = value
    path = written(tmp_path, values)
    code, line = failure(capsys, path)
    assert code == ExitCode.CONFIGURATION
    for text in (str(path), *said):
        assert text in line


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("n_z", -1, ["n_z", "-1", "0 to 1e+18"]),
        ("n_z", 10.5, ["n_z", "10.5", "whole number"]),
        ("m_z", 10**10, ["m_z", "10000000000", "at most n_z"]),
        ("m_x", [[0, 0, 0], [0, 10**9, 0], [0, 0, 0]], ["m_x.1.1", "at most n_x.1.1"]),
        ("n_x", [[1, 2], [3, 4]], ["n_x", "3 x 3"]),
        ("N", 1000, ["N", "1000", "at least the events counted"]),
    ],
)
def test_bad_counts_are_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, key: str, value: object, said: list[str]
) -> None:
    path = written(tmp_path, {**wei("loss_36_dB"), key: value})
    code, line = failure(capsys, "--counts", path)
    assert code == ExitCode.CONFIGURATION
    for text in (str(path), *said):
        assert text in line


@pytest.mark.parametrize(
    "words",
    [
        (),
        (EXAMPLE, "--counts", EXAMPLE),
        ("--counts", EXAMPLE, "--scan", "loss"),
        (EXAMPLE, "--scan", "time"),
        (EXAMPLE, "--plot", "rates.png"),
        (EXAMPLE, "--scan", "loss", "--range", "3", "1", "1"),
        (EXAMPLE, "--scan", "loss", "--range", "0", "1", "0"),
    ],
)
def test_options_that_do_not_go_together(
    capsys: pytest.CaptureFixture[str], words: tuple[object, ...]
) -> None:
    assert failure(capsys, *words)[0] == ExitCode.USAGE


def test_tables_for_a_person(app: typer.Typer, tmp_path: Path) -> None:
    for words in (
        [EXAMPLE],
        [EXAMPLE, "--scan", "loss", "--range", 0, 20, 10],
        ["--counts", written(tmp_path, wei("loss_36_dB"))],
    ):
        ran = CliRunner().invoke(app, ["keyrate", *map(str, words)], catch_exceptions=False)
        assert ran.exit_code == ExitCode.OK
        assert "1e-10" in ran.stdout  # every finite figure says its epsilon


def test_the_reference_page_is_the_models() -> None:
    from bellrelay.cli.keyrate_reference import reference_page

    page = (ROOT / "docs/reference/keyrate-files.md").read_text()
    assert page == reference_page(), (
        "python -m bellrelay.cli.keyrate_reference > docs/reference/keyrate-files.md"
    )


def test_optimise(app: typer.Typer, values: Any, tmp_path: Path) -> None:
    values["finite"] = {"pulses": 1.0e13, "method": "closed-form"}  # the quickest
    path = written(tmp_path, values)
    found = call(app, path, "--optimise")
    best = found["optimised"]["10000000000000"]
    assert best["rate"] > 1.5 * found["R_finite"]["10000000000000"]
    assert best["alice"] == best["bob"]
    assert best["method"] == "closed-form"
    assert found["best_signal"]["R_infinite"] > found["R_infinite"]
    # What it says is what a file with these ladders gives.
    keys = ("s", "mu", "nu", "o", "p_s", "p_mu", "p_nu", "deviation")
    for party in ("alice", "bob"):
        values[party] = {key: best[party][key] for key in keys}
    again = call(app, written(tmp_path, values))
    assert again["finite"]["10000000000000"]["length"] == best["length"]


def test_intensities_that_may_be_off_cost_key(
    app: typer.Typer, values: Any, tmp_path: Path
) -> None:
    exact = call(app, EXAMPLE)["R_finite"]["1000000000000"]
    for party in ("alice", "bob"):
        values[party]["deviation"] = 0.01
    guarded = call(app, written(tmp_path, values))["R_finite"]["1000000000000"]
    assert 0.0 < guarded < exact
