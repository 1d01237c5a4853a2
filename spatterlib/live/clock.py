"""Times of a stream that only go forward, whatever its time stamps do."""

from __future__ import annotations

from dataclasses import dataclass, replace

__all__ = ["Clock", "tick"]

# S; a camera whose clock was set jumps further than any network stalls.
JUMP = 10.0
_LEAST = 1e-6


@dataclass(frozen=True)
class Clock:
    """Where the time of a stream stands.

    Parameters
    ----------
    offset : float or None
        S, added to the stream's time stamps; None: such that the first frame has time 0.
    last : float or None
        S, time of the last frame.
    arrived : float
        S on this machine's monotonic clock, when it came.
    jump : float
        S; a time stamp that runs ahead of this machine's clock by more is not believed.
    """

    offset: float | None = None
    last: float | None = None
    arrived: float = 0.0
    jump: float = JUMP


def tick(clock: Clock, stamp: float | None, arrived: float, *, fresh: bool = False) -> tuple[Clock, float]:
    """Time of the next frame, always behind that of the last one.

    Parameters
    ----------
    clock : Clock
        Where it stands.
    stamp : float or None
        S, time stamp of the frame; None: it has none.
    arrived : float
        S on this machine's monotonic clock.
    fresh : bool
        The stream was connected anew: its stamps may begin anywhere, and what has passed meanwhile tells this machine.

    Examples
    --------
    >>> from spatterlib.live.clock import Clock, tick
    >>> clock, first = tick(Clock(), 1.4, 100.0)
    >>> clock, second = tick(clock, 1.44, 100.05)
    >>> clock, third = tick(clock, 0.0, 107.05, fresh=True)
    >>> first, round(second, 3), round(third, 3)
    (0.0, 0.04, 7.04)
    """
    if clock.last is None:
        offset = -(stamp or 0.0) if clock.offset is None else clock.offset
        time = (stamp or 0.0) + offset
        return replace(clock, offset=offset, last=time, arrived=arrived), time
    passed = max(arrived - clock.arrived, 0.0)
    offset = clock.offset or 0.0
    time = clock.last - 1 if stamp is None else stamp + offset
    if fresh or not clock.last < time <= clock.last + passed + clock.jump:
        time = clock.last + max(passed, _LEAST)
        offset = offset if stamp is None else time - stamp
    return replace(clock, offset=offset, last=time, arrived=arrived), time
