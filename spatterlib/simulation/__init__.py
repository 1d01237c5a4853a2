"""Videos with known truth: physics, camera, truth tables."""

from spatterlib.simulation.render import Frame, simulate_frames
from spatterlib.simulation.settings import FLOWS, PRESETS, SimulationSettings
from spatterlib.simulation.truth import EVENT_TRUTH, LAYER_TRUTH, STREAK_TRUTH, Truth
from spatterlib.simulation.writer import simulate

__all__ = [
    "EVENT_TRUTH",
    "FLOWS",
    "LAYER_TRUTH",
    "PRESETS",
    "STREAK_TRUTH",
    "Frame",
    "SimulationSettings",
    "Truth",
    "simulate",
    "simulate_frames",
]
