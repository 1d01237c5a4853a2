"""What can be set: a field here is an option of `spatterlib serve`, a variable and a line of the documentation."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from spatterlib.errors import MissingFileError, ParameterError

__all__ = ["PREFIX", "Settings", "read_keys"]

PREFIX = "SPATTERLIB_SERVE_"
SHORTEST_KEY = 16
MB = 1 << 20


@dataclass(frozen=True)
class Settings:
    """Limits and places of a service; `keys` come from a variable or a file only."""

    data: Path = field(
        default=Path("spatterlib-jobs"), metadata={"help": "Folder of the jobs; one service at a time uses it."}
    )
    models: Path = field(default=Path("runs"), metadata={"help": "Folder of runs and exported models."})
    workers: int = field(default=1, metadata={"help": "Jobs done side by side, each in a process of its own."})
    queue: int = field(default=20, metadata={"help": "Jobs that may wait; more are refused with 429."})
    max_mb: float = field(default=4096.0, metadata={"help": "MiB, largest video."})
    max_seconds: float = field(default=4 * 3600.0, metadata={"help": "S, longest video."})
    max_pixels: int = field(default=7680 * 4320, metadata={"help": "Px, largest frame."})
    job_seconds: float = field(default=12 * 3600.0, metadata={"help": "S, longest time that a job may take."})
    job_mb: int = field(default=4096, metadata={"help": "MiB of memory that a job may take; 0: no limit."})
    crops: int = field(default=256, metadata={"help": "Most crops in one request."})
    crops_mb: float = field(default=32.0, metadata={"help": "MiB, largest request with crops."})
    crop_pixels: int = field(
        default=1 << 22, metadata={"help": "Px, largest crop; all crops of a request together: 16 times this."}
    )
    asking: int = field(default=64, metadata={"help": "Requests with crops that may wait; more are refused with 429."})
    stall_seconds: float = field(default=30.0, metadata={"help": "S without a byte of an upload until it is given up."})
    free_mb: float = field(default=512.0, metadata={"help": "MiB that must stay free on the disk."})
    keep_days: float = field(default=30.0, metadata={"help": "Days until a finished job is removed; 0: never."})
    keys: tuple[str, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        for name in ("workers", "queue", "max_pixels", "crops", "crop_pixels", "asking"):
            self._check(name, getattr(self, name) >= 1, "1 or more")
        for name in ("max_mb", "max_seconds", "job_seconds", "crops_mb", "stall_seconds"):
            self._check(name, 0 < getattr(self, name) < float("inf"), "above 0")
        for name in ("job_mb", "free_mb", "keep_days"):
            self._check(name, getattr(self, name) >= 0, "0 or more")
        if any(len(key) < SHORTEST_KEY or not (key.isascii() and key.isprintable()) for key in self.keys):
            raise ParameterError(
                f"an API key has {SHORTEST_KEY} or more printable ASCII characters; make one with: openssl rand -hex 32"
            )

    def _check(self, name: str, fits: bool, wanted: str) -> None:
        if not fits:
            raise ParameterError(f"{name} must be {wanted}, got {getattr(self, name)!r}")


def read_keys(file: str | os.PathLike[str] | None) -> tuple[str, ...]:
    """API keys, one a line of a file; without a file that of the variable ``SPATTERLIB_SERVE_KEY``.

    Raises
    ------
    MissingFileError
        If the file cannot be read.
    ParameterError
        If there is no key in it.
    """
    if file is None:
        return tuple(key for key in [os.environ.get(f"{PREFIX}KEY", "").strip()] if key)
    try:
        lines = Path(file).read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise MissingFileError(f"the file of keys {os.fspath(file)} cannot be read: {error}") from error
    if not lines:
        raise ParameterError(f"{os.fspath(file)} holds no key; write one a line")
    return tuple(lines)
