"""Checks of stores: `spatterlib.plugins.hookspecs.spatter_stores`, sentence by sentence."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np

from spatterlib.common.image_codec import decode, encode
from spatterlib.errors import ParameterError, RowError, SpatterlibError
from spatterlib.plugins.capabilities import HasDatasets, SupportsChunks, SupportsExport, SupportsParts
from spatterlib.plugins.contract import check_suffixes
from spatterlib.testing.laws import Check, checks, must, shortened, steady
from spatterlib.testing.scenes import crops_of, frames_of, rows_of
from spatterlib.types import DETECTION, Store, StoreKind

__all__ = ["must_hold", "store_checks"]

Law = Callable[[type[StoreKind], Path], None]


def store_checks(kind: type[StoreKind]) -> tuple[Check, ...]:
    """The laws of a class of stores as checks; of one that is only exported to, those of reading.

    Parameters
    ----------
    kind : type
        The class. Another process must be able to import it, for some checks kill one that writes.

    Returns
    -------
    tuple of callable
        Checks, named as the laws; each raises `spatterlib.errors.LawError` if its law is broken.

    Examples
    --------
    >>> import spatterlib as sp
    >>> from spatterlib.testing import store_checks
    >>> checks = {check.__name__: check for check in store_checks(sp.catalog().stores["zarr"])}
    >>> checks["attrs_are_merged"]()
    """
    return checks(EXPORTED if isinstance(kind, SupportsExport) else LAWS, kind)


def _fill(store: Store, start: int, count: int) -> None:
    store.append(rows_of(start, count), crops_of(start, count), frames_of(start, count))


def must_hold(store: Store, rows: int, frames: int | None = None) -> None:
    """The store holds rows ``0 .. rows - 1``, each wholly, and as many frames or `frames`."""
    must(len(store) == rows, f"it holds {len(store)} rows instead of {rows}")
    must(np.array_equal(store.table, rows_of(0, rows)), "its table is not as it was appended")
    must(store.encoded(range(rows)) == crops_of(0, rows), "its crops are not as they were appended")
    log = frames_of(0, rows if frames is None else frames)
    must(np.array_equal(store.frame_log, log), "its frame log is not as it was appended")


def _refuses(action: Callable[[], object], error: type[Exception], what: str) -> None:
    try:
        action()
    except error:
        return
    except Exception as other:
        must(False, f"{what} was refused with {type(other).__name__} instead of {error.__name__}")
    must(False, f"{what} was not refused")


def _in_a_folder(law: Callable[[type[StoreKind], str], None]) -> Callable[[type[StoreKind]], None]:
    """The law, given a path at which a store can be made."""

    @wraps(law)
    def run(kind: type[StoreKind]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            law(kind, str(Path(folder) / f"store{(*kind.suffixes, '.h5')[0]}"))

    return run


def suffixes_are_told(kind: type[StoreKind]) -> None:
    """How a store of this kind is asked for: "has ``suffixes`` (a tuple such as ``(".h5",)``)"."""
    check_suffixes(kind.suffixes)
    must(kind.suffixes, "it has none")


@_in_a_folder
def it_recognises_its_own(kind: type[StoreKind], path: str) -> None:
    """Whatever the file's name: "A path is opened by the class whose ``recognises(path)`` says yes"."""
    _make(kind, path, 5).close()
    must(kind.recognises(path) is True, "it does not recognise its own store")
    text, folder, missing = (Path(path).with_name(f"{name}{Path(path).suffix}") for name in ("text", "folder", "none"))
    text.write_text("no store")
    folder.mkdir()
    for other in (text, folder, missing):
        must(kind.recognises(str(other)) is False, f"it recognises a store in {other.name}, which is none")


@_in_a_folder
def an_error_is_no_answer(kind: type[StoreKind], path: str) -> None:
    """What an error hides may be a store: "what cannot be read now is an OSError, never a no"."""
    try:
        # A link to itself fails for everybody, whatever they may read.
        Path(path).symlink_to(path)
    except (OSError, NotImplementedError):
        return
    _refuses(lambda: kind.recognises(path), OSError, "looking at what cannot be read")


def _make(kind: type[StoreKind], path: str, rows: int) -> Store:
    """A store opened for reading, of a class whatever it can do."""
    if not isinstance(kind, SupportsExport):
        with kind.create(path) as store:
            _fill(store, 0, rows)
        return kind.open(path)
    from spatterlib.stores.opening import create_store

    with tempfile.TemporaryDirectory() as folder, create_store(f"{folder}/source.zarr") as source:
        # What is exported may be encoded anew, so it is pictures.
        source.append(rows_of(0, rows), [_picture(row) for row in range(rows)], frames_of(0, rows))
        source.flush()
        kind.export(source, path)
    return kind.open(path)


def _picture(row: int) -> bytes:
    return encode(np.full((8 + row % 5, 16, 3), row * 9 % 256, np.uint8))


def _crops(kind: type[StoreKind], rows: Sequence[int]) -> list[bytes]:
    """What a store that `_make` made holds in those rows."""
    if isinstance(kind, SupportsExport):
        return [_picture(row) for row in rows]
    return [crops_of(row, 1)[0] for row in rows]


@_in_a_folder
def rows_are_read_in_any_order(kind: type[StoreKind], path: str) -> None:
    """As one indexes a list: "rows in any order and more than once"."""
    with _make(kind, path, 300) as store:
        random = np.random.default_rng(1)
        for rows in (
            [],
            [7, 7, 0, 299],
            range(9, 3, -2),
            random.permutation(300).tolist(),
            random.integers(0, 300, 40),
        ):
            got = store.encoded(rows)  # type: ignore[arg-type]
            must(got == _crops(kind, list(rows)), f"crops of rows {shortened(list(rows), 40)} are other crops")


@_in_a_folder
def crops_are_decoded(kind: type[StoreKind], path: str) -> None:
    """Pictures come back as pictures: "``read`` gives the crops decoded"."""
    if isinstance(kind, SupportsExport):
        with _make(kind, path, 3) as store:
            _must_be_decoded(store, [_picture(row) for row in range(3)])
        return
    pictures = [np.full((5, 7, 3), (200, 100, 50), np.uint8), np.zeros((3, 2, 3), np.uint8)]
    with kind.create(path) as store:
        store.append(rows_of(0, 2), [encode(picture, "png") for picture in pictures])
        _must_be_decoded(store, [encode(picture, "png") for picture in pictures])


def _must_be_decoded(store: Store, encoded: list[bytes]) -> None:
    read = store.read(range(len(encoded)))
    for row, (one, other) in enumerate(zip(read, encoded, strict=True)):
        must(np.array_equal(one, decode(other)), f"row {row} is another picture")


@_in_a_folder
def missing_rows_are_refused(kind: type[StoreKind], path: str) -> None:
    """A wrong number does not pass for a right one: "a row that is not there with `RowError`"."""
    with _make(kind, path, 3) as store:
        for rows in ([-1], [3], [0, 99]):
            for read in (store.encoded, store.read):
                _refuses(lambda read=read, rows=rows: read(rows), RowError, f"row {rows[-1]} of 3")  # type: ignore[misc]


@_in_a_folder
def a_reader_goes_to_other_processes(kind: type[StoreKind], path: str) -> None:
    """Loaders of data work in processes: "pickles as its path, and reads in another process"."""
    with _make(kind, path, 200) as store:
        message = pickle.dumps(store)
        must(len(message) < 2000, f"pickled it has {len(message)} bytes; it must not take its rows along")
        answer = _in_other_process("read", Path(path).with_name("message"), message)
    must(answer == [200, [crop.hex() for crop in _crops(kind, [199, 0])]], "there it reads other rows")


def _in_other_process(task: str, note: Path, message: bytes) -> Any:
    note.write_bytes(message)
    done = subprocess.run(_command(task, note), capture_output=True, text=True, check=False, timeout=120)  # noqa: S603
    must(done.returncode == 0, f"in another process it failed: {(done.stderr.strip().splitlines() or [''])[-1]}")
    return json.loads(done.stdout)


def _command(task: str, note: Path) -> list[str]:
    code = f"import sys; sys.path[:] = {sys.path!r}; from spatterlib.testing.other_process import main; main()"
    return [sys.executable, "-c", code, task, str(note)]


@_in_a_folder
def what_is_there_is_replaced(kind: type[StoreKind], path: str) -> None:
    """A new store has nothing of the old: "``create`` replaces what is there, in one step"."""
    with kind.create(path, attrs={"old": 1}) as store:
        _fill(store, 0, 50)
        store.set_column("label", ["a"] * 50)  # type: ignore[arg-type]
    with kind.create(path, attrs={"new": 2}) as store:
        facts = len(store), len(store.frame_log), store.attrs, store.columns
        must(facts == (0, 0, {"new": 2}, DETECTION.names), f"the new store begins with {shortened(facts)}")
    with kind.open(path) as store:
        must((len(store), store.attrs) == (0, {"new": 2}), "opened again, it is the old store")


@_in_a_folder
def nothing_is_replaced_unasked(kind: type[StoreKind], path: str) -> None:
    """Where something is, creating fails: "with ``exclusive=True`` it replaces nothing and raises FileExistsError"."""
    with kind.create(path, exclusive=True) as store:
        _fill(store, 0, 5)
    _refuses(lambda: kind.create(path, exclusive=True), FileExistsError, "creating a store where one is")
    with kind.open(path) as store:
        must_hold(store, 5)


@_in_a_folder
def a_broken_batch_is_refused(kind: type[StoreKind], path: str) -> None:
    """Nothing of it stays: "A batch that is not whole is refused with `ParameterError`"."""
    with kind.create(path) as store:
        _fill(store, 0, 5)
        for table, crops, what in (
            (rows_of(5, 2), [b"a"], "a batch of two rows and one crop"),
            (rows_of(5, 1), [b""], "an empty crop"),
            (np.zeros(1), [b"a"], "a table of another dtype"),
        ):
            _refuses(lambda table=table, crops=crops: store.append(table, crops), ParameterError, what)  # type: ignore[misc]
            must_hold(store, 5)


@_in_a_folder
def further_columns_are_kept(kind: type[StoreKind], path: str) -> None:
    """Labels, groups, probabilities: "Further columns hold bool, int, float or text, a value for each row"."""
    with kind.create(path) as store:
        _fill(store, 0, 3)
        for values in ([True, False, True], [5, -6, 7], [0.25, -1.5, 1e300], ["low", "größer ✓", ""]):
            store.set_column("further", values)  # type: ignore[arg-type]
            must(store.columns == (*(DETECTION.names or ()), "further"), f"its columns are {store.columns}")
            must(store.column("further").tolist() == values, f"{values} came back as {store.column('further')}")
        _refuses(lambda: store.set_column("further", [1, 2]), SpatterlibError, "a column of two values for three rows")  # type: ignore[arg-type]
        must(np.array_equal(store.column("x"), rows_of(0, 3)["x"]), "a field of the table is not a column")
    with kind.open(path) as store:
        must(store.column("further").tolist() == values, "opened again, it has another column")


@_in_a_folder
def later_rows_have_no_values_yet(kind: type[StoreKind], path: str) -> None:
    """A column is whole at any time: "rows appended later get False, -1, NaN or no text"."""
    columns: dict[str, tuple[list[Any], Any]] = {
        "sure": ([True] * 2, False),
        "group": ([5] * 2, -1),
        "probability": ([0.5] * 2, np.nan),
        "label": (["low"] * 2, ""),
    }
    with kind.create(path) as store:
        _fill(store, 0, 2)
        for name, (values, _) in columns.items():
            store.set_column(name, values)  # type: ignore[arg-type]
        _fill(store, 2, 2)
    with kind.open(path) as store:
        for name, (values, later) in columns.items():
            found = store.column(name)
            expected = np.array([*values, later, later])
            same = np.array_equal(found, expected, equal_nan=name == "probability")
            must(same, f"column {name} is {found} instead of {expected}")


@_in_a_folder
def attrs_are_merged(kind: type[StoreKind], path: str) -> None:
    """Facts about the whole: "``attrs`` are JSON and merged"."""
    with kind.create(path, attrs={"video": {"name": "ä.mp4"}, "roi": [1, 2]}) as store:
        store.set_attrs({"complete": True, "roi": None})
        store.attrs["complete"] = False
        expected = {"video": {"name": "ä.mp4"}, "roi": None, "complete": True}
        must(store.attrs == expected, f"they are {shortened(store.attrs)} instead of {expected}")
        _refuses(lambda: store.set_attrs({"value": object()}), SpatterlibError, "an attribute that is no JSON")
    with kind.open(path) as store:
        must(store.attrs == expected, f"opened again they are {shortened(store.attrs)} instead of {expected}")


@_in_a_folder
def everything_is_there_again(kind: type[StoreKind], path: str) -> None:
    """Closing commits: "After ``close`` everything is there when it is opened again"."""
    with kind.create(path) as store:
        for start, count in ((0, 0), (0, 120), (120, 1), (121, 79)):
            _fill(store, start, count)
    with kind.open(path, "a") as store:
        must_hold(store, 200)
        _fill(store, 200, 10)
    store.close()
    with kind.open(path) as store:
        must_hold(store, 210)


@_in_a_folder
def readers_see_what_is_committed(kind: type[StoreKind], path: str) -> None:
    """Watching a run: "Any number of readers may have a store open beside its writer, and see what is committed"."""
    with kind.create(path) as writer:
        readers = [kind.open(path), kind.open(path)]
        for count in range(4):
            for reader in readers:
                must_hold(reader, 10 * count)
            _fill(writer, 10 * count, 10)
            writer.flush()
        for reader in (*readers, kind.open(path)):
            must_hold(reader, 40)
            reader.close()


@_in_a_folder
def a_kill_costs_what_was_not_flushed(kind: type[StoreKind], path: str) -> None:
    """Between two flushes: "a killed process leaves a store that opens and holds everything up to the last flush"."""
    least = _killed("flush", kind, path)
    with kind.open(path) as store:
        must(len(store) >= least, f"it holds {len(store)} rows, and {least} were flushed before the kill")
        must_hold(store, len(store))


@_in_a_folder
def a_kill_leaves_whole_rows(kind: type[StoreKind], path: str) -> None:
    """In the middle of writing: "a row exists only once its crop and all its columns are on disk"."""
    for _ in range(3):
        _killed("append", kind, path)
        with kind.open(path) as store:
            must_hold(store, len(store))
            must(len(store.column("label")) == len(store), "a column is shorter than the table")
        with kind.open(path, "a") as store:
            _fill(store, len(store), 5)
        with kind.open(path) as store:
            must_hold(store, len(store))


def _killed(task: str, kind: type[StoreKind], path: str) -> int:
    """Rows that a process had flushed when it was killed (SIGKILL) while it appended."""
    note = Path(path).with_name("kind")
    note.write_bytes(pickle.dumps((kind, path)))
    with subprocess.Popen(_command(task, note), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:  # noqa: S603
        line = child.stdout.readline() if child.stdout else ""
        child.kill()
        error = child.stderr.read() if child.stderr else ""
    must(line, f"the process that writes failed: {(error.strip().splitlines() or [''])[-1]}")
    return int(line)


def it_behaves_as_lists_do(kind: type[StoreKind]) -> None:
    """Through any calls, reopening and kill (a Hypothesis state machine): "A store behaves as plain lists do"."""
    from hypothesis import settings
    from hypothesis.stateful import run_state_machine_as_test

    from spatterlib.testing.store_histories import machine_of

    options = settings(steady(15), stateful_step_count=20)
    run_state_machine_as_test(machine_of(kind), settings=options)


@_in_a_folder
def parts_become_rows(kind: type[StoreKind], path: str) -> None:
    """Whoever writes them: "crops that other processes have written, in any order, become those of the rows"."""
    with kind.create(path) as store:
        write = store.part_writer(2) if isinstance(store, SupportsParts) else None
        if write is None or not isinstance(store, SupportsParts):
            return
        write = pickle.loads(pickle.dumps(write))  # noqa: S301 - made here
        late, early = write(1, crops_of(0, 3)), write(0, crops_of(3, 4))
        store.adopt(rows_of(0, 7), [*late, *early], frames_of(0, 7))
        store.flush()
        must_hold(store, 7)
    with kind.open(path) as store:
        must_hold(store, 7)


@_in_a_folder
def chunks_are_parts_of_the_whole(kind: type[StoreKind], path: str) -> None:
    """Going through more rows than memory holds: "they give what the whole has in these rows"."""
    with _make(kind, path, 300) as store:
        if not isinstance(store, SupportsChunks):
            return
        table, log = store.table, store.frame_log
        must(store.frame_count == len(log), f"its frame_count is {store.frame_count}, and its frame log has {len(log)}")
        for rows in ([], [7, 7, 0, 299], range(9, 3, -2), range(20, 280), np.random.default_rng(1).permutation(300)):
            own, said = np.asarray(rows, np.int64), shortened(list(rows), 40)
            must(np.array_equal(store.table_rows(rows), table[own]), f"rows {said} of its table are others")  # type: ignore[arg-type]
            must(np.array_equal(store.column("x", rows), table["x"][own]), f"rows {said} of a column are others")  # type: ignore[arg-type]
            same = np.array_equal(store.frame_log_rows(rows), log[own], equal_nan=False)  # type: ignore[arg-type]
            must(same, f"entries {said} of its frame log are others")
        for rows in ([-1], [300], [0, 999], range(299, 301)):
            for read in (store.table_rows, store.frame_log_rows, lambda rows: store.column("x", rows)):
                _refuses(lambda read=read, rows=rows: read(rows), RowError, f"row {list(rows)[-1]} of 300")  # type: ignore[misc]


@_in_a_folder
def columns_come_with_their_rows(kind: type[StoreKind], path: str) -> None:
    """Copying labels that memory does not hold: "a batch may bring its values of further columns"."""
    columns: dict[str, Any] = {
        "sure": [True, False, True],
        "group": [3, -4, 5],
        "probability": [0.25, -1.5, 1e300],
        "label": ["low", "größer ✓", ""],
    }
    with kind.create(path) as store:
        if not isinstance(store, SupportsChunks):
            return
        further = {name: np.array(values) for name, values in columns.items()}
        for name, values in further.items():
            store.set_column(name, np.empty(0, "S16") if values.dtype.kind == "U" else values[:0])
        store.append(
            rows_of(0, 3), crops_of(0, 3), frames_of(0, 3), {name: np.array(columns[name]) for name in columns}
        )
        store.append(rows_of(3, 1), crops_of(3, 1), frames_of(3, 1), {"group": np.array([6])})
        store.flush()
        must_hold(store, 4)
        wrong = {"group": np.array([1, 2])}
        _refuses(
            lambda: store.append(rows_of(4, 1), crops_of(4, 1), None, wrong), ParameterError, "two values for a row"
        )
    later: dict[str, Any] = {"sure": False, "group": 6, "probability": np.nan, "label": ""}
    with kind.open(path) as store:
        must_hold(store, 4)
        for name, values in columns.items():
            expected = np.array([*values, later[name]])
            same = np.array_equal(store.column(name), expected, equal_nan=name == "probability")
            must(same, f"column {name} is {store.column(name)} instead of {expected}")


@_in_a_folder
def datasets_add_up(kind: type[StoreKind], path: str) -> None:
    """A label that is given within one finds its row: "numbers of rows by name that add up to all rows"."""
    with _make(kind, path, 5) as store:
        if isinstance(store, HasDatasets):
            must(sum(store.datasets.values()) == len(store), f"of {len(store)} rows they are {dict(store.datasets)}")


READING = (
    it_recognises_its_own,
    an_error_is_no_answer,
    rows_are_read_in_any_order,
    crops_are_decoded,
    missing_rows_are_refused,
    a_reader_goes_to_other_processes,
    datasets_add_up,
    chunks_are_parts_of_the_whole,
)
EXPORTED = READING
LAWS = (
    suffixes_are_told,
    *READING,
    what_is_there_is_replaced,
    nothing_is_replaced_unasked,
    a_broken_batch_is_refused,
    further_columns_are_kept,
    later_rows_have_no_values_yet,
    attrs_are_merged,
    everything_is_there_again,
    readers_see_what_is_committed,
    parts_become_rows,
    columns_come_with_their_rows,
    a_kill_costs_what_was_not_flushed,
    a_kill_leaves_whole_rows,
    it_behaves_as_lists_do,
)
