"""Times of a stream that only go forward, whatever its time stamps do."""

from __future__ import annotations

from dataclasses import dataclass, replace

from spatterlib.live.alarms import Observation

__all__ = ["Clock", "ClockSteps", "tick"]

# S; a camera whose clock was set jumps further than any network stalls.
JUMP = 10.0
_LEAST = 1e-6
# S by which this machine's clock may be set without a word; S that a jump stays an event.
_STEP, _STAYS = 2.0, 30.0


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


@dataclass
class ClockSteps:
    """Jumps of the stream's time stamps and of this machine's clock, as observations for the state machine of alarms.

    Parameters
    ----------
    jumps : int
        Of time stamps, so far.
    wall : float or None
        S, this machine's wall clock less its monotonic one.
    at : float or None
        S, when the last jump was seen.
    reason : str
        In words.

    Examples
    --------
    >>> from spatterlib.live.clock import ClockSteps
    >>> steps = ClockSteps()
    >>> steps.observe(0.0, 0, 1000.0).state, steps.observe(1.0, 0, 4600.0).reason
    ('clock steady', "this machine's clock was set by +3600.0 s")
    """

    jumps: int = 0
    wall: float | None = None
    at: float | None = None
    reason: str = ""

    def observe(self, now: float, jumps: int, wall: float) -> Observation:
        """What the clocks say at `now`."""
        step = 0.0 if self.wall is None else wall - self.wall
        if jumps > self.jumps:
            self.at, self.reason = now, "time stamps of the stream jumped; times go on by this machine's clock"
        elif abs(step) >= _STEP:
            self.at, self.reason = now, f"this machine's clock was set by {step:+.1f} s"
        self.jumps = jumps
        # A clock that is slowly drawn right is no jump, however far it goes.
        self.wall = wall
        if self.at is None or now - self.at >= _STAYS:
            return Observation("clock steady", True, "no clock has jumped since")
        return Observation("clock jumped", False, self.reason, since=self.at)
