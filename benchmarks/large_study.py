"""A store of very many rows: what one crop, a slice of the table and a copy of it cost, in time and memory.

``python benchmarks/large_study.py FOLDER --rows 100000000`` writes a store of each kind (about 7 GB, one at a time),
measures each task in a process of its own, and removes what it wrote. The rows are those of a long build; a crop is
eight bytes that say its row, so that a wrong one is found, and reading costs what finding it costs.
"""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
import statistics
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

import spatterlib as sp

BATCH = 1 << 20
PER_FRAME = 10
SIZE = 8


def table_of(start: int, stop: int) -> Any:
    """Rows of a build: ten spatters a frame, 25 frames a second."""
    rows = np.arange(start, stop)
    table = np.zeros(len(rows), sp.DETECTION)
    table["frame"] = rows // PER_FRAME
    table["time"] = table["frame"] / 25
    table["x"], table["y"] = rows % PER_FRAME * 60, rows // PER_FRAME * 7 % 400
    table["width"] = table["height"] = 24
    table["area"], table["peak"] = rows % 331, rows % 251
    return table


def crops_of(start: int, stop: int) -> list[bytes]:
    """Eight bytes each: the row."""
    data = np.arange(start, stop, dtype="<u8").tobytes()
    return [data[at : at + SIZE] for at in range(0, len(data), SIZE)]


def frames_of(start: int, stop: int) -> Any:
    """The frames of the rows."""
    log = np.zeros(-(-stop // PER_FRAME) - -(-start // PER_FRAME), sp.types.FRAME_LOG)
    log["number"] = np.arange(-(-start // PER_FRAME), -(-stop // PER_FRAME))
    log["time"], log["detections"], log["decoded"] = log["number"] / 25, PER_FRAME, True
    return log


def write(path: Path, rows: int) -> None:
    """A store of so many rows: the same commits as `append` makes, without a Python object for each crop."""
    with sp.create_store(path, overwrite=True) as store:
        for start in range(0, rows, BATCH):
            stop = min(start + BATCH, rows)
            begins = np.arange(start, stop, dtype=np.int64) * SIZE
            crcs = np.fromiter(map(zlib.crc32, crops_of(start, stop)), np.uint32, stop - start)
            data = {"crops/data": np.arange(start, stop, dtype="<u8").view(np.uint8)}
            store._add(  # type: ignore[attr-defined]
                table_of(start, stop), (begins, begins + SIZE, crcs), frames_of(start, stop), data, stop * SIZE
            )


def one_crop(path: Path, _: Path) -> int:
    """Open, and read a crop in the middle."""
    with sp.open_store(path) as store:
        row = len(store) // 2 + 7
        assert store.encoded([row]) == crops_of(row, row + 1)
    return 1


def random_crops(path: Path, _: Path) -> int:
    """Open, and read a thousand crops from all over."""
    with sp.open_store(path) as store:
        rows = np.random.default_rng(4).integers(0, len(store), 1000)
        assert store.encoded(rows) == [crops_of(row, row + 1)[0] for row in rows.tolist()]
    return 1000


def a_slice(path: Path, _: Path) -> int:
    """Open, and read 100,000 rows of the table in the middle."""
    with sp.open_store(path) as store:
        start = len(store) // 2 + 7
        stop = min(start + 100_000, len(store))
        found = store.table_rows(range(start, stop)) if hasattr(store, "table_rows") else store.table[start:stop]
        assert np.array_equal(found, table_of(start, stop))
    return stop - start


def a_column(path: Path, _: Path) -> int:
    """Open, and read 100,000 values of one column in the middle."""
    with sp.open_store(path) as store:
        start = len(store) // 2 + 7
        stop = min(start + 100_000, len(store))
        whole = not hasattr(store, "table_rows")
        found = store.column("peak")[start:stop] if whole else store.column("peak", range(start, stop))  # type: ignore[call-arg]
        assert np.array_equal(found, table_of(start, stop)["peak"])
    return stop - start


def a_copy(path: Path, folder: Path) -> int:
    """Convert it to the other kind."""
    target = folder / ("copy.zarr" if path.suffix == ".h5" else "copy.h5")
    sp.convert(path, target)
    with sp.open_store(target) as store:
        return len(store)


def the_events(path: Path, _: Path) -> int:
    """Join all rows into events."""
    with sp.open_store(path) as store:
        return len(sp.events(store if hasattr(store, "table_rows") else store.table))


def the_layers(path: Path, _: Path) -> int:
    """Find the layers of all rows."""
    with sp.open_store(path) as store:
        return len(sp.layers(store if hasattr(store, "table_rows") else store.column("time")))


def a_table(path: Path, folder: Path) -> int:
    """Convert it to Parquet."""
    sp.convert(path, folder / "copy.parquet")
    return 1


TASKS: dict[str, Callable[[Path, Path], int]] = {
    "one crop": one_crop,
    "1,000 crops from all over": random_crops,
    "100,000 rows of the table": a_slice,
    "100,000 values of a column": a_column,
    "events": the_events,
    "layers": the_layers,
    "convert to Parquet": a_table,
    "convert to the other kind": a_copy,
}


def _measured(task: str, path: Path, folder: Path, pipe: Any) -> None:
    with TemporaryDirectory() as small:
        # What is imported when it is first used is no matter of rows.
        write(Path(small) / f"small{path.suffix}", 100)
        TASKS[task](Path(small) / f"small{path.suffix}", Path(small))
    base, began, busy = _most(), time.perf_counter(), time.process_time()
    TASKS[task](path, folder)
    pipe.send((time.perf_counter() - began, time.process_time() - busy, base, _most()))


def _most() -> float:
    """MB, the most memory that this process has had; `resource` counts that of its parent too."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


def measure(task: str, path: Path, folder: Path, rounds: int) -> str:
    """Medians of seconds and of processor time, and the most memory, each round in a new process."""
    found = []
    for _ in range(rounds):
        ours, theirs = multiprocessing.Pipe()
        process = multiprocessing.get_context("spawn").Process(target=_measured, args=(task, path, folder, theirs))
        process.start()
        theirs.close()
        try:
            found.append(ours.recv())
        except EOFError:
            return f"{path.suffix:5}  {task:28}  failed"
        process.join()
    seconds, busy, base, most = zip(*found, strict=True)
    times = f"{statistics.median(seconds):9.3f} s  {statistics.median(busy):9.3f} s busy"
    return f"{path.suffix:5}  {task:28} {times}  {max(most):7.0f} MB (of which {max(base):.0f} before)"


def main() -> None:
    """Write, measure, remove."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=100_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kinds", nargs="+", default=[".zarr", ".h5"])
    parser.add_argument("--tasks", nargs="+", default=list(TASKS))
    parser.add_argument("--keep", action="store_true", help="Leave the stores, and use those that are there.")
    given = parser.parse_args()
    given.folder.mkdir(exist_ok=True, parents=True)
    for kind in given.kinds:
        path = given.folder / f"large{kind}"
        if not (given.keep and path.exists()):
            write(path, given.rows)
        for task in given.tasks:
            line = measure(task, path, given.folder, 1 if task.startswith("convert") else given.rounds)
            sys.stdout.write(line + "\n")
            sys.stdout.flush()
            for copy in given.folder.glob("copy.*"):
                shutil.rmtree(copy) if copy.is_dir() else copy.unlink()
        if not given.keep:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


if __name__ == "__main__":
    main()
