"""The optimiser of ladders: better than where it began, the same every time, per side if uneven."""

from __future__ import annotations

import pytest

from bellrelay.distill.ladder import Ladder
from bellrelay.distill.link_rates import ModelledLink, finite_key
from bellrelay.distill.optimise import optimise_ladders
from bellrelay.distill.security import Method, Security
from bellrelay.physics import RelayModel

START = Ladder(0.4, 0.3, 0.05, 0.0, 0.45, 0.1, 0.3)
# The quick bounds: what is tested is the search.
SECURITY = Security(method=Method.CLOSED_FORM)
N = 10**13


def link(eta_a: float, eta_b: float) -> ModelledLink:
    return ModelledLink(
        RelayModel(
            eta_a=eta_a,
            eta_b=eta_b,
            dark_count_probability=1e-7,
            misalignment_z=0.01,
            misalignment_x=0.01,
        )
    )


def test_even_arms_share_a_ladder_that_is_better() -> None:
    here = link(0.05, 0.05)
    best = optimise_ladders(here, N, SECURITY, (START, START), steps=120)
    assert best.alice == best.bob
    assert best.alice.o == START.o
    assert best.key.length > 1.2 * finite_key(here, START, START, N, SECURITY).length
    # The key it reports is that of the ladders it reports.
    assert best.key.length == finite_key(here, best.alice, best.bob, N, SECURITY).length
    again = optimise_ladders(here, N, SECURITY, (START, START), steps=120)
    assert (again.alice, again.key.length) == (best.alice, best.key.length)


def test_uneven_arms_have_ladders_of_their_own() -> None:
    """Decoys are matched at the relay, the weaker arm's stronger; one ladder for both is worse."""
    here = link(0.2, 0.02)
    best = optimise_ladders(here, N, SECURITY, (START, START), steps=100)
    assert best.bob.mu > 2.0 * best.alice.mu
    alike = finite_key(here, best.alice, best.alice, N, SECURITY).length
    assert best.key.length > 1.5 * max(
        alike, finite_key(here, best.bob, best.bob, N, SECURITY).length
    )


def test_where_there_is_no_key_none_is_claimed() -> None:
    best = optimise_ladders(link(1e-4, 1e-4), 10**9, SECURITY, (START, START), steps=60)
    assert best.key.length == 0
    assert best.key.estimate.aborted is not None or best.key.estimate.private_bits > 0


def test_a_start_with_a_key_is_never_given_up_for_less() -> None:
    here = link(0.05, 0.05)
    first = optimise_ladders(here, N, SECURITY, (START, START), steps=120)
    second = optimise_ladders(here, N, SECURITY, (first.alice, first.bob), steps=60)
    assert second.key.length >= first.key.length
    assert second.key.length == pytest.approx(first.key.length, rel=0.02)
