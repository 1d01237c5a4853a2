"""Whether a recording was found and filmed as those that a model learned from, as far as both are known."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from spatterlib.learning.run_facts import RunFacts

__all__ = ["unlike", "warning"]

# Share by which a frame rate may differ: containers round theirs.
_RATE = 0.02


def unlike(facts: RunFacts, settings: Mapping[str, Any]) -> list[str]:
    """What differs, each in words; nothing where the record of the training or the recording does not say.

    Parameters
    ----------
    facts : mapping
        ``model.json`` of a run.
    settings : mapping
        ``detector``, ``filters`` and ``video`` (width, height, fps) of what is looked at.

    Examples
    --------
    >>> from spatterlib.verdicts.training_mismatch import unlike
    >>> run = {"sources": [{"video": {"width": 640, "height": 360, "fps": 25.0}}]}
    >>> unlike(run, {"video": {"width": 1280, "height": 720, "fps": 60.0}})
    ['frames of 1280x720 instead of 640x360', '60 frames/s instead of 25']
    """
    sources, video = facts.get("sources") or [], settings.get("video") or {}
    return [
        *_settings("detector", [settings.get("detector")], [[source.get("detector")] for source in sources]),
        *_settings("filters", settings.get("filters"), [source.get("filters") for source in sources]),
        *_sizes(video, [source.get("video") or {} for source in sources]),
    ]


def warning(name: str, model: str, found: Sequence[str]) -> str:
    """What to say of it, in one line.

    Examples
    --------
    >>> from spatterlib.verdicts.training_mismatch import warning
    >>> warning("a.mp4", "run", ["60 frames/s instead of 25"]).partition(": the")[0]
    'a.mp4 is not like what run learned from: 60 frames/s instead of 25'
    """
    about = f"{name} is not like what {model or 'the model'} learned from: {'; '.join(found)}"
    return f"{about}: the verdict may be wrong; use the training's settings, or train on recordings like this one"


def _settings(what: str, own: Any, others: Sequence[Any]) -> Iterable[str]:
    """Plugins with other parameters than in any recording of the training."""
    if not others or own is None or any(item is None or None in item for item in [own, *others]):
        return
    known = dict.fromkeys(map(_text, others))
    if _text(own) not in known:
        yield f"{what} {_shown(own)} instead of {' or '.join(_shown(json.loads(text)) for text in known)}"


def _text(plugins: Any) -> str:
    return json.dumps(plugins, sort_keys=True, default=list)


def _shown(plugins: Sequence[Mapping[str, Any]]) -> str:
    parts = []
    for plugin in plugins:
        values = ", ".join(f"{name} {value}" for name, value in plugin.items() if name != "id")
        parts.append(f"{plugin.get('id')} ({values})" if values else str(plugin.get("id")))
    return " + ".join(parts) or "none"


def _sizes(own: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    sizes = {(item.get("width"), item.get("height")) for item in others} or {(None, None)}
    size = (own.get("width"), own.get("height"))
    if all(None not in item for item in [size, *sizes]) and size not in sizes:
        known = " or ".join(f"{width}x{height}" for width, height in sorted(sizes))
        yield f"frames of {size[0]}x{size[1]} instead of {known}"
    rates, rate = {item.get("fps") for item in others} or {None}, own.get("fps")
    if rate and all(rates) and not any(abs(rate - known) <= _RATE * known for known in rates if known):
        yield f"{rate:g} frames/s instead of {' or '.join(f'{known:g}' for known in sorted(filter(None, rates)))}"
