"""Controls generated from a plugin's dataclass, and the plugin made of what they say."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args, get_origin, get_type_hints

import gradio as gr

import spatterlib as sp
from spatterlib_demo.markup import area, html

__all__ = ["Controls", "changed", "fields_of", "slider"]


def fields_of(class_: type) -> list[dataclasses.Field[Any]]:
    """Parameters of a plugin."""
    return [item for item in dataclasses.fields(class_) if item.init]


def _control(class_: type, item: dataclasses.Field[Any], prefix: str) -> gr.components.Component:
    """A slider for a number, a box for yes or no, a list for a choice, JSON for everything else."""
    hint = get_type_hints(class_)[item.name]
    default = item.default if item.default is not dataclasses.MISSING else None
    named: dict[str, Any] = {
        "label": item.name.replace("_", " "),
        "info": item.metadata.get("help", ""),
        "elem_id": f"{prefix}-{item.name}",
    }
    if hint is bool:
        return gr.Checkbox(value=bool(default), **named)
    if get_origin(hint) is Literal:
        return gr.Dropdown([str(choice) for choice in get_args(hint)], value=str(default), **named)
    if hint in (int, float) and default is not None:
        low, high, step = _range(item, hint, default)
        return slider(low, high, default, step, **named)
    return gr.Textbox(value=json.dumps(default), max_lines=1, **named)


def slider(low: float, high: float, value: float, step: float, **options: Any) -> gr.Slider:
    """A slider whose number, if somebody empties it, counts as the one that it began with."""
    made = gr.Slider(low, high, value=value, step=step, **options)
    checked = made.preprocess
    made.preprocess = lambda given: checked(value if given is None else given)
    return made


def _range(item: dataclasses.Field[Any], hint: type, default: float) -> tuple[float, float, float]:
    """Where the plugin says none: up to four times the default."""
    top = 4 * default if default > 0 else 10
    low, high = item.metadata.get("range", (min(0, 4 * default), top))
    size = high - low
    step = size / 100 if hint is float and size < 1000 else 100 if size >= 1000 else 1
    return low, high, item.metadata.get("step", step)


def _value(class_: type, item: dataclasses.Field[Any], given: Any) -> Any:
    hint = get_type_hints(class_)[item.name]
    if hint is int and isinstance(given, float) and given.is_integer():
        return int(given)
    if isinstance(given, str) and hint is not str and get_origin(hint) is not Literal:
        try:
            return json.loads(given)
        except json.JSONDecodeError as error:
            raise sp.errors.ParameterError(
                f"{item.name} must be written as JSON, such as [2, 1]; got {given}"
            ) from error
    return json.loads(given) if hint is str and given.startswith('"') else given


class Controls:
    """Controls of every installed plugin of one kind; those of the chosen one are shown.

    Parameters
    ----------
    kind : str
        "detector" or "filter".
    prefix : str
        Of the controls' ids on the page.
    ids : sequence of str
        Which plugins.
    chosen : str
        Which is shown at first; empty = all.
    """

    def __init__(self, kind: str, prefix: str, ids: Sequence[str], chosen: str = "") -> None:
        self.kind, self.ids = kind, list(ids)
        self.classes: Mapping[str, type] = {id_: getattr(sp.catalog(), f"{kind}s")[id_] for id_ in ids}
        self.groups: list[gr.Group] = []
        self.components: list[gr.components.Component] = []
        self.places: dict[str, slice] = {}
        for id_, class_ in self.classes.items():
            begin = len(self.components)
            with gr.Group(visible=chosen in ("", id_)) as group:
                if not chosen and fields_of(class_):
                    area(html("<h2>{}</h2>", id_), padding=True)
                self.components += [_control(class_, item, f"{prefix}-{id_}") for item in fields_of(class_)]
            self.groups.append(group)
            self.places[id_] = slice(begin, len(self.components))

    def shown(self, chosen: str) -> list[Any]:
        """Updates of the groups."""
        return [gr.update(visible=id_ == chosen) for id_ in self.ids]

    def identity(self, id_: str, values: Sequence[Any]) -> dict[str, Any]:
        """``{"id": ..., parameter: value}`` of the values of all components."""
        class_ = self.classes[id_]
        own = zip(fields_of(class_), values[self.places[id_]], strict=True)
        return {"id": id_} | {item.name: _value(class_, item, value) for item, value in own}


def changed(kind: str, identity: Mapping[str, Any]) -> dict[str, Any]:
    """Only what differs from the defaults."""
    class_ = getattr(sp.catalog(), f"{kind}s")[identity["id"]]
    plain = {
        item.name: list(item.default) if isinstance(item.default, tuple) else item.default for item in fields_of(class_)
    }
    return {name: identity[name] for name, default in plain.items() if identity[name] != default}
