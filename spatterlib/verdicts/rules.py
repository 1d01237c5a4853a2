"""When a span of time gets a verdict, and what it means: one record, from which options and REST are made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from spatterlib.common.records import check, parameter
from spatterlib.errors import ParameterError
from spatterlib.plugins.registry import nearest

__all__ = ["Rules"]


@dataclass(frozen=True)
class Rules:
    """When a span gets a verdict, and what it means.

    Parameters
    ----------
    expected : str, optional
        The class that a good build has. Without it no span is OK or critical, only decided.
    min_votes : int
        Fewer votes give no verdict; 3 or more. Six that agree are the fewest that are hardly chance: 2 / 2**6 = 3 %.
    max_far : float
        Share of crops, 0-1, that may lie far from the training's.
    unproven : bool
        Judge by a model, too, whose test does not show that it is better than chance on recordings held out.
    vote_seconds : float
        S; an event votes once in each of these that it lasts.
    resamples, seed : int
        Of the bootstrap.

    Examples
    --------
    >>> import spatterlib as sp
    >>> sp.Rules(expected="high").min_votes
    6
    """

    expected: str | None = parameter(
        None, "The class that a good build has: others are critical then.", metavar="CLASS"
    )
    min_votes: int = parameter(6, "Fewer give no verdict.", 3, metavar="N")
    max_far: float = parameter(0.1, "Crops unlike the training's that are put up with.", 0, 1, metavar="SHARE")
    unproven: bool = parameter(False, "Judge by a model that is not shown to be better than chance, too.")
    vote_seconds: float = 1.0
    resamples: int = parameter(4000, "Draws of the bootstrap.", 100, option=False)
    seed: int = parameter(1234, "Of the bootstrap.", 0, option=False)

    def __post_init__(self) -> None:
        check(self)
        if not self.vote_seconds > 0:
            raise ParameterError(f"vote_seconds must be above 0 s, got {self.vote_seconds!r}")

    def check(self, classes: Sequence[str]) -> None:
        """Refuse an expected class that the model does not know.

        Raises
        ------
        ParameterError
            Names the nearest class.
        """
        if self.expected is not None and self.expected not in classes:
            raise ParameterError(
                f"the model tells {', '.join(classes)} apart, so {self.expected!r} cannot be expected"
                f"{nearest(self.expected, list(classes))}"
            )
