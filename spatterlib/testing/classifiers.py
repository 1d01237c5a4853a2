"""Checks of classifiers and their models: `spatterlib.plugins.hookspecs.spatter_classifiers`, sentence by sentence."""

from __future__ import annotations

import dataclasses
import pickle
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property, wraps
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from spatterlib.errors import SpatterlibError
from spatterlib.plugins.capabilities import (
    HasSuffixes,
    SupportsEngines,
    SupportsLastLayer,
    SupportsReady,
    SupportsRecognise,
)
from spatterlib.plugins.classifier import Classifier, Engine, Epoch, Model, Samples
from spatterlib.plugins.contract import check_suffixes
from spatterlib.testing.laws import DATACLASS, Check, checks, must, shortened, steady
from spatterlib.types import Image

__all__ = ["Subject", "classifier_checks"]

CLASSES = ("low", "high")
_NEAR, _ENGINES = 1e-5, 1e-4
NOISE = np.random.default_rng(0).bytes(3000)


def classifier_checks(classifier: Classifier, model: Callable[[], Model] | None = None) -> tuple[Check, ...]:
    """The laws of a classifier and of its models as checks.

    Parameters
    ----------
    classifier : Classifier
        An instance; one of few epochs, two or three, is checked as well as one of many, and sooner.
    model : callable, optional
        Gives a model of it; for a class that refuses to ``fit`` because its models are made elsewhere. Then the laws
        of learning are left out.

    Returns
    -------
    tuple of callable
        Checks, named as the laws; each raises `spatterlib.errors.LawError` if its law is broken.

    Examples
    --------
    >>> import spatterlib as sp
    >>> from spatterlib.testing import classifier_checks
    >>> [check.__name__ for check in classifier_checks(sp.make("classifier", "lenet5"))][:2]
    ['it_learns_a_model', 'the_same_seed_gives_the_same_model']
    """
    subject = Subject(classifier, model)
    return checks((*(() if model else LEARNING), *MODEL, *(_of_the_classifier(law) for law in DATACLASS)), subject)


@dataclass(frozen=True, eq=False)
class Subject:
    """A classifier with crops to learn from, and one model of it that all checks share.

    Parameters
    ----------
    classifier : Classifier
        An instance.
    given : callable, optional
        Gives the model, if it is not to be learned.
    """

    classifier: Classifier
    given: Callable[[], Model] | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return str(self.classifier)

    @cached_property
    def model(self) -> Model:
        """Learned from `samples`, or given."""
        return self.given() if self.given else self.fit(self.samples())

    def samples(self, count: int = 48) -> Samples:
        """Glows of two widths; every fourth is for validation."""
        images = self.classifier.preprocessing.prepare([_glow(number) for number in range(count)])
        return Samples(images, np.arange(count) % 2, np.flatnonzero(np.arange(count) % 4 < 3))

    def fit(self, train: Samples, **options: Any) -> Model:
        """A model that learned from those samples, on the CPU."""
        rows = np.setdiff1d(np.arange(len(train.images) // 4 * 4), train.rows)
        validation = dataclasses.replace(train, rows=rows[rows < 48])
        return self.classifier.fit(train, validation, classes=CLASSES, device="cpu", **options)

    @property
    def prepared(self) -> Image:
        """``(7, size, size, channels)`` uint8."""
        return self.model.preprocessing.prepare([_glow(number) for number in range(100, 107)])


def _glow(number: int) -> Image:
    """A crop of any size: wide glow for odd numbers, narrow for even ones."""
    random = np.random.default_rng(number)
    height, width = random.integers(40, 90, 2)
    y, x = np.mgrid[:height, :width]
    distance = (x - width / 2) ** 2 + (y - height / 2) ** 2
    light = random.normal(20, 4, (height, width)) + 200 * np.exp(-distance / (600 if number % 2 else 60))
    return np.asarray(np.clip(light[..., None] * [1.0, 0.8, 0.5], 0, 255), np.uint8)


def _of_the_classifier(law: Callable[..., None]) -> Callable[..., None]:
    @wraps(law)
    def run(subject: Subject) -> None:
        law(subject.classifier)

    return run


def _must_agree(one: NDArray[Any], other: NDArray[Any], whose: str) -> None:
    one, other = np.asarray(one), np.asarray(other)
    must(one.shape == other.shape, f"{whose}: {one.shape} instead of {other.shape}")
    off = float(np.abs(one - other).max(initial=0))
    must(off <= _NEAR, f"{whose}: off by {off:.2g}")


def it_learns_a_model(subject: Subject) -> None:
    """Learning ends: "returns a model that turns crops into scores without it"."""
    must(isinstance(subject.model, Model), f"fit returned {shortened(subject.model)}, which is no Model")
    classes = subject.model.classes
    must(tuple(classes) == CLASSES, f"its classes are {classes} instead of {CLASSES}")


def the_same_seed_gives_the_same_model(subject: Subject) -> None:
    """Whatever was done before: "The same seed gives the same model"."""
    np.random.default_rng().random()
    again = subject.fit(subject.samples())
    _must_agree(again.scores(subject.prepared), subject.model.scores(subject.prepared), "a second training")


class _Stop(Exception):  # noqa: N818 - no error
    """What interrupts a training."""


def _stop_behind_the_first(epoch: Epoch) -> None:
    if epoch.ended:
        raise _Stop


def a_training_goes_on(subject: Subject) -> None:
    """An interruption costs nothing: "given a ``checkpoint`` it goes on where that was left"."""
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = str(Path(folder) / "checkpoint")
        seen: list[Epoch] = []
        try:
            subject.fit(subject.samples(), checkpoint=checkpoint, notify=_stop_behind_the_first)
        except _Stop:
            must(Path(checkpoint).exists(), "an epoch has ended and there is no checkpoint")
        resumed = subject.fit(subject.samples(), checkpoint=checkpoint, notify=seen.append)
    _must_agree(resumed.scores(subject.prepared), subject.model.scores(subject.prepared), "a resumed training")
    begun = {epoch.number for epoch in seen if not epoch.ended}
    must(1 not in begun, "it began anew with the first epoch, though there was a checkpoint behind it")


def its_arrays_stay_as_they_are(subject: Subject) -> None:
    """Samples may be a memory map that others read: "The arrays are not modified"."""
    samples = subject.samples()
    images, labels, rows = samples.images.copy(), samples.labels.copy(), samples.rows.copy()
    subject.fit(samples)
    for name, before in (("images", images), ("labels", labels), ("rows", rows)):
        must(np.array_equal(getattr(samples, name), before), f"it modified {name}")


def other_rows_are_not_looked_at(subject: Subject) -> None:
    """They may be those that judge it later: "no row outside ``rows`` is looked at"."""
    samples = subject.samples()
    more = np.concatenate([samples.images, 255 - samples.images])
    labels = np.concatenate([samples.labels, 1 - samples.labels])
    other = subject.fit(Samples(more, labels, samples.rows))
    _must_agree(other.scores(subject.prepared), subject.model.scores(subject.prepared), "with other rows beside")


def epochs_are_told(subject: Subject) -> None:
    """Whoever waits sees how far it is: "``notify`` gets every epoch at its end"."""
    seen: list[Epoch] = []
    subject.fit(subject.samples(), notify=seen.append)
    ended = [epoch for epoch in seen if epoch.ended]
    numbers = [epoch.number for epoch in ended]
    must(ended and numbers == list(range(1, ended[-1].of + 1)), f"the epochs that ended are {numbers}")


def scores_have_a_column_for_each_class(subject: Subject) -> None:
    """Every crop is judged: "A model's ``scores`` are finite, a column for each of ``classes``"."""
    from hypothesis import given

    from spatterlib.testing.strategies import crops

    columns = len(subject.model.classes)

    @steady(25)  # type: ignore[untyped-decorator]
    @given(crops())
    def look(crop: Image) -> None:
        found = subject.model.scores(subject.model.preprocessing.prepare([crop]))
        right = found.shape == (1, columns) and bool(np.isfinite(found).all())
        must(right, f"a crop of {crop.shape[1]}x{crop.shape[0]} px gives {shortened(found)}")

    look()


def no_crops_have_no_scores(subject: Subject) -> None:
    """Nothing is a batch too: "for any prepared crop, and for none at all"."""
    found = subject.model.scores(subject.prepared[:0])
    must(found.shape == (0, len(subject.model.classes)), f"no crops give an array of the shape {found.shape}")


def other_crops_do_not_matter(subject: Subject) -> None:
    """Batches are for speed: "the answer for a crop does not depend on the other crops"."""
    together = subject.model.scores(subject.prepared)
    for number in range(len(together)):
        alone = subject.model.scores(subject.prepared[number : number + 1])
        _must_agree(alone[0], together[number], f"crop {number} alone")


def a_saved_model_is_the_same(subject: Subject) -> None:
    """A run folder keeps it: "A model that was saved and loaded gives the same scores"."""
    facts = {"temperature": 1.75}
    with tempfile.TemporaryDirectory() as folder:
        subject.model.save(folder, facts)
        loaded = type(subject.classifier).load(folder)
    must(tuple(loaded.classes) == tuple(subject.model.classes), f"its classes are now {loaded.classes}")
    must(facts.items() <= dict(loaded.facts).items(), f"its facts are now {shortened(loaded.facts)}, not {facts}")
    _must_agree(loaded.scores(subject.prepared), subject.model.scores(subject.prepared), "saved and loaded")


def a_pickled_model_is_the_same(subject: Subject) -> None:
    """It is sent to workers: "one that was pickled gives the same scores, too"."""
    copy = pickle.loads(pickle.dumps(subject.model))  # noqa: S301 - made here
    _must_agree(copy.scores(subject.prepared), subject.model.scores(subject.prepared), "pickled and back")


def suffixes_are_in_small_letters(subject: Subject) -> None:
    """Names are compared so: "``suffixes``, a tuple such as ``(".onnx",)``"."""
    if isinstance(subject.classifier, HasSuffixes):
        check_suffixes(subject.classifier.suffixes)


def other_files_are_not_recognised(subject: Subject) -> None:
    """A file belongs to one classifier: "a file that holds no model is not recognised"."""
    if not isinstance(subject.classifier, SupportsRecognise):
        return
    with tempfile.TemporaryDirectory() as folder:
        for name, data in (("notes.txt", b"Notes on the build of 3 May."), ("empty", b""), ("noise.bin", NOISE)):
            (file := Path(folder) / name).write_bytes(data)
            own = False
            with suppress(SpatterlibError):
                own = subject.classifier.recognises(str(file))
            must(not own, f"it recognises {name} as its own")


def it_is_ready_where_it_learns(subject: Subject) -> None:
    """Nobody is refused in vain: "nothing where ``fit`` learns"."""
    if isinstance(subject.classifier, SupportsReady):
        subject.classifier.ready("cpu")


def engines_agree(subject: Subject) -> None:
    """Who computes does not matter: "the scores of all engines are the same to 1e-4"."""
    if not isinstance(subject.model, SupportsEngines):
        return
    scores = {}
    for engine in get_args(Engine):
        with suppress(SpatterlibError):  # it is not installed, or this model has no such way
            scores[engine] = subject.model.with_engine(engine).scores(subject.prepared)
    for engine, other in scores.items():
        off = float(np.abs(other - subject.model.scores(subject.prepared)).max())
        must(off <= _ENGINES, f"{engine}: off by {off:.2g}")


def the_last_layer_is_linear(subject: Subject) -> None:
    """It is fitted alone: "its scores are the linear layer of what is embedded, to 1e-4"."""
    model, images = subject.model, subject.prepared
    if not isinstance(model, SupportsLastLayer):
        return
    seen, (weights, biases) = model.embed(images), model.last_layer
    must(seen.shape == (len(images), weights.shape[1]), f"embed gave {seen.shape} for weights of {weights.shape}")
    other = model.with_last_layer(-weights, 1 - biases)
    for own, (weights_, biases_) in ((model, (weights, biases)), (other, (-weights, 1 - biases))):
        # Softmax does not know what is added to all scores, so a network of one output has one of two.
        off = (seen @ weights_.T + biases_) - own.scores(images)
        must(float(np.ptp(off, axis=1).max()) <= _ENGINES, f"the last layer is off by {np.ptp(off, axis=1).max():.2g}")


LEARNING = (
    it_learns_a_model,
    the_same_seed_gives_the_same_model,
    a_training_goes_on,
    its_arrays_stay_as_they_are,
    other_rows_are_not_looked_at,
    epochs_are_told,
    it_is_ready_where_it_learns,
)
MODEL = (
    scores_have_a_column_for_each_class,
    no_crops_have_no_scores,
    other_crops_do_not_matter,
    a_saved_model_is_the_same,
    a_pickled_model_is_the_same,
    engines_agree,
    the_last_layer_is_linear,
    suffixes_are_in_small_letters,
    other_files_are_not_recognised,
)
