"""All calibration steps of a relay, in the order in which a new one is taken into service."""

from __future__ import annotations

from typing import Any

from .calibration_step import Step
from .step_dark import DarkStep
from .step_dead_time import DeadTimeStep
from .step_decoy import DecoyStep
from .step_deskew import DeskewStep
from .step_gate_scan import GateScanStep
from .step_hom import HomStep
from .step_phase import PhaseStep
from .step_phase_reference import PhaseReferenceStep
from .step_polarisation import PolarisationStep
from .step_tdc import TdcStep
from .step_windows import WindowsStep

__all__ = ["calibration_steps"]


def calibration_steps() -> tuple[Step[Any], ...]:
    """One of each."""
    return (
        TdcStep(),
        GateScanStep(),
        DeskewStep(),
        PhaseStep(),
        DeadTimeStep(),
        WindowsStep(),
        DarkStep(),
        HomStep(),
        PolarisationStep(),
        PhaseReferenceStep(),
        DecoyStep(),
    )
