"""Confounds: what goes with the class besides spatter, by crops and by whole recordings.

If the mean colour, the size of the box or the background alone tell the classes apart, an image classifier
that does so too has shown nothing: trivial models on crops say so. What differs between recordings only (sharpness,
coding, the side that the gas comes from) they do not see well enough: there recordings are counted, and the labels of
recordings are permuted.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from spatterlib.common.install_hints import missing
from spatterlib.common.student import beyond
from spatterlib.errors import SpatterlibError
from spatterlib.learning.crop_cache import FEATURES
from spatterlib.learning.dataset import Dataset
from spatterlib.learning.recording_traits import TRAITS, measured_traits, stated_traits, twins
from spatterlib.learning.splits import Split

__all__ = ["PROBES", "Confound", "Probe", "confounds", "probe", "recording_labels", "trait_p"]

_ROWS = 50_000
_LEVEL, _MEASURED, _ARRANGEMENTS = 0.05, 0.03, 5000
_RING = slice(FEATURES.index("ring_red"), FEATURES.index("height"))

PROBES = ("mean colour", "crop size", "table columns", "background ring")
"""What each trivial model sees."""


@dataclass(frozen=True)
class Probe:
    """A trivial model on one split.

    Parameters
    ----------
    name : str
        What it sees: one of `PROBES`.
    split : str
        Name of the split.
    linear, boosted : float
        Test accuracy of a logistic regression and of gradient boosting.
    """

    name: str
    split: str
    linear: float
    boosted: float

    @property
    def accuracy(self) -> float:
        """Of the better one."""
        return max(self.linear, self.boosted)


def features_of(data: Dataset, name: str) -> NDArray[np.float64]:
    """``(n, k)`` what the trivial model `name` sees; unknown values are NaN."""
    if name == "mean colour":
        return data.features[:, :3].astype(np.float64)
    if name == "crop size":
        return data.features[:, 9:11].astype(np.float64)
    if name == "background ring":
        return data.features[:, _RING].astype(np.float64)
    # Frame and time would only tell which recording a row is from by where it stands in it.
    columns = ("x", "y", "width", "height", "area", "red", "green", "blue", "peak")
    table = np.stack([data.table[column].astype(np.float64) for column in columns], axis=1)
    for index, column in enumerate(columns):
        if column in ("x", "y", "width", "height"):
            table[table[:, index] < 0, index] = np.nan
    return table


def probe(data: Dataset, split: Split, seed: int = 1234) -> tuple[Probe, ...]:
    """Train trivial models on a split and measure them on its test part.

    Parameters
    ----------
    data : Dataset
        What the split is of.
    split : Split
        Its training and test parts are used; of more than 50,000 crops a random part.
    seed : int
        Of that part and of the models.

    Returns
    -------
    tuple of Probe
        One for each of `PROBES`.

    Raises
    ------
    SpatterlibError
        If scikit-learn is not installed.
    """
    random = np.random.default_rng(seed)
    train, test = (
        np.sort(random.choice(rows, min(len(rows), _ROWS), replace=False)) for rows in (split.train, split.test)
    )
    found = []
    for name in PROBES:
        features = features_of(data, name)
        scores = [_accuracy(model, features, data.labels, train, test) for model in _models(seed)]
        found.append(Probe(name, split.name, *scores))
    return tuple(found)


def _models(seed: int) -> tuple[Any, Any]:
    try:
        from sklearn.ensemble import HistGradientBoostingClassifier
        from sklearn.impute import SimpleImputer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    except ImportError as error:
        raise SpatterlibError(missing("the confound probe", "scikit-learn", "torch", error)) from error
    linear = make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler(), LogisticRegression(max_iter=1000))
    return linear, HistGradientBoostingClassifier(random_state=seed)


def _accuracy(
    model: Any,
    features: NDArray[np.float64],
    labels: NDArray[np.int64],
    train: NDArray[np.int64],
    test: NDArray[np.int64],
) -> float:
    from threadpoolctl import threadpool_limits

    # One thread: the tables are small, and several only wait for each other on a busy machine.
    with warnings.catch_warnings(), threadpool_limits(1):
        # Columns that are wholly unknown (research layout) or constant are no news to the reader of a probe.
        warnings.simplefilter("ignore")
        model.fit(features[train], labels[train])
        return float(model.score(features[test], labels[test]))


@dataclass(frozen=True)
class Confound:
    """Something besides spatter that goes with the class from recording to recording.

    Parameters
    ----------
    name : str
        What.
    kind : {"measured", "stated", "twins"}
        A trait of the crops, something stated of the recordings, or two recordings that show the same.
    p : float
        How often chance alone would make it go with the class as closely, corrected for all traits; of twins 0.
    text : str
        A sentence that says it.
    """

    name: str
    kind: Literal["measured", "stated", "twins"]
    p: float
    text: str


def recording_labels(data: Dataset) -> NDArray[np.int64] | None:
    """``(recordings,)`` class of each, in the order of their names; None if one has several."""
    _, first, member = np.unique(data.group("recording"), return_index=True, return_inverse=True)
    labels: NDArray[np.int64] = data.labels[first]
    return labels if (data.labels == labels[member]).all() else None


def confounds(data: Dataset) -> tuple[Confound, ...]:
    """What goes with the class from recording to recording, of what has nothing to do with the shape of spatter.

    Parameters
    ----------
    data : Dataset
        Its recordings are compared; where one has several labels, only twins are looked for.

    Returns
    -------
    tuple of Confound
        At a level of 3 % for all measured traits together, and of 5 % for each that is stated.

    Notes
    -----
    The unit is the recording. A measured trait goes with the class if Student's test says so, with Bonferroni's
    correction for all traits, and the exact test that permutes the labels of recordings says so too, which needs no
    distribution. With four against four recordings the smallest exact p is 2 / 70; with three against three it is
    2 / 20, and nothing can be told.
    """
    found = [
        Confound("twins", "twins", 0.0, f"{a} and {b} show the same: {share:.0%} of the crops have a twin in the other")
        for a, b, share in twins(data)
    ]
    labels = recording_labels(data)
    if labels is None:
        return tuple(found)
    traits = measured_traits(data)
    for name, p, column in zip(TRAITS, trait_p(traits, labels), traits.T, strict=True):
        if p <= _MEASURED:
            means = ", ".join(f"{data.classes[k]} {column[labels == k].mean():.3g}" for k in np.unique(labels))
            text = f"{name} goes with the class in {len(labels)} recordings ({means}; p = {p:.2g} for all traits)"
            found.append(Confound(name, "measured", float(p), text))
    for name, values in stated_traits(data).items():
        p = _determined(values, labels)
        if p <= _LEVEL:
            by_class = [sorted({v for v, k in zip(values, labels, strict=True) if k == c}) for c in np.unique(labels)]
            parts = "; ".join(
                f"{data.classes[c]}: {', '.join(v)}" for c, v in zip(np.unique(labels), by_class, strict=True)
            )
            found.append(Confound(name, "stated", p, f"{name} alone says the class ({parts})"))
    return tuple(found)


def trait_p(traits: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """How often chance would make a trait go with the class as closely as each does.

    Parameters
    ----------
    traits : ndarray
        ``(recordings, k)`` float64; a column with NaN says nothing.
    labels : ndarray
        ``(recordings,)`` int64.

    Returns
    -------
    ndarray
        ``(k,)`` p-values of Student's test of a class against the others, corrected for all k and all classes; 1 where
        the exact test of permuted labels does not reach 5 %.

    Examples
    --------
    >>> import numpy as np
    >>> from spatterlib.learning.confounds import trait_p
    >>> traits = np.array([[1.0, 5], [1.1, 2], [0.9, 4], [1.0, 3], [2.0, 4], [2.1, 3], [1.9, 5], [2.0, 2]])
    >>> trait_p(traits, np.array([0, 0, 0, 0, 1, 1, 1, 1])).round(5).tolist()
    [0.0, 1.0]
    """
    centred = traits - traits.mean(axis=0)
    total = (centred**2).sum(axis=0)
    usable = np.isfinite(total) & (total > 1e-9 * np.maximum(np.abs(traits).max(axis=0), 1e-9) ** 2)
    scaled = np.where(usable, centred, 0.0) / np.sqrt(np.where(usable, total, 1.0))
    own, degrees = _explained(scaled, labels), len(labels) - 2
    arranged = np.array([_explained(scaled, other) for other in _arrangements(labels)])
    exact = (arranged >= own - 1e-9).mean(axis=0)
    compared = scaled.shape[1] * (1 if len(np.unique(labels)) == 2 else len(np.unique(labels)))
    found = np.ones(len(own))
    for column in np.flatnonzero(usable & (exact <= _LEVEL)) if degrees > 0 else ():
        t = (degrees * own[column] / max(1 - own[column], 1e-12)) ** 0.5
        found[column] = min(1.0, compared * beyond(float(t), degrees))
    return found


def _explained(scaled: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Share of the variance of each column that lies between a class and the others: the class that has the most."""
    names, count = np.unique(labels), len(labels)
    sums = np.stack([scaled[labels == name].sum(axis=0) ** 2 for name in names])
    sizes = np.array([(labels == name).sum() for name in names])[:, None]
    return np.asarray((sums * count / (sizes * (count - sizes))).max(axis=0))


def _determined(values: Sequence[str], labels: NDArray[np.int64]) -> float:
    """How often a value would say the class of every recording, by chance; 1 where it does not."""
    _, number = np.unique(values, return_inverse=True)

    def says(arranged: NDArray[np.int64]) -> bool:
        pairs = np.unique(np.stack([number, arranged]), axis=1)
        return bool(pairs.shape[1] == number.max() + 1)

    return float(np.mean([says(arranged) for arranged in _arrangements(labels)])) if says(labels) else 1.0


def _arrangements(labels: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """The labels in every order, each once, theirs among them; where these are many, theirs and some at random."""
    counts = np.unique(labels, return_counts=True)[1]
    ways = math.factorial(len(labels)) // math.prod(math.factorial(int(count)) for count in counts)
    if ways > _ARRANGEMENTS:
        random = np.random.default_rng(1234)
        yield labels
        yield from (random.permutation(labels) for _ in range(_ARRANGEMENTS - 1))
        return
    yield from _orders(
        np.zeros_like(labels), np.arange(len(labels)), list(zip(*np.unique(labels, return_counts=True), strict=True))
    )


def _orders(
    filled: NDArray[np.int64], free: NDArray[np.int64], left: list[tuple[Any, Any]]
) -> Iterator[NDArray[np.int64]]:
    """Every way to give the free places the labels that are left."""
    if not left:
        yield filled
        return
    (label, count), *others = left
    for chosen in combinations(range(len(free)), int(count)):
        given = filled.copy()
        given[free[list(chosen)]] = label
        yield from _orders(given, np.delete(free, list(chosen)), others)
