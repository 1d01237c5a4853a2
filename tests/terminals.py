"""What commands say on a terminal."""

from __future__ import annotations

import re

_PROGRESS = re.compile(r"frame \d+ of \d+ |preparing kernels ")


def without_progress(text: str) -> list[str]:
    """The lines of stderr, progress aside, which slow machines and an empty cache of kernels show."""
    return [line for line in text.strip().splitlines() if not _PROGRESS.match(line)]
