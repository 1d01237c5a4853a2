"""Whether a model was shown to be better than chance on recordings that it did not learn from."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from spatterlib.learning.run_facts import MetricsFields, RunFacts

__all__ = ["unproven"]

_MEND = "train on more recordings of each class"
_LIKELY = 0.05


def unproven(facts: RunFacts) -> str:
    """Why nothing shows that a model is better than chance; empty if its test shows it, or nothing is known of it.

    A model is better than chance if the 95 % interval of its accuracy, on whole recordings that were held out, lies
    above the share of the commonest class among their crops: so often is right who always names that one. A model that
    was adapted is, if so many of the labelled layers, left out of the fit, came out right by chance in 5 % at most.

    Parameters
    ----------
    facts : mapping
        ``model.json`` of a run, or what an exported file says of itself.

    Examples
    --------
    >>> from spatterlib.learning.skill import unproven
    >>> test = {"accuracy": 0.57, "accuracy_interval": [0.3, 0.8], "confusion": [[40, 30], [13, 17]], "groups": 6}
    >>> unproven({"split": {"name": "grouped", "by": "recording"}, "metrics": {"test": test}})[:60]
    'the model is not shown to be better than chance: of crops of'
    """
    thresholds = facts.get("thresholds")
    if thresholds is not None:
        labels = facts["adapted_from"]["labels"] if "adapted_from" in facts else {}
        return _of_layers(thresholds["leads"], labels, len(facts.get("classes") or "ab"))
    test, split = (facts.get("metrics") or {}).get("test") or _exported(facts), facts.get("split")
    if not test or not split or "name" not in split:
        return ""
    if split["name"] != "grouped" or "both sides" in str(split.get("by", "")):
        return (
            "the model was tested only on recordings that it learned from too, which shows nothing of others; "
            f"{_MEND}, with a grouped split"
        )
    chance, interval = _chance(test.get("confusion"), len(facts.get("classes") or "ab")), test.get("accuracy_interval")
    if interval is not None and interval[0] > chance:
        return ""
    spread = f"95 %: {interval[0]:.0%} to {interval[1]:.0%}" if interval else "too few recordings for an interval"
    return (
        f"the model is not shown to be better than chance: of crops of {test.get('groups', 'few')} recordings held out "
        f"{test['accuracy']:.0%} were right ({spread}), and chance alone gives {chance:.0%}; {_MEND}"
    )


def _of_layers(leads: Sequence[float], labels: Mapping[str, Mapping[str, str]], classes: int) -> str:
    """The same of a model that was adapted to labelled layers: a binomial test of those right, left out."""
    of_class = Counter(label for own in labels.values() for label in own.values())
    chance = max(of_class.values()) / of_class.total() if of_class else 1 / classes
    total, right = len(leads), sum(lead > 0 for lead in leads)
    likely = sum(math.comb(total, k) * chance**k * (1 - chance) ** (total - k) for k in range(right, total + 1))
    if likely <= _LIKELY:
        return ""
    return (
        f"the model is not shown to be better than chance: of {total} labelled layers left out {right} came out right, "
        f"and chance alone gives {chance:.0%}; label more layers of each class"
    )


def _exported(facts: Any) -> MetricsFields | None:
    """The test that an exported file tells of."""
    found: MetricsFields | None = facts.get("test")
    return found


def _chance(confusion: Sequence[Sequence[int]] | None, classes: int) -> float:
    """Share of the commonest class of a test; rows are true classes."""
    sizes = [sum(row) for row in confusion or ()]
    return max(sizes) / sum(sizes) if sum(sizes) else 1 / classes
