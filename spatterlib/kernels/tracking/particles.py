"""Particles of one frame: what rises above a local background, told apart at its saddles, measured below the pixel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spatterlib.kernels.compiling import kernel
from spatterlib.kernels.constants import Image

Levels = NDArray[np.int16]
Floats = NDArray[np.float64]
Ints = NDArray[np.int32]
Boxes = NDArray[np.int64]

SCALE = 64
"""Levels of the smoothed picture to one grey level."""
BINS = 32
"""Of the background's level, each with a noise of its own."""
SHIFT = 9
TALLIES = 1024
COLUMNS = 15
"""Of a measured particle: x, y, amplitude, flux, greater and smaller variance, direction, background, noise, left, top,
right, bottom of its box, area, share that is saturated."""
_FEWEST = 30
_STEP = 3
_LEAST = 0.25 * SCALE
# Of the noise of a pixel, what the smoothing leaves.
_QUIET = 0.594
# Standard deviation over the median difference from the sum of four neighbours.
_OF_STEPS = 1.4826 / np.sqrt(20)
# Spread of what glows, as a share of its level.
_TEXTURE = 0.01
# Times the noise: the rim of a particle, the cut between two that touch; that also as a share of the lower one.
_WIDER = 0.25
_RIM, _CUT, _SHARE = 2.5, 3.5, 0.15


@kernel
def _median(counts: NDArray[np.int64], total: int) -> float:
    """Median of what was tallied, between tallies."""
    below = 0
    for k in range(TALLIES):
        if below + counts[k] >= 0.5 * total:
            return float(k + (0.5 * total - below) / max(counts[k], 1))
        below += counts[k]
    return float(TALLIES)


@kernel
def _tally(image: Image, smooth: Levels, opened: Levels, rises: Boxes, steps: Boxes) -> None:
    """Count rises above the opening, and differences from four neighbours, by level of the opening."""
    for i in range(1, image.shape[0] - 1, _STEP):
        for j in range(1, image.shape[1] - 1, _STEP):
            at = opened[i, j] >> SHIFT
            around = np.int32(image[i - 1, j]) + image[i + 1, j] + image[i, j - 1] + image[i, j + 1]
            steps[at, min(abs(4 * np.int32(image[i, j]) - around), TALLIES - 1)] += 1
            rises[at, min(smooth[i, j] - opened[i, j], TALLIES - 1)] += 1


@kernel
def _nearest(known: NDArray[np.bool_], k: int) -> int:
    """The nearest level that is known, -1 if none is."""
    near = -1
    for other in range(BINS):
        if known[other] and (near < 0 or abs(other - k) < abs(near - k)):
            near = other
    return near


@kernel
def noise_of(image: Image, smooth: Levels, opened: Levels, usual: Floats, spread: Floats) -> None:
    """Noise of the smoothed picture and how far it usually rises above its opening, by level of the opening.

    The noise is the median difference from four neighbours, which neither slopes nor the few px of particles change.
    Levels that are rare take what the nearest has that is not.

    Parameters
    ----------
    image : ndarray
        ``(h, w)`` uint8, grey.
    smooth, opened : ndarray
        ``(h, w)`` int16, grey levels times `SCALE`: the smoothed picture, and its opening (never above it).
    usual, spread : ndarray
        ``(BINS,)`` float64, written: median rise; standard deviation.
    """
    rises, steps = np.zeros((BINS, TALLIES), np.int64), np.zeros((BINS, TALLIES), np.int64)
    _tally(image, smooth, opened, rises, steps)
    known = np.zeros(BINS, np.bool_)
    dim = -1
    for k in range(BINS):
        total = steps[k].sum()
        if total < _FEWEST:
            continue
        known[k] = True
        usual[k] = _median(rises[k], total)
        spread[k] = max(_OF_STEPS * _median(steps[k], total) * _QUIET * SCALE, _LEAST)
        if dim < 0 and 1 <= k <= 4:
            # Where black is cut, the noise is cut too; it is still on what rises from there.
            dim = k
            spread[:k] = np.maximum(spread[:k], np.where(known[:k], spread[k], 0.0))
    for k in range(BINS):
        near = _nearest(known, k)
        if near < 0:
            usual[k], spread[k] = 0.0, _LEAST
        elif near != k:
            usual[k], spread[k] = usual[near], spread[near]
    for k in range(BINS):
        spread[k] = np.hypot(spread[k], _TEXTURE * (k << SHIFT))


@kernel
def _root(parent: Ints, label: int) -> int:
    while parent[label] != label:
        parent[label] = parent[parent[label]]
        label = parent[label]
    return label


@kernel
def _gather(smooth: Levels, opened: Levels, low: Floats, places: Ints, starts: Ints) -> int:
    """Places that rise above the lower threshold, highest first, by a counting sort."""
    height, width = smooth.shape
    count = 0
    for i in range(height):
        for j in range(width):
            rise = smooth[i, j] - opened[i, j]
            if rise > 0 and rise > low[opened[i, j] >> SHIFT]:
                places[count] = i * width + j
                starts[rise] += 1
                count += 1
    total = 0
    for rise in range(len(starts) - 1, -1, -1):
        here = starts[rise]
        starts[rise] = total
        total += here
    ordered = places[count : 2 * count]
    for n in range(count):
        i, j = places[n] // width, places[n] % width
        rise = smooth[i, j] - opened[i, j]
        ordered[starts[rise]] = places[n]
        starts[rise] += 1
    return count


@kernel
def _neighbours(
    smooth: Levels, opened: Levels, labels: Ints, parent: Ints, i: int, j: int, roots: Ints
) -> tuple[int, int]:
    """Write the segments that touch a place; how many, and that of the highest place."""
    found, best, steepest = 0, 0, -1
    for y in range(max(i - 1, 0), min(i + 2, smooth.shape[0])):
        for x in range(max(j - 1, 0), min(j + 2, smooth.shape[1])):
            if labels[y, x] == 0:
                continue
            root = _root(parent, labels[y, x])
            if smooth[y, x] - opened[y, x] > steepest:
                steepest, best = smooth[y, x] - opened[y, x], root
            new = True
            for k in range(found):
                new = new and roots[k] != root
            if new:
                roots[found] = root
                found += 1
    return found, best


@kernel
def _grow(smooth: Levels, opened: Levels, depth: Floats, ordered: Ints, labels: Ints, parent: Ints, peak: Ints) -> int:
    """Grow segments from their peaks downwards; where two meet, the lower one goes on if it is deep enough cut off."""
    width = smooth.shape[1]
    roots = np.empty(8, np.int32)
    count = 0
    for n in range(len(ordered)):
        i, j = ordered[n] // width, ordered[n] % width
        rise = smooth[i, j] - opened[i, j]
        found, best = _neighbours(smooth, opened, labels, parent, i, j, roots)
        if found == 0:
            count += 1
            parent[count], peak[count], labels[i, j] = count, ordered[n], count
            continue
        # A lower number is a higher peak: segments begin from the highest downwards.
        high = roots[:found].min()
        for k in range(found):
            y, x = peak[roots[k]] // width, peak[roots[k]] % width
            top = smooth[y, x] - opened[y, x]
            if roots[k] != high and top - rise < max(depth[opened[i, j] >> SHIFT], _SHARE * top):
                parent[roots[k]] = high
        labels[i, j] = _root(parent, best)
    return count


@kernel
def _ground(image: Image, labels: Ints, box: Boxes, fallback: float, plane: Floats) -> None:
    """Background around a box, level in its middle and slopes, from what belongs to no particle."""
    height, width = image.shape
    middle_x, middle_y = 0.5 * (box[0] + box[2] - 1), 0.5 * (box[1] + box[3] - 1)
    count = total = sx = sy = sxx = syy = sxi = syi = 0.0
    for i in range(max(box[1] - 3, 0), min(box[3] + 3, height)):
        for j in range(max(box[0] - 3, 0), min(box[2] + 3, width)):
            near = box[0] - 1 <= j < box[2] + 1 and box[1] - 1 <= i < box[3] + 1
            if near or labels[i, j] != 0:
                continue
            x, y, value = j - middle_x, i - middle_y, float(image[i, j])
            count += 1
            total, sx, sy = total + value, sx + x, sy + y
            sxx, syy, sxi, syi = sxx + x * x, syy + y * y, sxi + x * value, syi + y * value
    plane[0], plane[1], plane[2] = fallback, 0.0, 0.0
    if count < 8:
        return
    plane[0] = total / count
    wide, tall = sxx - sx * sx / count, syy - sy * sy / count
    if wide > 1e-6 and tall > 1e-6:
        plane[1] = (sxi - sx * total / count) / wide
        plane[2] = (syi - sy * total / count) / tall
    plane[0] -= plane[1] * sx / count + plane[2] * sy / count


@kernel(fastmath=True)
def _weigh(image: Image, labels: Ints, own: int, box: Boxes, plane: Floats, shape: Floats, sums: Floats) -> None:
    """Sums of light and of its first and second moments, weighted by the ellipse `shape`."""
    height, width = image.shape
    left, top, right, bottom = max(box[0] - 2, 0), max(box[1] - 2, 0), min(box[2] + 2, width), min(box[3] + 2, height)
    middle_x, middle_y = 0.5 * (box[0] + box[2] - 1), 0.5 * (box[1] + box[3] - 1)
    det = shape[2] * shape[4] - shape[3] * shape[3]
    a, b, c = shape[4] / det, -shape[3] / det, shape[2] / det
    total = mx = my = mxx = mxy = myy = 0.0
    for i in range(top, bottom):
        for j in range(left, right):
            u, v = j - shape[0], i - shape[1]
            far = a * u * u + 2 * b * u * v + c * v * v
            if far > 12.0 or (labels[i, j] != 0 and labels[i, j] != own):
                continue
            ground = plane[0] + plane[1] * (j - middle_x) + plane[2] * (i - middle_y)
            light = np.exp(-0.5 * far) * (image[i, j] - ground)
            total += light
            mx, my = mx + light * u, my + light * v
            mxx, mxy, myy = mxx + light * u * u, mxy + light * u * v, myy + light * v * v
    sums[0], sums[1], sums[2], sums[3], sums[4], sums[5] = total, mx, my, mxx, mxy, myy


@kernel
def _is_ellipse(shape: Floats, box: Boxes) -> bool:
    """Whether a shape is one, not too large, with its middle near its box."""
    wide, tall = box[2] - box[0] + 4.0, box[3] - box[1] + 4.0
    solid = shape[2] * shape[4] - shape[3] * shape[3] > 0.005 and shape[2] > 0.05 and shape[4] > 0.05
    small = shape[2] < 4 * wide * wide and shape[4] < 4 * tall * tall
    return bool(
        solid and small and box[0] - 2.5 <= shape[0] <= box[2] + 1.5 and box[1] - 2.5 <= shape[1] <= box[3] + 1.5
    )


@kernel
def _settled(image: Image, labels: Ints, own: int, box: Boxes, plane: Floats, shape: Floats) -> float:
    """Adaptive moments: weighted by the ellipse that they themselves give, so far noise does not count.

    `shape` is x, y, xx, xy, yy, both the first guess and the answer; given is the light, 0 where they run away: then
    the guess stands.
    """
    turned, weight, sums = shape.copy(), np.empty(5), np.empty(6)
    for turn in range(16):
        if not _is_ellipse(turned, box):
            return 0.0
        # A little wider than the particle: what is narrower than a pixel would fall between pixels.
        weight[:] = turned
        weight[2], weight[4] = weight[2] + _WIDER, weight[4] + _WIDER
        _weigh(image, labels, own, box, plane, weight, sums)
        total = sums[0]
        if total <= 1e-6:
            return 0.0
        mx, my = sums[1] / total, sums[2] / total
        mxx, mxy, myy = sums[3] / total - mx * mx, sums[4] / total - mx * my, sums[5] / total - my * my
        # Of Gaussians: what is seen through the weight has the sum of both inverses.
        det, wide = mxx * myy - mxy * mxy, weight[2] * weight[4] - weight[3] * weight[3]
        if det <= 1e-6:
            return 0.0
        a, b, c = myy / det - weight[4] / wide, -mxy / det + weight[3] / wide, mxx / det - weight[2] / wide
        inverse = a * c - b * b
        if inverse <= 1e-6 or a <= 0:
            return 0.0
        xx, xy, yy = c / inverse, -b / inverse, a / inverse
        u, v = (myy * mx - mxy * my) / det, (mxx * my - mxy * mx) / det
        u, v = xx * u + xy * v, xy * u + yy * v
        moved = abs(u) + abs(v) + abs(xx - turned[2]) + abs(xy - turned[3]) + abs(yy - turned[4])
        turned[0], turned[1] = turned[0] + u, turned[1] + v
        turned[2], turned[3], turned[4] = xx, xy, yy
        if moved < 0.02 and turn > 0:
            break
    if not _is_ellipse(turned, box):
        return 0.0
    shape[:] = turned
    # All light of what was seen through the weight.
    own_det = turned[2] * turned[4] - turned[3] * turned[3]
    both = (turned[2] + weight[2]) * (turned[4] + weight[4]) - (turned[3] + weight[3]) ** 2
    return float(sums[0] * np.sqrt(both / max(wide, 1e-6))) if own_det > 0 else 0.0


@kernel
def _collect(
    image: Image, smooth: Levels, opened: Levels, labels: Ints, parent: Ints, ordered: Ints, boxes: Boxes, sums: Floats
) -> None:
    """Boxes and plain moments of all segments; `labels` then names the segment itself."""
    width = image.shape[1]
    for n in range(len(ordered)):
        i, j = ordered[n] // width, ordered[n] % width
        own = labels[i, j] = _root(parent, labels[i, j])
        box, part = boxes[own], sums[own]
        box[0], box[1], box[2], box[3] = min(box[0], j), min(box[1], i), max(box[2], j + 1), max(box[3], i + 1)
        rise = float(smooth[i, j] - opened[i, j])
        part[0], part[1], part[2] = part[0] + rise, part[1] + rise * j, part[2] + rise * i
        part[3], part[4], part[5] = part[3] + rise * j * j, part[4] + rise * j * i, part[5] + rise * i * i
        part[6] += 1
        part[7] += image[i, j] == 255


@kernel
def _insert(chosen: NDArray[np.int64], kept: int, own: int, boxes: Boxes) -> None:
    """Put a segment behind those whose boxes begin higher, or as high and farther left."""
    place = kept
    while place > 0 and (
        boxes[chosen[place - 1], 1] > boxes[own, 1]
        or (boxes[chosen[place - 1], 1] == boxes[own, 1] and boxes[chosen[place - 1], 0] > boxes[own, 0])
    ):
        chosen[place] = chosen[place - 1]
        place -= 1
    chosen[place] = own


@kernel
def find(
    image: Image,
    smooth: Levels,
    opened: Levels,
    usual: Floats,
    spread: Floats,
    snr: float,
    least: float,
    texture: float,
    largest: int,
    labels: Ints,
    places: Ints,
    out: NDArray[np.float32],
) -> int:
    """Particles of one frame.

    Parameters
    ----------
    image : ndarray
        ``(h, w)`` uint8, grey.
    smooth, opened, usual, spread : ndarray
        As in `noise_of`.
    snr, least, texture, largest : float, float, float, int
        As in the detector `particles`; `least` is its `rise`.
    labels : ndarray
        ``(h, w)`` int32, zeros; zeros again behind it.
    places : ndarray
        ``(2 * h * w,)`` int32, overwritten.
    out : ndarray
        ``(n, COLUMNS)`` float32, written; what has no room is left out.

    Returns
    -------
    int
        How many, by y and x of their boxes.
    """
    width = image.shape[1]
    starts = np.zeros(256 * SCALE, np.int32)
    count = _gather(smooth, opened, usual + _RIM * spread, places, starts)
    ordered = places[count : 2 * count]
    parent, peak = np.empty(count + 1, np.int32), np.empty(count + 1, np.int32)
    segments = _grow(smooth, opened, _CUT * spread, ordered, labels, parent, peak)
    boxes = np.empty((segments + 1, 4), np.int64)
    boxes[:, :2], boxes[:, 2:] = 1 << 30, 0
    sums = np.zeros((segments + 1, 8))
    _collect(image, smooth, opened, labels, parent, ordered, boxes, sums)
    candidates, kept = 0, 0
    chosen = np.empty(segments + 1, np.int64)
    for own in range(1, segments + 1):
        if parent[own] != own or sums[own, 6] > largest or sums[own, 6] < 2:
            continue
        i, j = peak[own] // width, peak[own] % width
        at = opened[i, j] >> SHIFT
        rise = smooth[i, j] - opened[i, j] - usual[at]
        if rise >= max(snr * spread[at], least * SCALE):
            _insert(chosen, candidates, own, boxes)
            candidates += 1
    plane, shape = np.empty(3), np.empty(5)
    for n in range(candidates):
        if kept == len(out):
            break
        own = chosen[n]
        i, j = peak[own] // width, peak[own] % width
        at, row = opened[i, j] >> SHIFT, out[kept]
        _ground(image, labels, boxes[own], (opened[i, j] + usual[at]) / SCALE, plane)
        _measure(image, labels, own, boxes[own], sums[own], plane, shape, row)
        row[8] = spread[at] / (_QUIET * SCALE)
        if row[2] > snr * row[8] and row[2] > texture * row[7] * np.sqrt(row[4] * row[5]):
            kept += 1
    for n in range(count):
        labels[ordered[n] // width, ordered[n] % width] = 0
    return kept


@kernel
def _measure(
    image: Image,
    labels: Ints,
    own: int,
    box: Boxes,
    part: Floats,
    plane: Floats,
    shape: Floats,
    row: NDArray[np.float32],
) -> None:
    """Fill one row but its noise."""
    mass = part[0]
    x, y = part[1] / mass, part[2] / mass
    # The smoothing widened it by a quarter of a px squared.
    xx, yy = max(part[3] / mass - x * x - 0.25, 0.3), max(part[5] / mass - y * y - 0.25, 0.3)
    xy = part[4] / mass - x * y
    limit = 0.9 * np.sqrt(xx * yy)
    shape[0], shape[1], shape[2], shape[3], shape[4] = x, y, xx, min(max(xy, -limit), limit), yy
    light = _settled(image, labels, own, box, plane, shape)
    x, y, xx, xy, yy = shape
    half, apart = 0.5 * (xx + yy), np.sqrt(0.25 * (xx - yy) ** 2 + xy * xy)
    area = 2 * np.pi * np.sqrt(max(xx * yy - xy * xy, 1e-6))
    row[0], row[1] = x, y
    # Of a Gaussian, weighted by itself, half its light is left.
    row[3] = light if light > 0 else mass / SCALE
    row[2] = row[3] / area
    row[4], row[5] = half + apart, max(half - apart, 0.0)
    row[6] = 0.5 * np.arctan2(-2 * xy, xx - yy)
    row[7] = plane[0]
    row[9], row[10], row[11], row[12] = box[0], box[1], box[2], box[3]
    row[13], row[14] = part[6], part[7] / part[6]
