"""Videos with known truth: physics, camera, truth tables, and the score of what was found against them."""

from spatterlib.simulation.render import Frame, simulate_frames
from spatterlib.simulation.scoring import Score, score
from spatterlib.simulation.settings import FLOWS, PRESETS, Settings
from spatterlib.simulation.truth import EVENT_TRUTH, LAYER_TRUTH, STREAK_TRUTH, Truth
from spatterlib.simulation.writer import simulate

__all__ = [
    "EVENT_TRUTH",
    "FLOWS",
    "LAYER_TRUTH",
    "PRESETS",
    "STREAK_TRUTH",
    "Frame",
    "Score",
    "Settings",
    "Truth",
    "score",
    "simulate",
    "simulate_frames",
]
