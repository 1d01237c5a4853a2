"""Arrays of a state dict as PyTorch saves it, read without PyTorch and without running anything that is in the file.

Since version 1.6 it is a ZIP archive: a pickle that names tensors, and beside it their numbers. Before, both stood one
after the other in a file of pickles. A pickle may call anything; this reader lets it make dictionaries and names of
tensors, and nothing else.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from spatterlib.errors import StoreError

__all__ = ["read"]

Array = NDArray[np.float32]

_MAGIC = 0x1950A86A20F9469CFC6C
_TYPES = {"FloatStorage": "f4", "DoubleStorage": "f8", "HalfStorage": "f2", "BFloat16Storage": "u2"}


class _Tensor(NamedTuple):
    """Where a tensor lies in a storage, in elements."""

    storage: Any
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Storage(NamedTuple):
    type: str
    key: str
    numel: int


# The one in Python: the one in C makes room for as many objects as a pickle of a few bytes claims to hold.
class _Unpickler(pickle._Unpickler):
    """Dictionaries and names of tensors; everything else is refused before it is called."""

    def find_class(self, module: str, name: str) -> Any:
        known: dict[tuple[str, str], Callable[..., Any]] = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): lambda storage, offset, shape, strides, *_: _Tensor(
                storage, offset, shape, strides
            ),
            ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
        }
        if module == "torch" and name in _TYPES:
            return name
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        return known[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        kind, type_, key, _, numel, *_ = pid
        if kind != "storage" or type_ not in _TYPES:
            raise pickle.UnpicklingError(f"it names a {kind} of type {type_}")
        return _Storage(type_, str(key), int(numel))


def read(file: Path) -> dict[str, Array]:
    """Float32 arrays by name.

    Parameters
    ----------
    file : Path
        As ``torch.save(model.state_dict(), file)`` writes it, of any version.

    Raises
    ------
    StoreError
        If it is damaged, or holds anything but a dictionary of tensors; nothing in it is executed.
    """
    archive = zipfile.is_zipfile(file)
    with file.open("rb") as opened:
        if not archive and opened.read(1) != b"\x80":
            raise StoreError(f"{file} holds no weights: expected .safetensors, .onnx or a state dict (.pt, .pth, .mdl)")
    try:
        state, data = _of_archive(file) if archive else _of_pickles(file)
        if _is_of_tensors(state):
            return {name: _array(tensor, data) for name, tensor in state.items()}
    # What a damaged or malicious file makes of the unpickler and of array operations has no common base.
    except Exception as error:
        reason = " ".join(str(error).split())[:120]
        raise StoreError(
            f"{file} is no plain state dict: it is damaged or holds more than tensors, none of which was executed "
            f"({reason or type(error).__name__}); save model.state_dict(), or use safetensors"
        ) from error
    held = f" with {', '.join(map(str, list(state)[:4]))}" if isinstance(state, Mapping) else ""
    raise StoreError(f"{file} holds a {type(state).__name__}{held}, not a state dict; save model.state_dict()")


def _is_of_tensors(state: Any) -> bool:
    return isinstance(state, Mapping) and all(
        isinstance(name, str) and isinstance(tensor, _Tensor) for name, tensor in state.items()
    )


def _of_archive(file: Path) -> tuple[Any, Mapping[str, bytes]]:
    with zipfile.ZipFile(file) as archive:
        if sum(info.file_size for info in archive.infolist()) > file.stat().st_size:
            raise ValueError("its entries are compressed")
        entries = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    if entries.get("byteorder", b"little") != b"little":
        raise ValueError("its numbers are big-endian")
    data = {name.removeprefix("data/"): content for name, content in entries.items()}
    return _Unpickler(io.BytesIO(entries["data.pkl"])).load(), data


def _of_pickles(file: Path) -> tuple[Any, Mapping[str, bytes]]:
    """Of PyTorch before 1.6: number, version, system, dictionary, keys of storages; then each with its length."""
    content = file.read_bytes()
    stream = io.BytesIO(content)
    if _Unpickler(stream).load() != _MAGIC:
        raise ValueError("it does not begin as PyTorch's files do")
    _, _, state, keys = (_Unpickler(stream).load() for _ in range(4))
    if not _is_of_tensors(state):
        return state, {}
    sizes = {tensor.storage.key: np.dtype(_TYPES[tensor.storage.type]).itemsize for tensor in state.values()}
    data = {str(key): stream.read(int.from_bytes(stream.read(8), "little") * sizes[str(key)]) for key in keys}
    return state, data


def _array(tensor: _Tensor, data: Mapping[str, bytes]) -> Array:
    values: NDArray[Any] = np.frombuffer(data[tensor.storage.key], f"<{_TYPES[tensor.storage.type]}")
    # An index per number, checked against what there is: strides alone could point anywhere.
    places = np.full((), tensor.offset, np.int64)
    for length, stride in zip(tensor.shape, tensor.strides, strict=True):
        if not 0 <= length <= len(values):
            raise ValueError(f"a tensor of shape {tensor.shape} in a storage of {len(values)} numbers")
        places = places[..., None] + stride * np.arange(length)
    if places.size > len(values) or (places.size and not 0 <= places.min() <= places.max() < len(values)):
        raise ValueError(f"a tensor of shape {tensor.shape} in a storage of {len(values)} numbers")
    array = values[places]
    if tensor.storage.type == "BFloat16Storage":
        array = (array.astype("<u4") << 16).view("<f4")
    return np.ascontiguousarray(array, np.float32)
