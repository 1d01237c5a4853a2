"""What can be set: a field here is an option of `spatterlib serve`, a variable and a line of the documentation."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from spatterlib.errors import MissingFileError, ParameterError

__all__ = ["PREFIX", "Settings", "named_key", "read_keys"]

PREFIX = "SPATTERLIB_SERVE_"
SHORTEST_KEY = 16
MB = 1 << 20
_NAMED = re.compile(r"([A-Za-z0-9_.-]{1,40}):(.+)")


@dataclass(frozen=True)
class Settings:
    """Limits and places of a service; `keys` come from a variable or a file only."""

    data: Path = field(
        default=Path("spatterlib-jobs"), metadata={"help": "Folder of the jobs; one service at a time uses it."}
    )
    models: Path = field(default=Path("runs"), metadata={"help": "Folder of runs and exported models."})
    workers: int = field(default=1, metadata={"help": "Jobs done side by side, each in a process of its own."})
    queue: int = field(default=20, metadata={"help": "Jobs that may wait; more are refused with 429."})
    queue_each: int = field(
        default=10, metadata={"help": "Jobs that may wait of one key, or of one address where no key is set."}
    )
    uploads: int = field(default=16, metadata={"help": "Videos that may come at once; more are refused with 429."})
    uploads_each: int = field(
        default=4, metadata={"help": "Videos that may come at once from one key, or address where no key is set."}
    )
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
    asking_each: int = field(
        default=32, metadata={"help": "Requests with crops that may wait of one key, or address where no key is set."}
    )
    stall_seconds: float = field(default=30.0, metadata={"help": "S without a byte of an upload until it is given up."})
    slowest_kb: float = field(
        default=16.0, metadata={"help": "KiB/s that a body must bring on average; a slower one is given up."}
    )
    upload_seconds: float = field(default=2 * 3600.0, metadata={"help": "S, longest time that a body may take."})
    header_seconds: float = field(default=10.0, metadata={"help": "S, longest time that the head of a request takes."})
    free_mb: float = field(default=512.0, metadata={"help": "MiB that must stay free on the disk."})
    keep_days: float = field(default=30.0, metadata={"help": "Days until a finished job is removed; 0: never."})
    allow_host: tuple[str, ...] = field(
        default=(),
        metadata={
            "help": "Name that the service may be asked by where no key is set; can be given several times.",
            "multiple": True,
        },
    )
    root_path: str = field(default="", metadata={"help": "Path below which a proxy shows the service, as /spatter."})
    keys: tuple[str, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        for name in (
            "workers",
            "queue",
            "queue_each",
            "uploads",
            "uploads_each",
            "max_pixels",
            "crops",
            "crop_pixels",
            "asking",
            "asking_each",
        ):
            self._check(name, getattr(self, name) >= 1, "1 or more")
        for name in (
            "max_mb",
            "max_seconds",
            "job_seconds",
            "crops_mb",
            "stall_seconds",
            "upload_seconds",
            "header_seconds",
        ):
            self._check(name, 0 < getattr(self, name) < float("inf"), "above 0")
        for name in ("job_mb", "free_mb", "keep_days", "slowest_kb"):
            self._check(name, getattr(self, name) >= 0, "0 or more")
        if self.root_path and not re.fullmatch(r"(/[\w.~-]+)+", self.root_path):
            raise ParameterError(
                f"root_path begins with / and has no / at its end, as /spatter; got {self.root_path!r}"
            )
        keys = [named_key(line)[1] for line in self.keys]
        if any(len(key) < SHORTEST_KEY or not (key.isascii() and key.isprintable()) for key in keys):
            raise ParameterError(
                f"an API key has {SHORTEST_KEY} or more printable ASCII characters; make one with: openssl rand -hex 32"
            )

    def _check(self, name: str, fits: bool, wanted: str) -> None:
        if not fits:
            raise ParameterError(f"{name} must be {wanted}, got {getattr(self, name)!r}")


def named_key(line: str) -> tuple[str, str]:
    """Name and key of a line: ``NAME:KEY``, or a key alone, whose name is the beginning of its digest.

    Examples
    --------
    >>> named_key("line-3:0123456789abcdef"), named_key("0123456789abcdef")
    (('line-3', '0123456789abcdef'), ('9f9f5111', '0123456789abcdef'))
    """
    if match := _NAMED.fullmatch(line):
        return match[1], match[2]
    return hashlib.sha256(line.encode()).hexdigest()[:8], line


def read_keys(file: str | os.PathLike[str] | None) -> tuple[str, ...]:
    """API keys, one a line of a file; without a file that of the variable ``SPATTERLIB_SERVE_KEY``.

    A line is a key, or ``NAME:KEY``. Keys of one name see the same jobs.

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
