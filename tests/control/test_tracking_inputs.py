"""What the loops read beside the light: reference, sync tags, jitter, visibility."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from bellrelay.control.reference_status import ReferenceState, read_reference
from bellrelay.control.sync_jitter import jitter_from_tags, jitter_from_width
from bellrelay.control.sync_phase import SyncPhase
from bellrelay.control.visibility import dip_visibility_fit, visibility_of_x


def test_a_reference_says_how_it_is_and_is_not_believed_when_old_or_odd(tmp_path):
    path = tmp_path / "wr"
    assert read_reference(path, 5.0).state is ReferenceState.UNKNOWN
    now = 1_000_000_000_000
    path.write_text(f"lost\nlocked kind=white-rabbit offset_ps=12 utc_ns={now - 10**9}\n\n")
    found = read_reference(path, 5.0, now)
    assert found.locked
    assert found.offset_ps == 12.0
    assert found.age_s == pytest.approx(1.0)
    assert not read_reference(path, 0.5, now).locked
    for odd in ("", "fine", f"locked offset_ps=much utc_ns={now}"):
        path.write_text(odd)
        assert read_reference(path, 5.0, now).state is ReferenceState.UNKNOWN


def beat(count, slot, position):
    fields = {"sync_slot": slot, "sync_pos": position, "cut_slot": slot + 100, "cut_ps": 10**12}
    return SimpleNamespace(counters={"sync": count}, fields=fields)


def test_sync_phases_count_slots():
    sync = SyncPhase(1000, 1500, 10_000)
    assert sync.read(beat(0, 0, 0)) is None
    assert sync.read(beat(4, 3000, 1700)).phase_ps == 200
    assert sync.read(beat(4, 3000, 1700)) is None
    later = sync.read(beat(104, 103_002, 1500))
    assert later.phase_ps == 20_000
    assert later.number == 103
    assert later.at_s == pytest.approx(1.0 - 1e-6)


def test_jitter_is_found_with_its_error():
    rng = np.random.default_rng(1)
    line = 3.0 * np.arange(2000) + 1e4
    found = jitter_from_tags(np.rint(line + rng.normal(0, 20.0, 2000)))
    assert abs(found.rms_ps - 20.0) < 4 * found.sigma_ps
    assert found.sigma_ps < 1.0
    assert jitter_from_tags([0.0] * 7) is None
    width = jitter_from_width(math.sqrt(100**2 + 60**2 + 40**2), 0.5, pulse_ps=100, detector_ps=60)
    assert width.rms_ps == pytest.approx(40.0)
    assert jitter_from_width(110.0, 1.0, pulse_ps=100, detector_ps=60).below_ps < 100.0


def test_visibilities_and_their_errors():
    found = visibility_of_x(10_000, 2600)
    assert found.value == pytest.approx(0.48)
    assert found.sigma == pytest.approx(2 * math.sqrt(0.26 * 0.74 / 10_000), rel=1e-3)
    with pytest.raises(ValueError, match="errors"):
        visibility_of_x(0, 0)
    rng = np.random.default_rng(2)
    delay = np.linspace(-800, 800, 33)
    pulls = []
    for _ in range(60):
        mean = 2000 * (1 - 0.48 * np.exp(-0.5 * ((delay - 37) / 141) ** 2)) + 5
        dip = dip_visibility_fit(delay, rng.poisson(mean), 1.0, 5.0)
        pulls.append(
            [
                (dip.visibility - 0.48) / dip.sigma_visibility,
                (dip.centre_ps - 37) / dip.sigma_centre_ps,
                (dip.width_ps - 141) / dip.sigma_width_ps,
            ]
        )
    assert np.all(np.abs(np.mean(pulls, axis=0)) < 0.55)
    np.testing.assert_allclose(np.std(pulls, axis=0), 1.0, atol=0.35)
    with pytest.raises(ValueError, match="five"):
        dip_visibility_fit([0, 1], [1, 1])
