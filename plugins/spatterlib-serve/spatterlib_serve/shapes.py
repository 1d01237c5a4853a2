"""What goes in and comes out, as the OpenAPI description shows it."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Annotated, Any, Literal, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, create_model

import spatterlib as sp
from spatterlib.errors import ParameterError, PluginError, one_line
from spatterlib_serve.problems import ProblemError

__all__ = [
    "Classified",
    "ClassifyOptions",
    "Crop",
    "Health",
    "JobView",
    "Model",
    "Plugins",
    "PredictOptions",
    "Progress",
]

Name = Annotated[str | None, Field(max_length=200)]
_IDENTITY = 'an id, or a JSON object with its parameters, such as {"id": "area", "min_area": 500}'


class ClassifyOptions(BaseModel):
    """Query of `POST /classify`."""

    model_config = ConfigDict(extra="forbid")
    model: Name = Field(None, description="Name of a model, from /models; by default the one marked as current")
    name: Name = Field(None, description="What a crop is called that comes without a form")


def _parameters(record: Any) -> dict[str, Any]:
    """A parameter for each field of a record that is an option of the command line too, with its text and limits."""
    hints, found = get_type_hints(record), {}
    for item in dataclasses.fields(record):
        if "help" in item.metadata and item.metadata.get("option", True):
            low, high = item.metadata.get("range", (None, None))
            text = item.metadata["help"].rstrip(".") + (f"; by default {item.default}" if item.default else "")
            limits: dict[str, Any] = {"ge": low, "le": None if high == math.inf else high}
            if low is None:
                limits = {} if hints[item.name] is bool else {"max_length": 200}
            hint = list[Annotated[str, Field(max_length=200)]] if item.metadata.get("multiple") else hints[item.name]
            found[item.name] = (hint | None, Field(None, description=text, **limits))
    return found


_Rules: Any = create_model("_Rules", **_parameters(sp.Rules))
_Report: Any = create_model("_Report", **_parameters(sp.ReportSettings))


class PredictOptions(_Rules, _Report):
    """Query of `POST /predict`: what `spatterlib.predict` knows too."""

    model_config = ConfigDict(extra="forbid")
    model: Name = Field(None, description="Name of a model, from /models; by default the one marked as current")
    name: Name = Field(None, description="What the video is called; by default the name that the form gives")
    window: float = Field(60.0, ge=1, le=86400, description="S, length of the windows")
    gap: Annotated[float, Field(gt=0, le=86400)] | Literal["auto"] = Field(
        "auto", description="S, pause that separates layers"
    )
    fps: float | None = Field(None, gt=0, le=1e6, description="The camera's frames per second, if the file's are not")
    crops: int = Field(6, ge=0, le=24, description="Crops of each kind shown as evidence")
    detector: str | None = Field(None, max_length=2000, description=f"Instead of the usual detector: {_IDENTITY}")
    filters: list[Annotated[str, Field(max_length=2000)]] | None = Field(
        None, max_length=20, description=f"Instead of the usual filters; each {_IDENTITY}"
    )

    def arguments(self, classes: tuple[str, ...]) -> dict[str, Any]:
        """For `spatterlib.predict`, as JSON.

        Raises
        ------
        ProblemError
            422 if the model does not know the class that is expected, or a plugin is not there.
        """
        from spatterlib.plugins import identity

        found: dict[str, Any] = {"window": self.window, "gap": self.gap, "fps": self.fps, "crops": self.crops}
        found["rules"] = self.model_dump(include=set(_Rules.model_fields), exclude_none=True)
        found["report"] = self.model_dump(include=set(_Report.model_fields), exclude_none=True)
        try:
            sp.Rules(**found["rules"]).check(classes)
            sp.ReportSettings(**found["report"]).check(self.expected)
            if self.detector is not None:
                found["detector"] = identity(sp.make("detector", _spec(self.detector)))
            if self.filters is not None:
                found["filters"] = [identity(sp.make("filter", _spec(text))) for text in self.filters]
        except (ParameterError, PluginError, TypeError, ValueError) as error:
            raise ProblemError(422, "parameter", one_line(error)) from error
        return found


def _spec(text: str) -> Any:
    """An id, or an identity in JSON."""
    if not text.lstrip().startswith("{"):
        return text
    try:
        found = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise ParameterError(f"a plugin is {_IDENTITY}; this is no JSON: {error}") from error
    if not isinstance(found.get("id"), str):
        raise ParameterError(f"a plugin is {_IDENTITY}; got no id that is text")
    return found


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no number")


class Progress(BaseModel):
    """How far a job is."""

    done: int = Field(description="Frames looked at")
    expected: int = Field(description="Frames to look at")
    crops: int = Field(description="Crops so far")
    preparing: tuple[int, int] | None = Field(
        default=None, description="While kernels are compiled, once a machine: how many are, of how many"
    )


class JobView(BaseModel):
    """A job."""

    id: str
    state: Literal["queued", "running", "done", "failed"]
    name: str
    model: str
    video: dict[str, Any] = Field(description="Seconds, frames, width and height in px, bytes")
    created: str = Field(description="When it came, UTC", json_schema_extra={"format": "date-time"})
    started: str | None = Field(description="When it began, the last time")
    finished: str | None
    waiting: int | None = Field(description="How many are before it in the queue")
    progress: Progress
    error: str | None = Field(description="Why it failed")
    caller: str | None = Field(description="Name of the key that it came with, or the address; null: not recorded")
    result: dict[str, Any] | None = Field(description="The verdict, without rows and crops; null in a list of jobs")
    links: dict[str, str]


class Crop(BaseModel):
    """What a model says of one crop."""

    name: str
    width: int
    height: int
    label: str | None = Field(description="The most probable class; none for a crop that is too dark")
    probabilities: dict[str, float] | None = Field(description="Of each class, calibrated")
    reason: str | None = Field(description="Why there is no label")
    distance: float | None = Field(description="From the crops of the training; above 1 is far; none: not known")
    far: bool | None


class Classified(BaseModel):
    """Answer of `POST /classify`, in the order of the request."""

    model: str
    simulated: bool | None = Field(description="true: the model learned from simulated recordings only")
    classes: list[str]
    crops: list[Crop]


class Model(BaseModel):
    """A model that may be asked for."""

    name: str
    current: bool = Field(description="Whether it is taken when no model is named")
    usable: bool
    error: str | None
    classifier: str | None
    classes: list[str] | None
    simulated: bool | None = Field(description="true: it learned from simulated recordings only; null: not known")
    created: str | None
    accuracy: float | None = Field(
        description="Share of test crops that were right, in `split`; says nothing without it"
    )
    split: dict[str, Any] | None = Field(description="How test crops were held back from training")


class Plugins(BaseModel):
    """What is installed."""

    detectors: list[str]
    filters: list[str]
    stores: list[str]
    classifiers: list[str]
    failed: list[str]


class Health(BaseModel):
    """The service answers."""

    status: Literal["ok"] = "ok"
    version: str
