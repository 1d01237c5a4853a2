"""What really happened in a simulated recording: three tables and the settings, in one ``.npz`` file."""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
import zipfile
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from spatterlib.common.files import beside
from spatterlib.errors import MissingFileError, StoreError
from spatterlib.simulation.settings import SimulationSettings

EVENT_TRUTH = np.dtype(
    [
        ("frame", "<i8"),
        ("time", "<f8"),
        ("x", "<i4"),
        ("y", "<i4"),
        ("width", "<i4"),
        ("height", "<i4"),
        ("area", "<f4"),
        ("lit", "<i4"),
        ("peak", "u1"),
        ("layer", "<i4"),
        ("laser", "<f4"),
        ("source_x", "<f4"),
        ("source_y", "<f4"),
        ("gas_speed", "<f4"),
        ("streaks", "<i4"),
    ]
)
"""One row per region lit by the process in one frame.

The region: pixels whose luma the process raises by more than `LEVEL` grey levels (no noise, no
compression), grown by 3 px so that near pieces join. ``x y width height``: px, box of the pixels themselves;
``area``: px² enclosed by the region's outline; ``lit``: px above the level; ``peak``: brightest luma added;
``layer``: from 1; ``laser``: share of the exposure in which the laser was on inside the region (0: flights
only); ``source_x source_y``: px, its mean position; ``gas_speed``: m/s; ``streaks``: rows of that event.
"""

STREAK_TRUTH = np.dtype(
    [
        ("frame", "<i8"),
        ("event", "<i8"),
        ("kind", "u1"),
        ("cut", "u1"),
        ("start_x", "<f4"),
        ("start_y", "<f4"),
        ("end_x", "<f4"),
        ("end_y", "<f4"),
        ("source_x", "<f4"),
        ("source_y", "<f4"),
        ("length", "<f4"),
        ("angle", "<f4"),
        ("curvature", "<f4"),
        ("speed", "<f4"),
        ("launch_speed", "<f4"),
        ("duration", "<f4"),
        ("width", "<f4"),
        ("brightness", "<f4"),
        ("snr", "<f4"),
        ("hidden", "<f4"),
        ("particle", "<i8"),
        ("middle_x", "<f4"),
        ("middle_y", "<f4"),
    ]
)
"""One row per streak that can be seen in one frame.

``event``: row of the event it starts in, -1 = none; ``kind``: 0 hot spatter, 1 fine, 2 entrained powder; ``cut``:
1 shutter opened in flight + 2 shutter closed in flight + 4 leaves the frame; ``start end``: px, where its own light
is first and last above `SEEN` grey levels; ``source``: px, where the particle was ejected; ``length``: px along it;
``angle``: degrees from start to end, 0 = right, 90 = up; ``curvature``: 1/px, of the circle through start, middle
and end, positive = turns to its left; ``speed``: m/s, mean from start to end; ``launch_speed``: m/s, at
ejection; ``duration``: s from start to end; ``width``: px, full width at half maximum; ``brightness``: grey levels,
mean rise above what else is there, outside the saturated zone; ``snr``: that over the noise in the dark; ``hidden``:
share of it inside the saturated zone; ``particle``: its number, the same in every frame; what breaks off has one of
its own, and `source` is then where it broke off; ``middle``: px, where it is in the middle of the time that it is
seen, of the exposure where the shutter cuts both ends.
"""

LAYER_TRUTH = np.dtype([("layer", "<i8"), ("start", "<f8"), ("stop", "<f8")])
"""One row per layer: number from 1, s when the laser first and last is on, within the recording."""

TABLES = {"events": EVENT_TRUTH, "streaks": STREAK_TRUTH, "layers": LAYER_TRUTH}
LEVEL = 20
SEEN = 8


@dataclass(frozen=True, eq=False)
class Truth:
    """What happened in a simulated recording.

    Parameters
    ----------
    settings : SimulationSettings
        What it was made with.
    facts : dict
        What the seeds made of them: the gas speeds in m/s and the nuisance of this recording, and versions.
    path : str
        The file; its tables are mapped into memory when they are first used.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import spatterlib as sp
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "short.npy"
    >>> truth = sp.simulate(path, seconds=2, seed=3)
    >>> bool(truth.events["area"].max() > 0), len(truth.layers)
    (True, 1)
    """

    settings: SimulationSettings
    facts: dict[str, Any]
    path: str = ""
    _tables: dict[str, NDArray[np.void]] = field(default_factory=dict, repr=False)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Open a truth file, or the one beside a video.

        Raises
        ------
        MissingFileError
            If it is not there.
        StoreError
            If it is no truth file.
        """
        file = Path(path)
        file = file if file.name.endswith(".truth.npz") else truth_path(file)
        if not file.is_file():
            raise MissingFileError(f"no truth file at {file}; `spatterlib simulate` writes it beside the video")
        try:
            with zipfile.ZipFile(file) as archive:
                facts = json.loads(archive.read("about.json"))
            known = {item.name for item in dataclasses.fields(SimulationSettings)}
            settings = SimulationSettings(
                **{key: value for key, value in facts.pop("settings").items() if key in known}
            )
        except (zipfile.BadZipFile, KeyError, ValueError) as error:
            raise StoreError(f"{file} is no truth file of a simulated recording: {error}") from error
        return cls(settings, facts, str(file))

    @cached_property
    def events(self) -> NDArray[np.void]:
        """``(n,)`` `EVENT_TRUTH`, by frame."""
        return self._table("events")

    @cached_property
    def streaks(self) -> NDArray[np.void]:
        """``(n,)`` `STREAK_TRUTH`, by frame."""
        return self._table("streaks")

    @cached_property
    def layers(self) -> NDArray[np.void]:
        """``(n,)`` `LAYER_TRUTH`."""
        return self._table("layers")

    def _table(self, name: str) -> NDArray[np.void]:
        return self._tables[name] if name in self._tables else _mapped(self.path, f"{name}.npy")


def as_json(settings: SimulationSettings) -> dict[str, Any]:
    """The settings as JSON-able values."""
    return dataclasses.asdict(settings)


def truth_path(video: str | os.PathLike[str]) -> Path:
    """Where the truth of a video lies: ``<stem>.truth.npz`` beside it."""
    return Path(video).with_suffix(".truth.npz")


def _mapped(path: str, member: str) -> NDArray[np.void]:
    """Map one array of an uncompressed ``.npz`` into memory, read-only."""
    with zipfile.ZipFile(path) as archive, archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
        header, info = file.tell(), archive.getinfo(member)
    if not shape[0]:
        return np.empty(shape, dtype)
    with Path(path).open("rb") as raw:
        raw.seek(info.header_offset + 26)
        name, extra = np.frombuffer(raw.read(4), "<u2")
    offset = info.header_offset + 30 + int(name) + int(extra) + header
    return np.memmap(path, dtype, "r", offset, shape)


class TruthWriter:
    """Takes the rows frame by frame and packs them at the end; its memory does not grow with their number.

    Parameters
    ----------
    path : Path
        The truth file to make; it appears when `pack` is called.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = dict.fromkeys(TABLES, 0)
        # Files without a name: nobody else's can be meant, and a kill leaves nothing.
        self._files = {name: tempfile.TemporaryFile(dir=path.parent) for name in TABLES}  # noqa: SIM115

    def add(self, name: str, rows: NDArray[np.void]) -> None:
        """Append rows to one table."""
        self._files[name].write(rows.tobytes())
        self.rows[name] += len(rows)

    def pack(self, about: dict[str, Any]) -> None:
        """Write the truth file beside its place, then rename."""
        with beside(self.path) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
            archive.writestr(zipfile.ZipInfo("about.json"), json.dumps(about, indent=1))
            for name, dtype in TABLES.items():
                raw = self._files[name]
                raw.seek(0)
                with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as out:
                    header = {"descr": dtype.descr, "fortran_order": False, "shape": (self.rows[name],)}
                    np.lib.format.write_array_header_1_0(out, header)
                    while chunk := raw.read(1 << 20):
                        out.write(chunk)

    def close(self) -> None:
        """Remove what is not needed any more."""
        for file in self._files.values():
            # On a full disk closing fails too.
            with suppress(OSError):
                file.close()
