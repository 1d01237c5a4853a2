"""Three simulated recordings of a minute, made once per machine, in the background, when the app starts."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import spatterlib as sp

__all__ = ["SAMPLES", "cache_folder", "is_there", "path_of", "prepare", "settings_of"]

SAMPLES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "Low gas flow": {"gas_flow": "low", "seed": 22},
        "High gas flow": {"gas_flow": "high", "seed": 31},
        "Flow changes half-way": {"gas_flow": "low>high", "seed": 9907},
    }
)
"""What is simulated, by the name on the button. The truth is in the name; the model does not see it."""

_COMMON: dict[str, Any] = {"seconds": 60.0, "recoat_seconds": 3.2, "preset": "easy"}
_locks = {name: threading.Lock() for name in SAMPLES}


def cache_folder() -> Path:
    """Where what is simulated once per machine lies."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    where = Path(base) / "spatterlib" / f"demo-{sp.__version__}"
    where.mkdir(parents=True, exist_ok=True)
    return where


def settings_of(name: str) -> dict[str, Any]:
    """What a sample is simulated with."""
    return {**_COMMON, **SAMPLES[name]}


def path_of(name: str) -> Path:
    """The recording, simulated now if it is not there yet (a few seconds)."""
    path = _path(name)
    with _locks[name]:
        if not path.is_file():
            sp.simulate(path, **_COMMON, **SAMPLES[name], overwrite=True)
    return path


def _path(name: str) -> Path:
    values = {**_COMMON, **SAMPLES[name]}.values()
    return cache_folder() / f"{'-'.join(str(value).replace('>', '-to-') for value in values)}.mp4"


def is_there(name: str) -> bool:
    """Whether it has been simulated on this machine before."""
    return _path(name).is_file()


def prepare() -> threading.Thread:
    """Make them all, and do once what is slow the first time, so that the first click is quick."""
    thread = threading.Thread(target=_prepare, name="samples", daemon=True)
    thread.start()
    return thread


def _prepare() -> None:
    for name in SAMPLES:
        path_of(name)
    sp.predict(path_of(next(iter(SAMPLES))), "simulated", stop=50, progress=False)
