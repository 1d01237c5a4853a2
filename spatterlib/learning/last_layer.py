"""The last layer of a network fitted anew to some labelled layers: a regression on what it sees of their crops.

The rest of the network stays as it is, so its answer to each crop is computed once. The new weights are held to the old
ones by a penalty (L2-SP; X. Li, Y. Grandvalet, F. Davoine, "Explicit inductive bias for transfer learning with
convolutional networks", ICML 2018), because a handful of layers could not choose eighty of them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["fitted_last_layer"]

Array = NDArray[np.float64]
# A layer weighs as much as so many independent crops; the penalty is of weights for features of mean square 1.
_LAYER, _PENALTY, _BIAS = 10.0, 1.0, 0.01
_STEPS, _DONE = 50, 1e-7


def fitted_last_layer(
    seen: NDArray[np.float32],
    labels: NDArray[np.int64],
    weight: NDArray[np.float64],
    last_layer: tuple[NDArray[np.float32], NDArray[np.float32]],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weights and biases of a last layer, by penalised multinomial regression (Newton's method).

    Parameters
    ----------
    seen : ndarray
        ``(n, k)``, from `SupportsLastLayer.embed`.
    labels : ndarray
        ``(n,)`` int64.
    weight : ndarray
        ``(n,)`` of each crop; those of a layer add up to 1.
    last_layer : tuple of ndarray
        ``(classes, k)`` weights and ``(classes,)`` biases as they are.

    Examples
    --------
    >>> import numpy as np
    >>> from spatterlib.learning.last_layer import fitted_last_layer
    >>> seen = np.array([[0.0], [1.0], [0.0], [1.0]], np.float32)
    >>> labels = np.array([0, 1, 0, 1])
    >>> weights, biases = fitted_last_layer(seen, labels, np.ones(4), (np.zeros((2, 1)), np.zeros(2)))
    >>> (seen @ weights.T + biases).argmax(1).tolist()
    [0, 1, 0, 1]
    """
    scale = max(float(np.sqrt(np.mean(np.square(seen, dtype=np.float64)))), 1e-9)
    x = np.concatenate([seen / scale, np.ones((len(seen), 1))], axis=1, dtype=np.float64)
    begun = np.concatenate([last_layer[0] * scale, last_layer[1][:, None]], axis=1, dtype=np.float64)
    penalty = np.tile(np.append(np.full(seen.shape[1], _PENALTY), _BIAS), len(begun))
    truth, weight = np.eye(len(begun))[labels], _LAYER * weight
    found = begun.copy()
    loss, probable = _loss(x, truth, weight, found, begun, penalty)
    for _ in range(_STEPS):
        step = _newton(x, weight[:, None] * (probable - truth), weight, probable, found - begun, penalty)
        size = 1.0
        while True:
            tried, guess = _loss(x, truth, weight, found - size * step, begun, penalty)
            if tried <= loss or size < 1e-4:
                break
            size /= 2
        gain, loss, probable, found = loss - tried, tried, guess, found - size * step
        if gain <= _DONE * (1 + loss):
            break
    return (found[:, :-1] / scale).astype(np.float32), found[:, -1].astype(np.float32)


def _loss(x: Array, truth: Array, weight: Array, own: Array, begun: Array, penalty: Array) -> tuple[float, Array]:
    """What is made small, and the probabilities."""
    scores = x @ own.T
    scores -= scores.max(axis=1, keepdims=True)
    total = np.log(np.exp(scores).sum(axis=1, keepdims=True))
    away = (own - begun).ravel()
    return float(weight @ (total[:, 0] - (truth * scores).sum(axis=1)) + penalty @ away**2 / 2), np.exp(scores - total)


def _newton(x: Array, off: Array, weight: Array, probable: Array, away: Array, penalty: Array) -> Array:
    classes, size = away.shape
    curvature = np.diag(penalty)
    for a in range(classes):
        for b in range(classes):
            share = weight * probable[:, a] * (float(a == b) - probable[:, b])
            curvature[a * size : (a + 1) * size, b * size : (b + 1) * size] += (x * share[:, None]).T @ x
    gradient = (off.T @ x).ravel() + penalty * away.ravel()
    return np.asarray(np.linalg.solve(curvature, gradient).reshape(away.shape))
