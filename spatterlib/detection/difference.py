"""The published recipe up to its mask, in plain OpenCV calls: for rare settings, and to show what a detector sees."""

from __future__ import annotations

import numpy as np

from spatterlib.types import Image

__all__ = ["difference_and_mask"]


def difference_and_mask(
    first: Image, second: Image, *, threshold: int = 20, blur: int = 5, dilations: int = 3
) -> tuple[Image, Image]:
    """How far two frames are apart, and where that is more than a threshold.

    Parameters
    ----------
    first, second : ndarray
        ``(h, w, 3)`` uint8 RGB.
    threshold : int
        Grey levels 0-254; a pixel has changed if its blurred difference is greater.
    blur : int
        Px, odd size of the Gaussian kernel; 1 = no blur.
    dilations : int
        How many 3x3 dilations.

    Returns
    -------
    difference : ndarray
        ``(h, w)`` uint8, grey level of the absolute difference, blurred.
    mask : ndarray
        ``(h, w)`` uint8, 255 where it is greater, dilated; 0 elsewhere.

    Examples
    --------
    >>> import numpy as np
    >>> from spatterlib.detection.difference import difference_and_mask
    >>> dark, light = np.zeros((2, 100, 100, 3), np.uint8)
    >>> light[50:60, 40:60] = 255
    >>> difference, mask = difference_and_mask(dark, light)
    >>> difference[55, 40], mask[55, 36:38]
    (np.uint8(175), array([255, 255], dtype=uint8))
    """
    import cv2

    grey = cv2.cvtColor(cv2.absdiff(first, second), cv2.COLOR_RGB2GRAY)
    difference = cv2.GaussianBlur(grey, (blur, blur), 0)
    _, binary = cv2.threshold(difference, threshold, 255, cv2.THRESH_BINARY)
    mask = cv2.dilate(binary, np.ones((3, 3), np.uint8), iterations=dilations)
    return np.asarray(difference, np.uint8), np.asarray(mask, np.uint8)
