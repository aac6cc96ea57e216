"""Closed forms against the published ones, and against an average over the phase by brute force."""

import itertools

import numpy as np
import pytest

from bellrelay.physics import (
    Basis,
    BellGains,
    Encoding,
    RelayModel,
    gains,
    ma_razavi,
    outcome_probabilities,
    single_photon_gains,
)

BOTH = list(Encoding)
POINTS = [  # mu_a, mu_b, eta_a, eta_b, p_d
    (0.4, 0.4, 0.5, 0.3, 1e-3),
    (0.4, 0.2, 0.1, 0.1, 1e-6),
    (3.0, 2.0, 0.9, 0.9, 1e-2),
    (0.3, 0.0, 0.2, 0.1, 1e-4),
]


@pytest.mark.parametrize("encoding", BOTH)
@pytest.mark.parametrize("point", POINTS)
def test_published_gains(encoding: Encoding, point: tuple[float, ...]) -> None:
    mu_a, mu_b, eta_a, eta_b, p_d = point
    model = RelayModel(
        encoding=encoding,
        eta_a=eta_a,
        eta_b=eta_b,
        dark_count_probability=p_d,
        misalignment_z=0.015,
        misalignment_x=0.02,
    )
    for basis, published in (
        (Basis.Z, ma_razavi.z_basis(mu_a, mu_b, eta_a, eta_b, p_d, 0.015)),
        (Basis.X, ma_razavi.x_basis(mu_a, mu_b, eta_a, eta_b, p_d, 0.02)),
    ):
        both = gains(model, basis, mu_a, mu_b).both
        np.testing.assert_allclose(both.gain, published[0], rtol=1e-10)
        np.testing.assert_allclose(both.errors, published[1], rtol=1e-10)


@pytest.mark.parametrize("encoding", BOTH)
def test_published_single_photon_yield(encoding: Encoding) -> None:
    eta_a, eta_b, p_d, e_d = 0.2, 0.05, 3e-5, 0.015
    model = RelayModel(encoding, eta_a, eta_b, dark_count_probability=p_d, misalignment_x=e_d)
    gain, errors = ma_razavi.single_photon_pair(eta_a, eta_b, p_d, e_d)
    pairs = single_photon_gains(model, Basis.X).both
    np.testing.assert_allclose(pairs.gain, gain, rtol=1e-13)
    np.testing.assert_allclose(pairs.errors, errors, rtol=1e-12)
    np.testing.assert_allclose(single_photon_gains(model, Basis.Z).both.gain, gain, rtol=1e-13)


@pytest.mark.parametrize("basis", list(Basis))
def test_single_photon_yield_is_the_weak_limit_of_the_gains(basis: Basis) -> None:
    """Mixed second difference of exp(a+b) Q(a, b) at 0, for a model with nothing symmetric."""
    model = _uneven()
    h = 1e-4
    pairs = single_photon_gains(model, basis)
    for name in ("psi_plus", "psi_minus"):
        for field in ("gain", "errors"):

            def grown(a: float, b: float, name: str = name, field: str = field) -> float:
                return float(
                    np.exp(a + b) * getattr(getattr(gains(model, basis, a, b), name), field)
                )

            mixed = (grown(h, h) - grown(h, 0) - grown(0, h) + grown(0, 0)) / h**2
            assert mixed == pytest.approx(float(getattr(getattr(pairs, name), field)), rel=1e-3)


def _uneven(**changes: object) -> RelayModel:
    values: dict[str, object] = {
        "eta_a": 0.3,
        "eta_b": 0.12,
        "detectors_per_port": 2,
        "detector_efficiency": (1.0, 0.8, 0.9, 0.7),
        "dark_count_probability": (1e-3, 2e-3, 5e-4, 0.0),
        "misalignment_z": 0.01,
        "misalignment_x": 0.03,
        "mode_overlap": 0.9,
    }
    return RelayModel(**{**values, **changes})  # type: ignore[arg-type]


def _brute_force(model: RelayModel, basis: Basis, mu_a: float, mu_b: float) -> dict[str, float]:
    """Sum over all click patterns, average over 64 phases, written without the module's help."""
    n = model.n_detectors
    polarised = model.encoding is Encoding.POLARISATION
    dark = np.broadcast_to(np.asarray(model.dark_count_probability, float), (n,))
    efficiency = np.asarray(model.detector_efficiency or (1.0,) * n)
    flip = model.misalignment_z if basis is Basis.Z else model.misalignment_x
    total = {"psi_plus": 0.0, "psi_minus": 0.0, "psi_plus errors": 0.0, "psi_minus errors": 0.0}
    phases = 2 * np.pi * np.arange(64) / 64
    for bit_a, bit_b, sent_b, phase in itertools.product((0, 1), (0, 1), (0, 1), phases):
        weight = (flip if sent_b != bit_b else 1 - flip) / 4 / 64
        light = {}
        for mode in (0, 1):
            if basis is Basis.Z:
                alpha = np.sqrt(mu_a * float(model.eta_a) * (bit_a == mode))
                beta = np.sqrt(mu_b * float(model.eta_b) * (sent_b == mode)) * np.exp(1j * phase)
            else:
                alpha = np.sqrt(mu_a * float(model.eta_a) / 2) * (-1) ** (bit_a * mode)
                beta = np.sqrt(mu_b * float(model.eta_b) / 2) * np.exp(1j * phase)
                beta *= (-1) ** (sent_b * mode)
            # A part sqrt(M) of Bob's amplitude is in Alice's mode, the rest in one of its own.
            root = np.sqrt(model.mode_overlap)
            for port, sign in ((0, 1), (1, -1)):
                shared = abs(alpha + sign * root * beta) ** 2 / 2
                own = (1 - model.mode_overlap) * abs(beta) ** 2 / 2
                light[port, mode] = shared + own
        clicks: dict[tuple[int, int], float] = {}
        for d in range(n):
            port = d // (n // 2)
            for mode in (0, 1):
                if polarised and d % 2 != mode:
                    continue
                share = efficiency[d] / model.detectors_per_port
                clicks[d, mode] = 1 - (1 - dark[d]) * np.exp(-share * light[port, mode])
        cells = list(clicks)
        for pattern in itertools.product((False, True), repeat=len(cells)):
            p = weight * np.prod(
                [clicks[c] if on else 1 - clicks[c] for c, on in zip(cells, pattern, strict=True)]
            )
            seen = {c for c, on in zip(cells, pattern, strict=True) if on}
            if not model.same_detector:
                seen = {(d, m) for d, m in seen if m == 0 or (d, 0) not in seen}
            if sorted(m for _, m in seen) != [0, 1]:
                continue
            ports = {d // (n // 2) for d, _ in seen}
            outcome = "psi_minus" if len(ports) == 2 else "psi_plus"
            bob_flips = basis is Basis.Z or outcome == "psi_minus"
            total[outcome] += p
            total[outcome + " errors"] += p * (bit_a ^ bit_b ^ bob_flips)
    return total


@pytest.mark.parametrize("basis", list(Basis))
@pytest.mark.parametrize(
    "model",
    [
        _uneven(),
        _uneven(same_detector=False),
        _uneven(detectors_per_port=1, detector_efficiency=(0.9, 0.6), dark_count_probability=1e-3),
        _uneven(
            detectors_per_port=1,
            detector_efficiency=(),
            dark_count_probability=1e-3,
            same_detector=False,
        ),
        _uneven(encoding=Encoding.POLARISATION, detectors_per_port=1),
    ],
    ids=["four", "four blind", "two", "two blind", "polarisation"],
)
def test_generalised_gains_by_brute_force(model: RelayModel, basis: Basis) -> None:
    result = gains(model, basis, 0.9, 1.7)
    expected = _brute_force(model, basis, 0.9, 1.7)
    for name in ("psi_plus", "psi_minus"):
        outcome = getattr(result, name)
        assert float(outcome.gain) == pytest.approx(expected[name], rel=1e-12, abs=1e-16)
        assert float(outcome.errors) == pytest.approx(
            expected[name + " errors"], rel=1e-12, abs=1e-16
        )


def test_two_blind_detectors_never_announce_psi_plus() -> None:
    result = gains(RelayModel(same_detector=False), Basis.X, 0.4, 0.4)
    assert float(result.psi_plus.gain) == 0.0
    assert float(result.psi_plus.error_rate) == 0.5
    assert float(result.psi_minus.gain) > 0.0


def test_x_errors_go_to_a_quarter_and_without_interference_to_a_half() -> None:
    weak = gains(RelayModel(), Basis.X, 1e-6, 1e-6).both
    assert float(weak.error_rate) == pytest.approx(0.25, abs=1e-6)
    classical = gains(RelayModel(mode_overlap=0.0), Basis.X, 0.3, 0.3).both
    assert float(classical.error_rate) == pytest.approx(0.5, abs=1e-12)


def test_digits_survive_heavy_loss() -> None:
    """At 100 dB the gain is mu_a mu_b eta^2 / 2 to first order: 5e-13 against terms of order 1."""
    model = RelayModel(eta_a=1e-5, eta_b=1e-5)
    gain = gains(model, Basis.Z, 0.1, 0.1).both.gain
    assert float(gain) == pytest.approx(0.01 * 1e-10 / 2.0, rel=1e-5)


def test_arrays_broadcast() -> None:
    mu_a, mu_b = np.array([[0.1], [0.4]]), np.array([0.0, 0.1, 0.4])
    model = RelayModel(eta_a=0.2, eta_b=0.1, dark_count_probability=1e-5, mode_overlap=0.95)
    table = gains(model, Basis.X, mu_a, mu_b)
    assert table.both.gain.shape == (2, 3)
    one: BellGains = gains(model, Basis.X, 0.4, 0.1)
    assert table.psi_minus.errors[1, 1] == pytest.approx(float(one.psi_minus.errors), rel=1e-14)


def test_z_against_x_has_no_correlation_with_bits() -> None:
    model = RelayModel(eta_a=0.3, eta_b=0.3, dark_count_probability=1e-4)
    plus, minus = outcome_probabilities(model, Basis.Z, Basis.X, 0.4, 0.3)
    np.testing.assert_allclose(plus[0, 0], plus[0, 1], rtol=1e-12)
    np.testing.assert_allclose(minus[1, 0], minus[1, 1], rtol=1e-12)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"mode_overlap": 1.2}, "mode_overlap"),
        ({"eta_a": -0.1}, "eta_a"),
        ({"eta_b": np.array([0.1, 1.5])}, "eta_b"),
        ({"misalignment_x": 2.0}, "misalignment_x"),
        ({"dark_count_probability": 1.0}, "dark_count_probability"),
        ({"dark_count_probability": (0.1, 0.1)}, "dark_count_probability"),
        ({"detectors_per_port": 3}, "detectors_per_port"),
        ({"encoding": Encoding.POLARISATION}, "detectors_per_port"),
    ],
)
def test_bad_parameters_are_named(changes: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        _uneven(**changes)
    with pytest.raises(ValueError, match="intensities"):
        gains(_uneven(), Basis.Z, -0.1, 0.1)
