"""Bounds of a block by each method: key that they leave, and time on one core.

    python bench/estimation.py

Ratios are to the linear program in the same run, whose bounds one could get from any solver.
"""

from __future__ import annotations

import time

from bellrelay.distill.estimate import estimate
from bellrelay.distill.key_length import available_bits
from bellrelay.distill.ladder import Ladder
from bellrelay.distill.link_rates import ModelledLink, expected_leak, expected_tallies
from bellrelay.distill.security import Method, Security
from bellrelay.physics import RelayModel

LADDER = Ladder(0.4, 0.3, 0.05, 0.0, 0.45, 0.1, 0.3)
LINK = ModelledLink(
    RelayModel(
        eta_a=0.1,
        eta_b=0.1,
        dark_count_probability=1e-7,
        misalignment_z=0.005,
        misalignment_x=0.005,
        mode_overlap=0.98,
    )
)
REPEATS = 20


def main() -> None:
    print("link of the example, exact intensities; ratios to the linear program")
    print(f"{'N':>8} {'method':>16} {'bits left':>12} {'ratio':>7} {'ms':>8} {'ratio':>7}")
    for pulses in (10**9, 10**10, 10**12):
        tallies = expected_tallies(LINK, LADDER, LADDER, pulses)
        found = {}
        for method in Method:
            security = Security(method=method)
            bounds = estimate(tallies, LADDER, LADDER, security)
            start = time.process_time()
            for _ in range(REPEATS):
                estimate(tallies, LADDER, LADDER, security)
            spent = (time.process_time() - start) / REPEATS
            leak = expected_leak(LINK, LADDER, LADDER, bounds.sifted)
            found[method] = max(0.0, available_bits(bounds, leak)), spent
        of_program, time_of_program = found[Method.LINEAR_PROGRAM]
        for method, (bits, spent) in found.items():
            ratio = f"{bits / of_program:.2f}" if of_program else "no key"
            print(
                f"{pulses:>8.0e} {method:>16} {bits:>12.0f} {ratio:>7} "
                f"{spent * 1e3:>8.2f} {spent / time_of_program:>7.2f}"
            )


if __name__ == "__main__":
    main()
