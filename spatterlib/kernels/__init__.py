"""Numba kernels: arrays in, arrays out, nothing else. Outputs are allocated by the caller and reused.

Each kernel has one text; its plain reference lives in the tests.

Any kernel may call any other: what is compiled is kept under a digest of all files of this package (`cache`), so it is
compiled anew when one of them changes, and only then.
"""

import numpy as np

RED, GREEN, BLUE = np.int32(9798), np.int32(19235), np.int32(3735)
"""Weights of the grey level, times 2**15 (ITU-R BT.601); that of a colour is ``(sum + 16384) >> 15``, as in OpenCV."""

REACH = 2
"""Px, from the middle of the 5x5 Gaussian to its rim."""

BAND, BLOCK = 8, 32
"""Rows, and columns, that are looked at together: fewer make what is computed tighter, and finding it dearer."""
