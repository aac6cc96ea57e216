"""Lines of monitors: what they say, and why what is no reading is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bellrelay.observe.monitor_line import LONGEST_LINE, Cause, Refused, parse_line
from bellrelay.physics.spectrum import SPEED_OF_LIGHT

NOW = 1_780_000_000_000_000_000


def quantities(line):
    return parse_line(line.encode(), NOW).quantities


@pytest.mark.parametrize(
    ("line", "quantity", "value"),
    [
        ("p power -30 dBm", "power_w", 1e-6),
        ("p power 1.5 uW", "power_w", 1.5e-6),
        ("p power -3e-1 pW", "power_w", -3e-13),
        ("t temperature 21.5 C", "temperature_c", 21.5),
        ("t temperature 300 K", "temperature_c", 26.85),
        ("w wavelength 1550.12 nm", "wavelength_nm", 1550.12),
        ("w wavelength 193.4 THz", "wavelength_nm", SPEED_OF_LIGHT / 193.4e12 * 1e9),
        ("w wavelength 193400 GHz", "wavelength_nm", SPEED_OF_LIGHT / 193.4e12 * 1e9),
    ],
)
def test_units_come_to_one(line, quantity, value):
    assert quantities(line) == {quantity: pytest.approx(value, rel=1e-12)}


def test_a_time_of_its_own_or_that_of_its_coming():
    assert parse_line(b"p power 1 W", NOW).time_ns == NOW
    assert parse_line(b"p power 1 W 1779999999000000000\r", NOW).time_ns == NOW - 10**9


def spectrum(unit, side_db=40.0):
    axis_unit, level_unit = unit.split(":")
    nm = np.linspace(1549.0, 1551.0, 801)
    power = np.exp(-4 * np.log(2) * ((nm - 1550.1) / 0.08) ** 2) + 1e-7
    power += 10 ** (-side_db / 10) * np.exp(-4 * np.log(2) * ((nm - 1550.6) / 0.08) ** 2)
    level = 10 * np.log10(power) if level_unit.startswith("dB") else power
    axis = {"nm": nm, "GHz": SPEED_OF_LIGHT / nm, "THz": SPEED_OF_LIGHT / nm * 1e-3}[axis_unit]
    points = ",".join(f"{a:.7f}:{v:.6g}" for a, v in zip(axis, level, strict=True))
    return f"s spectrum {points} {unit}"


@pytest.mark.parametrize("unit", ["nm:dBm", "nm:dB", "nm:mW", "THz:W", "GHz:dBm"])
def test_a_spectrum_gives_centre_width_and_suppression(unit):
    found = quantities(spectrum(unit))
    assert found["wavelength_nm"] == pytest.approx(1550.1, abs=0.002)
    assert found["linewidth_ghz"] == pytest.approx(0.08 * 124.7, rel=0.02)
    assert found["suppression_db"] == pytest.approx(40.0, abs=0.2)


def test_a_laser_s_frequency_is_there_for_who_watches_it():
    assert parse_line(b"w wavelength 193.4 THz", NOW).frequency_hz == pytest.approx(193.4e12)
    assert parse_line(b"p power 1 W", NOW).frequency_hz is None


def test_an_intensity_is_the_reading_that_files_of_intensities_have():
    found = parse_line(b"m intensity 0.4 photons 7 setting=mu variance=1e-4 ladder=0123abcd", NOW)
    assert (found.intensity.time_ns, found.intensity.setting) == (7, 1)
    assert (found.intensity.mean, found.intensity.variance) == (0.4, 1e-4)
    assert found.intensity.ladder == "0123abcd"
    assert found.quantities == {}


@pytest.mark.parametrize("line", ["", "   ", "# a remark", "\r"])
def test_some_lines_say_nothing(line):
    assert parse_line(line.encode(), NOW) is None


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("p power 1", Cause.FIELDS),
        ("a/b power 1 W", Cause.NAME),
        ("p volts 1 V", Cause.KIND),
        ("p power one W", Cause.NUMBER),
        ("p power nan W", Cause.NUMBER),
        ("p power 1e999 W", Cause.NUMBER),
        ("p power 1_0 W", Cause.NUMBER),
        ("p power 1e9 dBm", Cause.NUMBER),
        ("p power 1 V", Cause.UNIT),
        ("t temperature -1 K", Cause.NUMBER),
        ("w wavelength 0 nm", Cause.NUMBER),
        ("w wavelength 1550 m", Cause.UNIT),
        ("p power 1 W yesterday", Cause.TIME),
        ("p power 1 W 0", Cause.TIME),
        ("p power 1 W 99999999999999999999", Cause.TIME),
        ("p power 1 W 1780000009000000000", Cause.FUTURE),
        ("p power 1 W setting=mu", Cause.KEY),
        ("p power 1 W 5 6", Cause.KEY),
        ("m intensity 0.4 photons", Cause.KEY),
        ("m intensity 0.4 photons setting=x", Cause.KEY),
        ("m intensity 0.4 photons setting=mu setting=mu", Cause.KEY),
        ("m intensity 0.4 photons setting=mu ladder=x", Cause.KEY),
        ("m intensity 0.4 photons setting=mu variance=-1", Cause.NUMBER),
        ("m intensity 0.4 W setting=mu", Cause.UNIT),
        ("s spectrum 1:1,2:2 nm:dBm", Cause.SPECTRUM),
        ("s spectrum 1:1,2:2,3:3,2:2,1:1 nm:dBm", Cause.SPECTRUM),
        ("s spectrum 1:0,2:0,3:0,4:0,5:0 nm:W", Cause.SPECTRUM),
        ("s spectrum 0:1,2:2,3:3,4:2,5:1 nm:dBm", Cause.SPECTRUM),
        ("s spectrum 1:1,2:2,3:3,4:2,5 nm:dBm", Cause.NUMBER),
        ("s spectrum 1:1,2:2,3:3,4:2,5:1e nm:dBm", Cause.NUMBER),
        ("s spectrum 1:1,2:2,3:3,4:2,5:999 nm:dBm", Cause.NUMBER),
        ("s spectrum 1:1,2:2,3:3,4:2,5:1 nm", Cause.UNIT),
        ("s spectrum 1:1,2:2,3:3,4:2,5:1 m:dBm", Cause.UNIT),
        ("p power 1 W\N{DEGREE SIGN}", Cause.NOT_ASCII),
    ],
)
def test_what_is_no_reading_is_refused_with_its_cause(line, cause):
    with pytest.raises(Refused) as caught:
        parse_line(line.encode(), NOW)
    assert caught.value.cause is cause


@given(st.binary(max_size=200) | st.text("ps ower123.:,-=nmdBW#", max_size=80).map(str.encode))
def test_nothing_but_a_refusal_comes_of_any_line(line):
    try:
        parse_line(line, NOW)
    except Refused as error:
        refused = error
    else:
        return
    assert refused.cause in Cause
    assert len(str(refused)) < 300


def test_a_long_spectrum_fits_a_line():
    points = ",".join(f"{1500 + 0.005 * k:.4f}:{-60.123:.3f}" for k in range(20_000))
    assert len(f"laser spectrum {points} nm:dBm") < LONGEST_LINE
