"""A model knows what its recordings looked like, and tells of a layer what is unlike them."""

from __future__ import annotations

import dataclasses
import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import spatterlib as sp
from spatterlib.errors import StoreError
from spatterlib.learning.familiar_spans import FamiliarSpans, Part, parts_of
from spatterlib.learning.looks import FEWEST, LOOKS, looks_of, span_looks
from spatterlib.learning.novelty import Familiar
from spatterlib.learning.runs import SIMULATED
from spatterlib.verdicts.judgement import Known, Span, judge

CLASSES = ("high", "low")
RIGHT, STREAKS = LOOKS.index("right"), LOOKS.index("streaks")
VOTES = 40


def recording(seed: int, label: int, **other: float) -> NDArray[np.float32]:
    """Looks of 40 crops of a recording: light, size and streaks of their own, which drift by the class."""
    random = np.random.default_rng([seed, label])
    looks = random.normal(5, 0.1, len(LOOKS)) + random.normal(0, 0.3, (VOTES, len(LOOKS)))
    count = random.integers(8, 12, VOTES)
    looks[:, STREAKS] = count
    own = random.normal(0, 0.05, len(LOOKS) - STREAKS - 1)
    own[0] += (-0.6, -0.2)[label] + other.get("drift", 0.0)
    looks[:, STREAKS + 1 :] = count[:, None] * (own + random.normal(0, 0.1, (VOTES, len(own))))
    looks[:, :16] += other.get("light", 0.0)
    return looks.astype(np.float32)


def learned(recordings: int, seed: int = 100) -> FamiliarSpans | None:
    parts: list[Part] = []
    for number in range(recordings):
        parts += parts_of(recording(seed + number, number % 2), np.arange(VOTES), number, number % 2)
    return FamiliarSpans.of(parts, CLASSES)


@cache
def known() -> FamiliarSpans:
    found = learned(60)
    assert found is not None
    return found


def test_a_span_is_the_mean_over_its_votes_and_over_its_streaks() -> None:
    looks = recording(1, 0)
    vote = np.repeat([0, 1, 2], [20, 10, 10])
    found = span_looks(looks, vote)
    light = np.mean([looks[vote == number, :STREAKS].mean(0) for number in range(3)], axis=0)
    np.testing.assert_allclose(found[:STREAKS], light, rtol=1e-5)
    np.testing.assert_allclose(found[RIGHT], looks[:, RIGHT].sum() / looks[:, STREAKS].sum(), rtol=1e-5)
    np.testing.assert_allclose(found[STREAKS] ** 2, looks[:, STREAKS].mean(), rtol=1e-5)


def test_too_few_streaks_say_nothing() -> None:
    looks = recording(1, 0)[:2]
    assert looks[:, STREAKS].sum() < FEWEST
    assert np.isnan(span_looks(looks, np.arange(2))[STREAKS:]).all()
    found = known().compare(looks, np.arange(2), "high")
    assert found.distance > 1
    assert "too few streaks" in found.reason


def test_recordings_like_those_of_the_training_are_rarely_called_unlike() -> None:
    """At most the stated share of new recordings has such a part, but for chance: 60 recordings, 3 %."""
    alarms = sum(
        any(
            part.votes and known().compare(looks[piece], np.arange(10), CLASSES[label]).distance > 1 for piece in pieces
        )
        for number in range(60)
        for label in (0, 1)
        for looks, pieces in [(recording(900 + number, label), np.arange(VOTES).reshape(4, 10))]
        for part in [parts_of(looks, np.arange(VOTES), 0, label)[0]]
    )
    assert alarms <= 12


@pytest.mark.parametrize(
    ("other", "words"),
    [({"drift": 1.2}, "mirrored, or gas from another side"), ({"light": -1.5}, "darker"), ({"light": 1.5}, "brighter")],
)
def test_what_is_unlike_is_said(other: dict[str, float], words: str) -> None:
    found = known().compare(recording(7, 0, **other), np.arange(VOTES), "high")
    assert found.distance > 1
    assert words in found.reason


def test_a_class_that_the_streaks_contradict_is_unlike() -> None:
    """A network that calls a build low whose streaks fly as those of the high ones do is not believed."""
    looks = recording(7, 0)
    assert known().compare(looks, np.arange(VOTES), "high").distance < 1
    assert known().compare(looks, np.arange(VOTES), "low").distance > 1


def test_fewer_votes_may_lie_further_off() -> None:
    looks = recording(7, 0, light=0.5)
    distances = [known().compare(looks[:count], np.arange(count), "high").distance for count in (6, 40)]
    assert distances[0] < distances[1] * 1.2


@pytest.mark.parametrize(("recordings", "rate", "place"), [(8, 2 / 9, -1), (80, 0.05, -2)])
def test_the_share_of_false_alarms_is_as_small_as_the_recordings_allow(
    recordings: int, rate: float, place: int
) -> None:
    found = learned(recordings)
    assert found is not None
    assert found.false_alarms == pytest.approx(rate)
    assert found.limits.tolist() == [distances[place] for distances in found.left_out]


def test_few_recordings_teach_nothing() -> None:
    assert learned(6) is None


def test_it_is_saved_and_read(tmp_path: Path) -> None:
    shipped = Familiar.load(SIMULATED)
    assert shipped is not None
    whole = dataclasses.replace(shipped, spans=known())
    whole.save(tmp_path)
    assert Familiar.load(tmp_path) == whole


WRONG = [{"rate": 2}, {"left_out": []}, {"left_out": [[1.0]]}, {"between": [[1]]}, {"means": "x"}, {"classes": 3}]


@pytest.mark.parametrize("wrong", WRONG)
def test_a_damaged_record_is_refused(tmp_path: Path, wrong: dict[str, object]) -> None:
    facts = json.loads((SIMULATED / "familiar.json").read_text())
    facts["spans"] = dataclasses.asdict(known()) | wrong
    (tmp_path / "familiar.json").write_text(json.dumps(facts))
    with pytest.raises(StoreError, match=r"familiar\.json is damaged"):
        Familiar.load(tmp_path)


def judged(looks: NDArray[np.float32], known_: Known) -> Span:
    sure = np.tile([0.98, 0.02], (len(looks), 1))
    return judge(np.arange(VOTES, dtype=float), np.arange(VOTES), sure, CLASSES, looks=looks, known=known_)


def test_a_layer_that_is_unlike_gets_no_verdict_and_the_reason() -> None:
    assert judged(recording(7, 0), Known(known())).label == "high"
    found = judged(recording(7, 0, light=-1.5), Known(known()))
    assert (found.label, found.leading, found.state) == (None, "high", "no verdict")
    assert found.unlike > 1
    assert "darker" in found.reason


def test_a_run_without_the_record_is_judged_crop_by_crop() -> None:
    found = judged(recording(7, 0, light=-1.5), Known())
    assert found.label == "high"
    assert found.facts()["unlike"] is None


def test_a_direction_that_the_model_never_saw_gives_no_verdict() -> None:
    assert (
        judged(recording(7, 0), Known(known(), "the gas flows to 90 degrees")).reason == "the gas flows to 90 degrees"
    )


def test_looks_are_in_the_columns_that_they_name() -> None:
    images = np.zeros((2, 40, 40, 1), np.uint8)
    images[1, :10, :10] = 255
    table = np.zeros(2, sp.DETECTION)
    table["width"], table["height"] = 60, 80
    sums = np.arange(8, dtype=np.float32)
    found = dict(zip(LOOKS, looks_of(images, table, [None, sums]).T, strict=True))
    np.testing.assert_allclose(found["cell 0 0"], np.sqrt([0, 255]), rtol=1e-6)
    np.testing.assert_allclose(found["saturated"], [0, np.sqrt(1 / 16)], rtol=1e-6)
    np.testing.assert_allclose(found["width"], np.log(60), rtol=1e-6)
    assert found["streaks"].tolist() == [-1, 0]
    assert found["rise"][1] == 7
