"""Opening, creating and converting stores, of whatever kinds are installed."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from spatterlib.common.files import check_folder, check_source, is_for_a_store, is_there, special
from spatterlib.common.image_codec import image_size
from spatterlib.common.install_hints import example_package
from spatterlib.common.wording import counted, spans
from spatterlib.errors import (
    MissingFileError,
    OutputExistsError,
    ParameterError,
    SpatterlibError,
    StoreError,
    VideoError,
    one_line,
)
from spatterlib.plugins.capabilities import SupportsChunks, SupportsExport
from spatterlib.plugins.hookspecs import hookimpl
from spatterlib.plugins.registry import catalog
from spatterlib.stores.chunks import column_chunks, frame_log_chunks, ranges, table_chunks
from spatterlib.stores.tables import check_written, write_table, writer_of
from spatterlib.types import DETECTION, Detections, Store, StoreKind, Video

__all__ = ["check_output", "convert", "create_store", "find_store", "open_store"]

log = logging.getLogger("spatterlib")

AnyPath = str | os.PathLike[str]
_ROWS = 1024
_SAMPLE = 256


def open_store(path: AnyPath, mode: str = "r") -> Store:
    """Open a store of any installed kind.

    Parameters
    ----------
    path : path or URL
        The store; who recognises it opens it, whatever its suffix.
    mode : {"r", "a"}
        Read only, or append and set columns too.

    Returns
    -------
    Store
        Also a context manager. One opened with "r" sees what a writer beside it commits, can be used by several
        threads, and pickles as its path.

    Raises
    ------
    MissingFileError
        If there is nothing at `path`.
    StoreError
        If it is no store, is damaged, was made by a newer version, or is open for writing elsewhere (mode "a").

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> import spatterlib as sp
    >>> from spatterlib.plugins import encode
    >>> path = tempfile.mkdtemp() + "/one.h5"
    >>> with sp.create_store(path) as store:
    ...     store.append(np.zeros(1, sp.DETECTION), [encode(np.zeros((4, 6, 3), np.uint8))])
    ...     store.set_column("label", ["low"])
    >>> with sp.open_store(path) as store:
    ...     len(store), store.column("label").tolist(), store.read([0])[0].shape
    (1, ['low'], (4, 6, 3))
    """
    name = _name(path)
    if mode not in ("r", "a"):
        raise ParameterError(f"a store is opened with mode 'r' or 'a', not {mode!r}")
    # Who has the suffix says best what is wrong with a store that nobody recognises.
    kind = find_store(name) or _kind_by_suffix(name)
    if not _is_url(name) and not is_there(name):
        raise MissingFileError(f"{name}: there is no such store")
    if kind is None:
        hint = example_package("suffix", Path(name).suffix.lower())
        raise StoreError(
            f"{name}: {hint}" if hint else f"{name} is no store: none of {', '.join(catalog().stores)} recognises it"
        )
    return kind.open(name, mode)


def create_store(
    path: AnyPath, *, attrs: Mapping[str, Any] | None = None, overwrite: bool = False, to: str | None = None
) -> Store:
    """Make a new, empty store and open it for appending.

    Parameters
    ----------
    path : path or URL
        Where; its suffix says which kind.
    attrs : mapping, optional
        JSON-able facts about the whole.
    overwrite : bool
        Replace what is there. It is replaced by the new, empty store in one step; before that nothing is lost.
    to : str, optional
        Id of the kind, whatever the suffix.

    Returns
    -------
    Store

    Raises
    ------
    OutputExistsError
        If something is there and `overwrite` is not set; also if it comes there at this very moment.
    StoreError
        If the suffix is unknown, the folder is missing or cannot be written, another process writes the store there,
        or it cannot be told whether something is there.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> import spatterlib as sp
    >>> with sp.create_store(tempfile.mkdtemp() + "/one.h5", attrs={"machine": "M 1"}) as store:
    ...     store.append(np.zeros(2, sp.DETECTION), [b"a JPEG", b"another"])
    ...     len(store)
    2
    """
    check_output(path, overwrite=overwrite, to=to)
    try:
        return _kind(_name(path), to).create(_name(path), attrs=attrs, exclusive=not overwrite)
    except OutputExistsError:
        raise
    except FileExistsError as error:
        raise OutputExistsError(f"{_name(path)} exists already", mends=["overwrite"]) from error


def check_output(
    path: AnyPath, *, overwrite: bool = False, to: str | None = None, mends: Sequence[str] = ("overwrite",)
) -> None:
    """Refuse early what `create_store` would refuse: before hours of work, not behind them.

    Parameters
    ----------
    path, overwrite, to
        As of `create_store`.
    mends : sequence of str
        Of the caller's parameters, those that lead on where something is there; see `OutputExistsError`.

    Raises
    ------
    OutputExistsError, StoreError
        As `create_store`.
    """
    name = _name(path)
    _kind(name, to)
    if _is_url(name):
        if not overwrite and find_store(name):
            raise OutputExistsError(f"{name} exists already", mends=mends)
        return
    target = Path(name)
    if is_there(target, follow=False) and not is_leftover(target):
        if not overwrite:
            raise OutputExistsError(f"{name} exists already", mends=mends)
        if what := special(name):
            raise OutputExistsError(f"{name} is {what}, and is not replaced")
        if target.is_dir() and not find_store(name):
            raise OutputExistsError(f"{name} is a folder but no store, and is not replaced; remove it yourself")
    check_folder(target)


def find_store(path: AnyPath) -> type[StoreKind] | None:
    """Kind of the store at a path or URL; None if nothing is there, or nothing that an installed kind recognises.

    Raises
    ------
    StoreError
        If it cannot be told: it is damaged, or cannot be read now. What may be a store is never taken for none.
    """
    name = _name(path)
    check_source(name)
    failed: OSError | None = None
    for id_, kind in catalog().stores.items():
        try:
            if kind.recognises(name):
                return kind
        except OSError as error:
            failed = failed or error
        except Exception as error:
            log.warning("store %r failed to look at %s: %s: %s", id_, name, type(error).__name__, one_line(error))
    if failed is None or isinstance(failed, StoreError):
        if failed:
            raise failed
        return None
    raise StoreError(f"{name} cannot be read: {failed.strerror or one_line(failed)}; try again later") from failed


def check_readable(store: Store) -> None:
    """Read all columns and a sample of the crops, so that what is cut off or missing is told now, not later.

    Raises
    ------
    StoreError
        If something cannot be read.
    """
    for name in store.columns:
        for _ in column_chunks(store, name):
            pass
    store.encoded(np.unique(np.linspace(0, len(store) - 1, min(len(store), _SAMPLE)).astype(int)).tolist())


def is_leftover(path: AnyPath) -> bool:
    """Whether there is a folder with nothing in it but what a writer leaves that is killed at its first breath."""
    target = Path(path)
    return target.is_dir() and not target.is_symlink() and not any(map(_counts, target.iterdir()))


def convert(source: AnyPath, target: AnyPath, *, to: str | None = None, overwrite: bool = False) -> None:
    """Copy a store to a new one of any kind: rows, crops, columns, frame log, attrs; in batches. Or to a table.

    Parameters
    ----------
    source, target : path or URL
        The store, and the one to make.
    to : str, optional
        Id of the new store's kind; by default its suffix says it. ``"original"`` writes a file as the
        research system did, with its frame-log CSV beside; further columns and attrs are left behind.
        ``"csv"`` and ``"parquet"``, or these suffixes, write the table with all columns, without crops; ``"images"`` a
        new folder with an image file for each crop, in folders by label, and ``metadata.csv``, a line for each.
    overwrite : bool
        Replace an existing target; a folder of images is not replaced.

    Raises
    ------
    MissingFileError, OutputExistsError, StoreError
        If the source cannot be read or the target not be written; a target that was begun says in ``attrs`` that
        it is not complete.

    Notes
    -----
    Box sizes that the source does not know, as `original`, are filled in from the crops. A crop that holds no image is
    copied as it is, with a warning that names its row.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> import spatterlib as sp
    >>> folder = tempfile.mkdtemp()
    >>> sp.create_store(f"{folder}/a.h5", attrs={"place": "left"}).close()
    >>> sp.convert(f"{folder}/a.h5", f"{folder}/b.zarr")
    >>> sp.open_store(f"{folder}/b.zarr").attrs["place"]
    'left'
    """
    first, second = _name(source), _name(target)
    if first == second or (not _is_url(second) and os.path.realpath(first) == os.path.realpath(second)):
        raise ParameterError(f"{first} cannot be converted onto itself; name another target")
    with open_store(first) as old:
        if (writer := writer_of(second, to)) is not None:
            check_written(second, writer, overwrite=overwrite)
            write_table(old, second, writer)
            return
        check_output(second, overwrite=overwrite, to=to)
        kind = _kind(second, to)
        if isinstance(kind, SupportsExport):
            kind.export(old, second)
            return
        attrs = old.attrs
        unfinished = attrs | {"state": "converting", "complete": False}
        with create_store(second, attrs=unfinished, overwrite=overwrite, to=to) as new:
            try:
                _copy(old, new)
            except BaseException as error:
                with suppress(Exception):
                    new.set_attrs({"state": f"failed: {type(error).__name__}: {error}"})
                raise
            new.set_attrs({"state": attrs.get("state", "complete"), "complete": attrs.get("complete", True)})


def _copy(old: Store, new: Store) -> None:
    count, further = len(old), [name for name in old.columns if name not in (DETECTION.names or ())]
    brought: list[str] = []
    if isinstance(old, SupportsChunks) and isinstance(new, SupportsChunks):
        # Never all in memory: rows bring their values along. Otherwise columns are set behind the rows.
        brought = further
        for name in brought:
            new.set_column(name, _empty_column(old, name, count))
    for frames in frame_log_chunks(old):
        new.append(np.empty(0, DETECTION), [], frames)
    unread: list[int] = []
    for chunk, table in zip(ranges(count), table_chunks(old, count), strict=True):
        columns = {name: old.column(name, chunk) for name in brought}  # type: ignore[call-arg]
        for start in range(0, len(chunk), _ROWS):
            rows = table[start : start + _ROWS]
            crops = old.encoded(chunk[start : start + _ROWS])
            unread += [chunk[start + row] for row in _fill_sizes(rows, crops)]
            values = {name: column[start : start + _ROWS] for name, column in columns.items()}
            # No store takes a crop without bytes; a zero is what fills the strings of research files.
            new.append(rows, [crop or b"\0" for crop in crops], None, *([values] if values else []))
    new.flush()
    if unread:
        log.warning(
            "%s without an image that can be read, copied as they are: row %s",
            counted(len(unread), "crop"),
            spans(unread),
        )
    for name in further:
        if name not in brought:
            new.set_column(name, old.column(name))


def _empty_column(store: SupportsChunks, name: str, count: int) -> NDArray[Any]:
    """No values, of the type of a column; of text as many bytes of UTF-8 as its longest has."""
    empty = store.column(name, range(0))
    if empty.dtype.kind != "U":
        return empty
    chunks = (store.column(name, rows) for rows in ranges(count))
    return np.empty(0, f"S{max((np.char.encode(values, 'utf-8').itemsize for values in chunks), default=1)}")


def _fill_sizes(table: Detections, crops: list[bytes]) -> list[int]:
    """Put box sizes from the crops where a table has none; rows whose crop is no image keep theirs, and are named."""
    unread = []
    for row in np.flatnonzero((table["width"] < 0) | (table["height"] < 0)).tolist():
        try:
            table["width"][row], table["height"][row] = image_size(crops[row])
        except StoreError:
            unread.append(row)
    return unread


def _kind(path: str, to: str | None) -> type[StoreKind]:
    if to is not None:
        return catalog().find("store", to)
    kind = _kind_by_suffix(path)
    if kind is None:
        suffixes = sorted(suffix for kind in catalog().stores.values() for suffix in kind.suffixes)
        hint = example_package("suffix", Path(path.rstrip("/")).suffix.lower())
        raise StoreError(f"{path}: " + (hint or f"the name of a store ends in one of {', '.join(suffixes)}"))
    return kind


def _kind_by_suffix(path: str) -> type[StoreKind] | None:
    suffix = Path(path.rstrip("/")).suffix.lower()
    return next((kind for kind in catalog().stores.values() if suffix in kind.suffixes), None)


def _counts(entry: Path) -> bool:
    return not entry.name.endswith(".unfinished")


def _name(path: AnyPath) -> str:
    """A path or URL as text; a file URL as its path."""
    name = os.fspath(path)
    if not name.startswith("file://"):
        return name
    from urllib.request import url2pathname  # loads http, ssl, socket

    return url2pathname(urlsplit(name).path)


def _is_url(path: str) -> bool:
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+:(//|:)", path) is not None


def is_simulated(attrs: Mapping[str, Any]) -> bool:
    """Whether a store holds crops of a simulated recording.

    Parameters
    ----------
    attrs : mapping
        ``store.attrs``, or a mapping with the identity of a recording at ``"video"``.

    Returns
    -------
    bool
        As the store says, or the recording's own mark that the simulator leaves in the container.

    Examples
    --------
    >>> import spatterlib as sp
    >>> sp.is_simulated({"video": {"comment": "simulated by spatterlib"}}), sp.is_simulated({})
    (True, False)
    """
    video = attrs.get("video") or {}
    marked = attrs.get("simulated") or video.get("simulated")
    return bool(marked) or str(video.get("comment", "")).startswith("simulated")


@hookimpl(trylast=True)
def spatter_open_video(path: str) -> Video | None:
    """No store: one that was given for a recording is refused, with what is wrong with it."""
    if is_for_a_store(path) and is_there(path):
        raise _why_not(path)
    return None


def _why_not(path: str) -> SpatterlibError:
    """What is wrong with a store that should have been a recording."""
    try:
        with open_store(path) as store:
            check_readable(store)
    except SpatterlibError as error:
        return error
    return VideoError(
        f"{path} is a store of crops, not a recording: it has been extracted already; predict, info, show and convert "
        "take stores"
    )
