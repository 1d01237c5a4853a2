"""Numbers that several kernels share with those who call them, and the type of their pictures."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Image: TypeAlias = NDArray[np.uint8]
"""``(h, w, 3)`` uint8 RGB, or ``(h, w)`` uint8 grey where a docstring says so."""

Box: TypeAlias = tuple[int, int, int, int]
"""``(x, y, width, height)`` in px, half-open: covers ``[x, x + width) x [y, y + height)``."""

RED, GREEN, BLUE = np.int32(9798), np.int32(19235), np.int32(3735)
"""Weights of the grey level, times 2**15 (ITU-R BT.601); that of a colour is ``(sum + 16384) >> 15``, as in OpenCV."""

REACH = 2
"""Px, from the middle of the 5x5 Gaussian to its rim."""

BAND, BLOCK = 8, 32
"""Rows, and columns, that are looked at together: fewer make what is computed tighter, and finding it dearer."""
