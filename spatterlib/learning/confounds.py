"""Confound probe: how far models get that cannot see spatter.

If the mean colour, the size of the box or the background alone tell the classes apart, an image classifier
that does so too has shown nothing.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spatterlib.common.install_hints import missing
from spatterlib.errors import SpatterlibError
from spatterlib.learning.crop_cache import FEATURES
from spatterlib.learning.dataset import Dataset
from spatterlib.learning.splits import Split

__all__ = ["PROBES", "Probe", "probe"]

_ROWS = 50_000
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
