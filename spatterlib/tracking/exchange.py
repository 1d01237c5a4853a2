"""Tracks for other programs: CSV, Parquet, TrackMate, trackpy's data frame."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray

from spatterlib.common.files import beside, write_csv
from spatterlib.common.install_hints import missing
from spatterlib.errors import ParameterError, PluginError
from spatterlib.stores.tables import need_pyarrow
from spatterlib.tracking.tracks import Tracks

__all__ = ["SUFFIXES", "to_trackpy", "write_tracks"]

SUFFIXES = (".csv", ".parquet", ".xml")


def write_tracks(tracks: Tracks, path: str | os.PathLike[str]) -> list[str]:
    """Write tracks: points to `path`, the table of tracks beside it as ``<stem>.tracks``; as TrackMate XML one file.

    Parameters
    ----------
    tracks : Tracks
        As `spatterlib.track` gives them.
    path : str or path
        ``.csv``, ``.parquet`` or ``.xml``; what is there is replaced.

    Returns
    -------
    list of str
        The files.

    Raises
    ------
    ParameterError
        If the name ends otherwise.
    """
    file = Path(path)
    if file.suffix not in SUFFIXES:
        raise ParameterError(f"tracks are written to {', '.join(SUFFIXES)}, got {file.name}")
    if file.suffix == ".xml":
        with beside(file) as part:
            part.write_text(_trackmate(tracks), encoding="utf-8")
        return [str(file)]
    other = table_path(file)
    for target, rows in ((file, tracks.points), (other, tracks.tracks)):
        names = list(rows.dtype.names or ())
        if file.suffix == ".csv":
            write_csv(target, names, [row.tolist() for row in rows])
        else:
            need_pyarrow("writing Parquet")
            import pyarrow as pa
            from pyarrow import parquet

            with beside(target) as part:
                parquet.write_table(pa.table({name: np.ascontiguousarray(rows[name]) for name in names}), part)
    return [str(file), str(other)]


def table_path(file: Path) -> Path:
    """Where the table of tracks lies, beside the points."""
    return file.with_suffix(f".tracks{file.suffix}")


def to_trackpy(tracks: Tracks) -> Any:
    """Points as trackpy has them: a pandas data frame with x, y, frame, particle, mass, size, signal.

    Raises
    ------
    PluginError
        If pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise PluginError(missing("a data frame", "pandas", "tables", error)) from error
    points = tracks.points
    columns = {"x": "x", "y": "y", "frame": "frame", "particle": "track", "mass": "light", "size": "size"}
    return pd.DataFrame(
        {name: points[own] for name, own in columns.items()} | {"signal": points["brightness"], "ep": points["error"]}
    )


def _trackmate(tracks: Tracks) -> str:
    """The model of a TrackMate file: spots by frame, tracks as edges; px and frames."""
    points = tracks.points
    order = np.argsort(points["frame"], kind="stable")
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        '<TrackMate version="7.0.0">',
        f'<Model spatialunits="pixel" timeunits="sec"><AllSpots nspots="{len(points)}">',
    ]
    for rows in np.split(order, np.flatnonzero(np.diff(points["frame"][order])) + 1) if len(points) else ():
        lines.append(f'<SpotsInFrame frame="{points["frame"][rows[0]]}">')
        lines += [_spot(int(k), points[k], tracks.frame_rate) for k in rows]
        lines.append("</SpotsInFrame>")
    lines.append("</AllSpots><AllTracks>")
    for number, rows in enumerate(_by_track(points)):
        edges = "".join(f'<Edge SPOT_SOURCE_ID="{a}" SPOT_TARGET_ID="{b}"/>' for a, b in pairwise(rows))
        lines.append(f'<Track name="Track_{number}" TRACK_ID="{number}">{edges}</Track>')
    filtered = "".join(f'<TrackID TRACK_ID="{number}"/>' for number in range(len(tracks.tracks)))
    lines.append(f"</AllTracks><FilteredTracks>{filtered}</FilteredTracks></Model></TrackMate>")
    return "\n".join(lines) + "\n"


def _by_track(points: NDArray[np.void]) -> list[NDArray[np.intp]]:
    if not len(points):
        return []
    return np.split(np.arange(len(points)), np.flatnonzero(np.diff(points["track"])) + 1)


def _spot(number: int, point: Any, frame_rate: float) -> str:
    values = {
        "ID": number, "name": f"ID{number}", "POSITION_X": round(float(point["x"]), 4),
        "POSITION_Y": round(float(point["y"]), 4), "POSITION_Z": 0.0, "FRAME": int(point["frame"]),
        "POSITION_T": float(point["frame"]) / frame_rate, "RADIUS": round(float(point["size"]), 3),
        "QUALITY": round(float(point["snr"]), 2), "VISIBILITY": 1,
    }  # fmt: skip
    return "<Spot " + " ".join(f"{name}={quoteattr(str(value))}" for name, value in values.items()) + "/>"
