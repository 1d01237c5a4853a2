"""A store for other programs: its table for Arrow, pandas, Polars, xarray, in Parquet and CSV; its crops as images."""

from __future__ import annotations

import json
import logging
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from spatterlib.common.files import beside, check_folder, check_target, is_there, write_csv, writing
from spatterlib.common.image_codec import image_size
from spatterlib.common.install_hints import missing
from spatterlib.common.wording import counted, spans
from spatterlib.errors import OutputExistsError, PluginError, StoreError
from spatterlib.plugins.capabilities import SupportsChunks
from spatterlib.stores.chunks import column_chunks, table_chunks
from spatterlib.stores.descriptions import attributes_of
from spatterlib.stores.rows import row_numbers
from spatterlib.types import DETECTION, Store

__all__ = [
    "WRITERS",
    "check_written",
    "need_pyarrow",
    "to_arrow",
    "to_pandas",
    "to_polars",
    "to_xarray",
    "write_table",
    "writer_of",
]

log = logging.getLogger("spatterlib")

Columns = dict[str, NDArray[Any]]
Rows = Sequence[int] | NDArray[np.integer[Any]]

_IMAGES = 1024  # read at a time
_IN_A_FOLDER = 10_000
_LONGEST = 100  # characters of a label that name a folder


def to_arrow(store: Store, rows: Rows | None = None) -> Any:
    """The table of a store with its further columns, as a `pyarrow.Table`.

    Parameters
    ----------
    store : Store
        Of any kind; those of spatterlib have this as a method, ``store.to_arrow()``.
    rows : sequence of int, optional
        Which rows; all by default.

    Returns
    -------
    pyarrow.Table
        The metadata of a field has ``units`` and ``long_name``, that of the table the store's attrs, as JSON, in
        ``spatterlib``.

    Raises
    ------
    PluginError
        If pyarrow is not installed.

    Examples
    --------
    >>> import tempfile
    >>> import spatterlib as sp
    >>> with sp.create_store(tempfile.mkdtemp() + "/one.h5") as store:
    ...     store.to_arrow().schema.field("time").metadata[b"units"]
    b's'
    """
    pa = need_pyarrow("an Arrow table")
    columns = _columns(store, rows)
    return pa.table(columns, schema=_schema(pa, columns, store))


def to_pandas(store: Store, rows: Rows | None = None) -> Any:
    """The table of a store with its further columns, as a `pandas.DataFrame`.

    Parameters
    ----------
    store, rows
        As of `to_arrow`.

    Returns
    -------
    pandas.DataFrame
        Its index, ``row``, counts as the store does. ``frame.attrs`` has ``units`` by column, and the store's attrs in
        ``spatterlib``.

    Examples
    --------
    >>> import tempfile
    >>> import spatterlib as sp
    >>> with sp.create_store(tempfile.mkdtemp() + "/one.h5") as store:
    ...     store.to_pandas().attrs["units"]["area"]
    'px^2'
    """
    pd = _loaded("pandas", "a pandas table", "tables")
    columns = _columns(store, rows)
    frame = pd.DataFrame(columns, index=pd.Index(_numbers(columns, rows), name="row"))
    units = {name: about["units"] for name in columns if "units" in (about := _about(name))}
    frame.attrs = {"units": units, "spatterlib": store.attrs}
    return frame


def to_polars(store: Store, rows: Rows | None = None) -> Any:
    """The table of a store with its further columns, as a `polars.DataFrame`, which has no place for units.

    Parameters
    ----------
    store, rows
        As of `to_arrow`.

    Returns
    -------
    polars.DataFrame

    Examples
    --------
    >>> import tempfile
    >>> import spatterlib as sp
    >>> with sp.create_store(tempfile.mkdtemp() + "/one.h5") as store:
    ...     store.to_polars().columns[:2]
    ['frame', 'time']
    """
    pl = _loaded("polars", "a Polars table", "tables")
    return pl.DataFrame(_columns(store, rows))


def to_xarray(store: Store, rows: Rows | None = None) -> Any:
    """The table of a store with its further columns, as an `xarray.Dataset` over the dimension ``row``.

    Parameters
    ----------
    store, rows
        As of `to_arrow`.

    Returns
    -------
    xarray.Dataset
        Its variables have ``units`` and ``long_name``; the store's attrs are in ``attrs["spatterlib"]``, as JSON.

    Examples
    --------
    >>> import tempfile
    >>> import spatterlib as sp
    >>> with sp.create_store(tempfile.mkdtemp() + "/one.h5") as store:
    ...     store.to_xarray()["time"].attrs["units"]
    's'
    """
    xr = _loaded("xarray", "an xarray data set", "tables")
    columns = _columns(store, rows)
    variables = {name: ("row", values, _about(name)) for name, values in columns.items()}
    attrs = {"spatterlib": json.dumps(store.attrs)}
    return xr.Dataset(variables, coords={"row": _numbers(columns, rows)}, attrs=attrs)


def need_pyarrow(what: str) -> Any:
    """The module pyarrow.

    Raises
    ------
    PluginError
        If it is not installed; `what` needs it.
    """
    return _loaded("pyarrow", what, "parquet")


def _loaded(module: str, what: str, extra: str) -> Any:
    """A module that `what` needs and the extra brings."""
    try:
        return import_module(module)
    except ImportError as error:
        raise PluginError(missing(what, module, extra, error)) from error


def _columns(store: Store, rows: Rows | None) -> Columns:
    """All columns, of all rows or of some."""
    further = [name for name in store.columns if name not in (DETECTION.names or ())]
    if rows is None:
        return _named(store.table, {name: store.column(name) for name in further})
    if isinstance(store, SupportsChunks):
        return _named(store.table_rows(rows), {name: store.column(name, rows) for name in further})  # type: ignore[arg-type]
    chosen = row_numbers(rows, len(store), "the store")
    return _named(store.table[chosen], {name: store.column(name)[chosen] for name in further})


def _chunks(store: Store) -> Iterator[Columns]:
    """All columns, chunk by chunk."""
    count, further = len(store), [name for name in store.columns if name not in (DETECTION.names or ())]
    columns = [column_chunks(store, name, count) for name in further]
    for table, *values in zip(table_chunks(store, count), *columns, strict=True):
        yield _named(table, dict(zip(further, values, strict=True)))


def _named(table: NDArray[np.void], further: Columns) -> Columns:
    return {name: np.ascontiguousarray(table[name]) for name in table.dtype.names or ()} | further


def _numbers(columns: Columns, rows: Rows | None) -> NDArray[np.int64]:
    return np.arange(len(columns["frame"])) if rows is None else np.asarray(rows, np.int64)


def _about(name: str) -> dict[str, str]:
    return attributes_of(f"columns/{name}")


def _schema(pa: Any, columns: Columns, store: Store) -> Any:
    fields = []
    for name, values in columns.items():
        type_ = pa.string() if values.dtype.kind == "U" else pa.from_numpy_dtype(values.dtype)
        fields.append(pa.field(name, type_, metadata=_about(name)))
    return pa.schema(fields, metadata={"spatterlib": json.dumps(store.attrs)})


def _write_parquet(store: Store, path: Path) -> None:
    pa = need_pyarrow("a .parquet file")
    from pyarrow import parquet

    schema = _schema(pa, _columns(store, range(0)), store)
    with beside(path) as part, parquet.ParquetWriter(part, schema) as writer:
        for columns in _chunks(store):
            writer.write_table(pa.table(columns, schema=schema))


def _write_csv(store: Store, path: Path) -> None:
    lines = (line for columns in _chunks(store) for line in _lines(columns))
    write_csv(path, store.columns, lines)


def _lines(columns: Columns) -> Iterator[tuple[Any, ...]]:
    """Rows as CSV has them: what is not known is left empty."""
    return zip(*(["" if value != value else value for value in values.tolist()] for values in columns.values()))  # noqa: B905


def _write_images(store: Store, path: Path) -> None:
    """A folder with an image file for each crop, by label or by the 10,000, and ``metadata.csv``, a line for each."""
    part = path.with_name(f".{path.name[:100]}.{secrets.token_hex(4)}.part")
    part.mkdir()
    try:
        unread: list[int] = []
        write_csv(part / "metadata.csv", ["file_name", "row", *store.columns], _written(store, part, unread))
        part.replace(path)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    if unread:
        log.warning(
            "%s without an image that can be read, left out: row %s", counted(len(unread), "crop"), spans(unread)
        )


def _written(store: Store, folder: Path, unread: list[int]) -> Iterator[tuple[Any, ...]]:
    """Write image files, and give the line of each."""
    first = 0
    for columns in _chunks(store):
        lines, labels = list(_lines(columns)), columns.get("label")
        for start in range(0, len(lines), _IMAGES):
            crops = store.encoded(range(first + start, first + min(start + _IMAGES, len(lines))))
            for number, crop in enumerate(crops, start):
                row = first + number
                try:
                    image_size(crop)
                except StoreError:
                    unread.append(row)
                    continue
                suffix = ".png" if crop.startswith(b"\x89PNG") else ".jpg"
                group = f"{row // _IN_A_FOLDER:05d}" if labels is None else _folder_of(str(labels[number]))
                target = folder / group / f"{row:09d}{suffix}"
                target.parent.mkdir(exist_ok=True)
                target.write_bytes(crop)
                yield f"{group}/{target.name}", row, *lines[number]
        first += len(lines)


def _folder_of(label: str) -> str:
    """A folder for a label; a label may be any text, also one that leads elsewhere."""
    name = quote(label, safe=" ,+()")[:_LONGEST].strip()
    return f"%2E{name[1:]}" if name.startswith(".") else name or "unlabelled"


WRITERS: Mapping[str, tuple[str, Callable[[Store, Path], None]]] = {
    "csv": (".csv", _write_csv),
    "parquet": (".parquet", _write_parquet),
    "images": ("", _write_images),
}
"""What `spatterlib.convert` writes that is no store: suffix, and what writes it. Nothing is there if that fails."""


def writer_of(path: str, to: str | None) -> str | None:
    """Which of the `WRITERS` is asked for, if one is."""
    if to is not None:
        return to if to in WRITERS else None
    suffix = Path(path).suffix.lower()
    return next((name for name, (known, _) in WRITERS.items() if known and known == suffix), None)


def check_written(path: str, writer: str, *, overwrite: bool = False) -> None:
    """Refuse early what a writer would refuse: before the work, not behind it."""
    suffix, target = WRITERS[writer][0], Path(path)
    if "://" in path:
        raise StoreError(
            f"{path}: a table or images are written to a path, not to a URL; write them here and copy them"
        )
    if suffix:
        check_target(target, (suffix,), overwrite=overwrite)
    elif is_there(target, follow=False):
        raise OutputExistsError(f"{path} exists already, and a folder of images is not replaced; remove it yourself")
    else:
        check_folder(target)
    if writer == "parquet":
        need_pyarrow("a .parquet file")


def write_table(store: Store, path: str, writer: str) -> None:
    """Write a table or images, whole or not at all."""
    with writing(path):
        WRITERS[writer][1](store, Path(path))
