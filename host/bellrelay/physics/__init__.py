"""Gains and error rates of weak coherent pulses at a relay; link budgets; key-rate models."""

from .decoy_bounds import pair_error_upper, pair_yield_lower
from .entropy import binary_entropy
from .gains import BellGains, OutcomeGain, bob_flips, gains, outcome_probabilities
from .key_rate import BestSignal, asymptotic_rate, best_signal, infinite_decoy_rate
from .link_budget import arm_efficiency, dip_visibility, overlap_of_visibility, transmittance
from .live_fraction import DeadTime, SentSetting, click_probabilities, live_fraction
from .relay_model import Basis, Cell, Encoding, RelayModel
from .single_photon import single_photon_gains
from .windows import dark_count_probability, delayed_overlap, gaussian_fraction

__all__ = [
    "Basis",
    "BellGains",
    "BestSignal",
    "Cell",
    "DeadTime",
    "Encoding",
    "OutcomeGain",
    "RelayModel",
    "SentSetting",
    "arm_efficiency",
    "asymptotic_rate",
    "best_signal",
    "binary_entropy",
    "bob_flips",
    "click_probabilities",
    "dark_count_probability",
    "delayed_overlap",
    "dip_visibility",
    "gains",
    "gaussian_fraction",
    "infinite_decoy_rate",
    "live_fraction",
    "outcome_probabilities",
    "overlap_of_visibility",
    "pair_error_upper",
    "pair_yield_lower",
    "single_photon_gains",
    "transmittance",
]
