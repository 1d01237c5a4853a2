"""Files of PyTorch, written without PyTorch, and the two published networks computed the plain way."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Array = NDArray[np.float32]


class _Named:
    """A name of a module, as pickle writes names of functions and classes that it cannot look up here."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name


class _Rebuilt:
    def __init__(self, key: str, array: Array) -> None:
        self.key, self.array = key, array


class _Pickler(pickle._Pickler):
    def persistent_id(self, obj: Any) -> Any:
        return obj[1:] if isinstance(obj, tuple) and obj[:1] == ("a storage",) else None

    def save_named(self: Any, obj: _Named) -> None:
        self.write(b"c" + f"{obj.module}\n{obj.name}\n".encode())

    def save_rebuilt(self: Any, obj: _Rebuilt) -> None:
        strides = tuple(stride // obj.array.itemsize for stride in obj.array.strides)
        storage = ("a storage", "storage", _Named("torch", "FloatStorage"), obj.key, "cpu", obj.array.size)
        self.save(_Named("torch._utils", "_rebuild_tensor_v2"))
        self.save((storage, 0, obj.array.shape, strides, False, OrderedDict()))
        self.write(pickle.REDUCE)

    dispatch: ClassVar[dict[Any, Any]] = {**pickle._Pickler.dispatch, _Named: save_named, _Rebuilt: save_rebuilt}


def save_state_dict(path: Path, arrays: Mapping[str, Array]) -> Path:
    """What ``torch.save(model.state_dict(), path)`` leaves."""
    state = OrderedDict((name, _Rebuilt(str(number), array)) for number, (name, array) in enumerate(arrays.items()))
    pickled = io.BytesIO()
    _Pickler(pickled, 2).dump(state)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{path.stem}/data.pkl", pickled.getvalue())
        archive.writestr(f"{path.stem}/byteorder", "little")
        for number, array in enumerate(arrays.values()):
            archive.writestr(f"{path.stem}/data/{number}", array.astype("<f4").tobytes())
        archive.writestr(f"{path.stem}/version", "3\n")
    return path


def published_scores(arrays: Mapping[str, Array], samples: NDArray[np.float64], *, tanh: bool) -> NDArray[np.float64]:
    """``(n, outputs)`` of ``(n, 3, 32, 32)`` in [0, 1], term by term as the papers' network is drawn."""
    weights = [array.astype(np.float64) for array in arrays.values()]
    x = samples
    for weight, bias in ((weights[0], weights[1]), (weights[2], weights[3])):
        x = np.einsum("nchwij,ocij->nohw", sliding_window_view(x, (5, 5), (2, 3)), weight) + bias[:, None, None]
        x = np.tanh(x) if tanh else x
        squares = x.reshape(*x.shape[:2], x.shape[2] // 2, 2, x.shape[3] // 2, 2)
        x = squares.mean(axis=(3, 5)) if tanh else squares.max(axis=(3, 5))
    x = x.reshape(len(x), -1)
    for weight, bias in ((weights[4], weights[5]), (weights[6], weights[7])):
        x = x @ weight.T + bias
        x = 1 / (1 + np.exp(-x)) if tanh else np.maximum(x, 0)
    result: NDArray[np.float64] = x @ weights[8].T + weights[9]
    return result
