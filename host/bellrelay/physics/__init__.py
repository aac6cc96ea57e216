"""Gains and error rates of weak coherent pulses at a relay; link budgets; key-rate models."""

from .gains import BellGains, OutcomeGain, bob_flips, gains, outcome_probabilities
from .relay_model import Basis, Cell, Encoding, RelayModel
from .single_photon import single_photon_gains
from .windows import dark_count_probability, delayed_overlap, gaussian_fraction

__all__ = [
    "Basis",
    "BellGains",
    "Cell",
    "Encoding",
    "OutcomeGain",
    "RelayModel",
    "bob_flips",
    "dark_count_probability",
    "delayed_overlap",
    "gains",
    "gaussian_fraction",
    "outcome_probabilities",
    "single_photon_gains",
]
