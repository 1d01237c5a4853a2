"""What each command answers with ``--json``: a dataclass each, every field with its meaning and unit.

`docs/scripting.md` and `docs/schema.json` are written from them. An answer is made and written at once: frozen and
comparable, these classes would cost every start of a command 17 ms more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal


@dataclass(eq=False, repr=False)
class StoreInfo:
    """`info` of a store."""

    kind: Annotated[Literal["store"], "what it is"]
    complete: Annotated[bool | None, "whether an extraction came to its end; null where the store does not say"]
    state: Annotated[str | None, "why not, otherwise"]
    detections: Annotated[int, "rows"]
    frames: Annotated[int, "frames in the log"]
    decoded: Annotated[int, "frames that decoded"]
    spatter_frames: Annotated[int, "frames with at least one row"]
    layers: Annotated[int, "layers that the rows fall into"]
    gap: Annotated[str, "how layers were told apart, in words"]
    columns: Annotated[list[str], "names of its columns, those beside the table such as labels too"]
    attrs: Annotated[dict[str, Any], "all else that the store says: recording, detector, filters, versions"]


@dataclass(eq=False, repr=False)
class VideoInfo:
    """`info` of a recording."""

    kind: Annotated[Literal["video"], "what it is"]
    width: Annotated[int, "px"]
    height: Annotated[int, "px"]
    frames: Annotated[int, "frames that are expected"]
    duration: Annotated[float, "s, from the first time to the last"]
    identity: Annotated[dict[str, Any], "what the reader says: name, format, coding, digest"]


@dataclass(eq=False, repr=False)
class ModelInfo:
    """`info` of a run folder."""

    kind: Annotated[Literal["model"], "what it is"]
    facts: Annotated[dict[str, Any], "the record of the run"]


@dataclass(eq=False, repr=False)
class RecordingDone:
    """One recording of `extract`."""

    video: Annotated[str, "the recording"]
    out: Annotated[str, "its store"]
    frames: Annotated[int | None, "frames that should have been there; null where it failed"]
    decoded: Annotated[int | None, "frames that decoded"]
    detections: Annotated[int | None, "rows in the store"]
    layers: Annotated[int | None, "layers"]
    seconds: Annotated[float | None, "s, how long it took"]
    resumed: Annotated[int | None, "frames that were in the store already"]
    state: Annotated[Literal["done", "resumed", "there", "incomplete", "failed"], "what became of it"]
    error: Annotated[str | None, "why it failed"]


@dataclass(eq=False, repr=False)
class Extracted:
    """`extract`."""

    videos: Annotated[list[RecordingDone], "each recording"]
    failed: Annotated[int, "how many recordings failed"]
    frames: Annotated[int, "of all together"]
    decoded: Annotated[int, "of all together"]
    detections: Annotated[int, "of all together"]


@dataclass(eq=False, repr=False)
class Bounds:
    """An estimate, and bounds that hold the truth in 90 % of all cases."""

    value: Annotated[float, "the estimate"]
    low: Annotated[float, "lower bound"]
    high: Annotated[float, "upper bound"]


@dataclass(eq=False, repr=False)
class RecordingForecast:
    """One recording of `forecast`, or all together."""

    video: Annotated[str, "the recording"]
    frames: Annotated[int, "frames to look at"]
    sampled: Annotated[int, "frames that were looked at for this"]
    seconds: Annotated[Bounds, "s, time with one worker"]
    bytes: Annotated[Bounds, "size of the store"]
    detections: Annotated[Bounds, "rows of the store"]


@dataclass(eq=False, repr=False)
class Forecasts:
    """`forecast`."""

    videos: Annotated[list[RecordingForecast], "each recording that could be looked at"]
    total: Annotated[RecordingForecast, "all together"]
    errors: Annotated[list[str], "why others could not"]


@dataclass(eq=False, repr=False)
class Shown:
    """`show`."""

    path: Annotated[str, "the picture"]
    kind: Annotated[Literal["crops", "frame"], "what it shows"]
    frame: Annotated[int | None, "number of the frame; null for crops"]
    count: Annotated[int, "crops that it shows, or boxes in the frame"]
    simulated: Annotated[bool | None, "true: the recording is marked as simulated; null: it does not say"]


@dataclass(eq=False, repr=False)
class Configuration:
    """`config`: by section, all settings by name; null where one is not set."""

    sections: Annotated[dict[str, dict[str, Any]], "section to settings"]


@dataclass(eq=False, repr=False)
class Judged:
    """A layer or window of `predict`."""

    number: Annotated[int, "from 1"]
    start: Annotated[float | None, "s, of its first crop; null without crops"]
    stop: Annotated[float | None, "s, of its last crop; null without crops"]
    label: Annotated[str | None, "the class; null where the verdict abstains"]
    leading: Annotated[str | None, "the most probable class, decided or not"]
    probability: Annotated[float | None, "of `leading`, calibrated; null without votes"]
    low: Annotated[float | None, "lower end of its 95 % interval"]
    high: Annotated[float | None, "upper end"]
    votes: Annotated[int, "events by seconds"]
    events: Annotated[int, "boxes that overlap from frame to frame are one"]
    crops: Annotated[int, "crops with a vote"]
    far: Annotated[float | None, "share of crops unlike the training's; null if not checked"]
    state: Annotated[str, "OK, attention, critical, decided, no verdict"]
    reason: Annotated[str, "why, in words"]
    first_frame: Annotated[int, "of its crops; -1 without"]
    last_frame: Annotated[int, "of its crops; -1 without"]
    right: Annotated[float | None, "how often a layer so judged is right in recordings held out; null if not known"]
    unlike: Annotated[float | None, "how far it lies from the training's recordings, above 1 is far; null: not checked"]


@dataclass(eq=False, repr=False)
class ClassChange:
    """Where a build goes over from one class to another."""

    layer: Annotated[int, "in which it happens"]
    time: Annotated[float, "s, of the first crop behind it"]
    before: Annotated[str, "class before"]
    after: Annotated[str, "class behind"]


@dataclass(eq=False, repr=False)
class Predicted:
    """`predict`."""

    source: Annotated[str, "the recording or store"]
    label: Annotated[str | None, "the class; null unless all decided layers agree"]
    state: Annotated[str, "the worst of the layers'"]
    text: Annotated[str, "a sentence"]
    summary: Annotated[Mapping[str, Any], "counts, shares and seconds, as in reports"]
    classes: Annotated[list[str], "of the model"]
    layers: Annotated[list[Judged], "the verdict on each layer"]
    windows: Annotated[list[Judged], "the verdict on each window"]
    changes: Annotated[list[ClassChange], "where the class changes"]
    shares: Annotated[Sequence[Mapping[str, Any]], "where no crop has a time: label, crops, share and its interval"]
    model: Annotated[Mapping[str, Any], "name, digest, split, accuracy"]
    reports: Annotated[list[str], "files that were written"]


@dataclass(eq=False, repr=False)
class Verified:
    """`verify`."""

    report: Annotated[str, "the report"]
    holds: Annotated[bool, "whether nothing was found that does not hold"]
    checked: Annotated[list[int], "layers that were computed again"]
    layers: Annotated[int, "how many the report has"]
    faults: Annotated[list[str], "what does not hold"]
    remarks: Annotated[list[str], "what differs without being a fault"]


@dataclass(eq=False, repr=False)
class Converted:
    """`convert`."""

    source: Annotated[str, "store that was read"]
    target: Annotated[str, "store that was written"]


@dataclass(eq=False, repr=False)
class StoreChecked:
    """`check`."""

    store: Annotated[str, "the store"]
    whole: Annotated[bool, "whether nothing was found damaged"]
    rows: Annotated[int | None, "rows; null where the store cannot be opened any more"]
    safe: Annotated[int, "rows that are wholly as they were written"]
    checksums: Annotated[bool, "false: made by a version without; changed values are not found"]
    damage: Annotated[list[str], "what is damaged: the array, and which rows"]


@dataclass(eq=False, repr=False)
class Parameter:
    """A parameter of a plugin."""

    name: Annotated[str, "its name"]
    default: Annotated[Any, "its default"]
    help: Annotated[str, "what it does, with its unit"]


@dataclass(eq=False, repr=False)
class PluginEntry:
    """A detector, filter, store or classifier."""

    kind: Annotated[str, "which of these"]
    id: Annotated[str, "its id"]
    purpose: Annotated[str, "what it does"]
    distribution: Annotated[str, "the package that brings it"]
    version: Annotated[str | None, "of the package; null for a built-in"]
    parameters: Annotated[list[Parameter], "its parameters"]


@dataclass(eq=False, repr=False)
class PluginFault:
    """A plugin that did not load, or is there twice."""

    plugin: Annotated[str, "which"]
    reason: Annotated[str, "why it cannot be used"]


@dataclass(eq=False, repr=False)
class Plugins:
    """`plugins`."""

    plugins: Annotated[list[PluginEntry], "what is installed"]
    faults: Annotated[list[PluginFault], "what cannot be used"]


@dataclass(eq=False, repr=False)
class Simulated:
    """`simulate`."""

    path: Annotated[str, "the recording"]
    truth: Annotated[str, "the file of its truth"]
    frames: Annotated[int, "frames"]
    events: Annotated[int, "spatter events"]
    spatter_frames: Annotated[int, "frames with events"]
    streaks: Annotated[int, "streaks"]
    layers: Annotated[int, "layers"]


@dataclass(eq=False, repr=False)
class LeftOut:
    """Crops of one source that were not used."""

    source: Annotated[str, "the store or file"]
    black: Annotated[int, "too dark"]
    undecodable: Annotated[int, "that do not decode"]


@dataclass(eq=False, repr=False)
class Trained:
    """`train`."""

    path: Annotated[str, "the run folder"]
    classifier: Annotated[dict[str, Any], "its identity"]
    classes: Annotated[list[str], "class names"]
    split: Annotated[dict[str, Any], "what was held back, and crops of each part"]
    accuracy: Annotated[float, "share of test crops that are right, in that split"]
    left_out: Annotated[list[LeftOut], "crops that were not used"]


@dataclass(eq=False, repr=False)
class Adapted:
    """`adapt`."""

    path: Annotated[str, "the run folder"]
    classes: Annotated[list[str], "class names"]
    layers: Annotated[int, "labelled layers that it was adapted to"]
    error: Annotated[float, "share of layers that are decided wrongly at most, as so many layers can state it"]
    counts: Annotated[dict[str, dict[str, int]], "these layers before and after, left out: right, wrong, open"]
    report: Annotated[str, "Markdown"]


@dataclass(eq=False, repr=False)
class Evaluated:
    """`evaluate`."""

    classifier: Annotated[dict[str, Any], "its identity"]
    classes: Annotated[list[str], "class names"]
    counts: Annotated[dict[str, int], "crops by class"]
    simulated: Annotated[bool | None, "true: the crops are marked as simulated; null: they do not say"]
    outcomes: Annotated[list[dict[str, Any]], "one per split: split, by, reason, train, test, temperature, metrics"]
    probes: Annotated[list[dict[str, Any]], "trivial models on the same splits: name, split, accuracies"]
    confounds: Annotated[list[dict[str, Any]], "what else goes with the class: name, kind, p, text"]
    remarks: Annotated[list[str], "what the figures do not show"]
    report: Annotated[str | None, "file that was written"]


@dataclass(eq=False, repr=False)
class RunListed:
    """A run of `models`."""

    name: Annotated[str, "its folder"]
    current: Annotated[bool, "whether it is marked"]
    state: Annotated[str | None, "complete, or how far it is"]
    classifier: Annotated[str, "id"]
    classes: Annotated[list[str], "class names"]
    accuracy: Annotated[float | None, "of the test part; null where it is not finished"]
    split: Annotated[str | None, "name of the split that this is of"]
    created: Annotated[str, "ISO 8601"]
    simulated: Annotated[bool | None, "true: it learned from simulated recordings only; null: not known"]


@dataclass(eq=False, repr=False)
class Models:
    """`models`."""

    folder: Annotated[str, "where the runs are"]
    runs: Annotated[list[RunListed], "from the oldest on"]
    differences: Annotated[
        dict[str, dict[str, str]], "with --compare: settings that are not the same in all runs, by run"
    ]


@dataclass(eq=False, repr=False)
class StoreLabels:
    """A store of `label`."""

    store: Annotated[str, "which"]
    changed: Annotated[int, "labels that were written now"]
    counts: Annotated[dict[str, int], "crops by label; the empty name: no label"]


@dataclass(eq=False, repr=False)
class Labels:
    """`label`."""

    stores: Annotated[list[StoreLabels], "each store"]
    index: Annotated[str | None, "index that was written"]
    lines: Annotated[int, "lines of the index"]


@dataclass(eq=False, repr=False)
class QuantityChecked:
    """A quantity of `check-camera`."""

    name: Annotated[str, "which"]
    measurable: Annotated[bool, "whether the camera can measure it"]
    reason: Annotated[str, "why, or why not"]


@dataclass(eq=False, repr=False)
class CameraChecked:
    """`check-camera`."""

    profile: Annotated[str, "the camera's profile"]
    quantities: Annotated[list[QuantityChecked], "all quantities"]


@dataclass(eq=False, repr=False)
class Calibrated:
    """`calibrate-camera`."""

    path: Annotated[str, "the calibration"]
    speeds: Annotated[Literal["flights", "exposure", "none"], "how speeds can be measured with it"]
    gas_index_error: Annotated[float | None, "relative error of the gas-flow index; null without one"]
    simulated: Annotated[bool, "true: it is learned from simulations"]


@dataclass(eq=False, repr=False)
class StreaksMeasured:
    """`streaks`."""

    path: Annotated[str, "the table"]
    streaks: Annotated[int, "found in all crops"]
    crops: Annotated[int, "in which was looked"]
    simulated: Annotated[bool | None, "true: the recording is marked as simulated; null: it does not say"]
    not_measurable: Annotated[dict[str, str], "quantities that cannot be measured, and why"]
    by: Annotated[str, "layer, event or window"]
    groups: Annotated[list[dict[str, Any]], "the descriptors of each: see the page on measurement"]


@dataclass(eq=False, repr=False)
class NovelFound:
    """A layer that is unlike the good ones."""

    layer: Annotated[int, "its number"]
    start: Annotated[float, "s, time of its first crop"]
    p: Annotated[float, "conformal p-value"]
    aspect: Annotated[str, "in what it lies furthest from them"]


@dataclass(eq=False, repr=False)
class TracksFound:
    """`track`."""

    paths: Annotated[list[str], "the files: points, and tracks where they are apart"]
    frames: Annotated[int, "frames that were looked at"]
    missing: Annotated[int, "of these, frames that could not be read"]
    particles: Annotated[int, "found in all frames"]
    points: Annotated[int, "of these, particles that are in a track"]
    tracks: Annotated[int, "tracks"]
    frame_rate: Annotated[float, "frames per second that speeds rest on"]
    not_measurable: Annotated[dict[str, str], "quantities that cannot be measured, and why"]


@dataclass(eq=False, repr=False)
class StoreMonitored:
    """A store of `monitor`."""

    store: Annotated[str, "which"]
    layers: Annotated[int, "that were charted"]
    alarms: Annotated[int, "layers with an alarm"]
    simulated: Annotated[bool | None, "true: the recording is marked as simulated; null: it does not say"]
    charts: Annotated[dict[str, Any], "as `-o FILE.json` has it"]
    novel: Annotated[list[NovelFound] | None, "layers unlike the good ones; null without --network"] = None


@dataclass(eq=False, repr=False)
class Monitored:
    """`monitor`."""

    stores: Annotated[list[StoreMonitored], "each store"]
    alarms: Annotated[int, "layers with an alarm in all"]
    written: Annotated[list[str], "files"]


@dataclass(eq=False, repr=False)
class OffsetFound:
    """How much later a camera started than the first."""

    store: Annotated[str, "of the camera"]
    sure: Annotated[bool, "whether one offset stands out, and both show the same there moment by moment"]
    offset: Annotated[float, "s"]
    frames: Annotated[int, "the same in frames of the first"]
    correlation: Annotated[float, "of the two curves there"]
    runner_up: Annotated[float, "the highest elsewhere"]
    agreement: Annotated[float, "Cohen's kappa of whether something is seen"]
    drift: Annotated[float | None, "s, offset in the second half less that in the first"]
    detail: Annotated[float, "correlation of what changes within half a second"]


@dataclass(eq=False, repr=False)
class Synchronized:
    """`synchronize`."""

    first: Annotated[str, "store of the first camera"]
    offsets: Annotated[list[OffsetFound], "of the others"]
    closing: Annotated[float | None, "s, within which the offsets of all pairs close; null for two cameras"]


@dataclass(eq=False, repr=False)
class ModelExported:
    """`export`."""

    path: Annotated[str, "the file"]
    format: Annotated[Literal["onnx", "torch"], "its format"]
    crops: Annotated[int, "on how many it was compared"]
    differences: Annotated[dict[str, float], "largest difference of a probability, by what it was compared with"]


@dataclass(eq=False, repr=False)
class PluginWritten:
    """`new-plugin`."""

    path: Annotated[str, "the package's folder"]
    kind: Annotated[str, "what the plugin is"]


@dataclass(eq=False, repr=False)
class Annotating:
    """`annotate`."""

    path: Annotated[str, "the task's folder, or the file of annotations"]
    format: Annotated[str, "its format"]
    frames: Annotated[int, "frames in it"]
    boxes: Annotated[int, "boxes in it; of a task, proposed ones"]


@dataclass(eq=False, repr=False)
class Matching:
    """How good detections are by one way to match boxes; intervals are of 95 %, null where nobody can know them."""

    by: Annotated[Literal["iou", "distance"], "intersection over union, or distance of middles"]
    limit: Annotated[float, "least intersection over union, or px"]
    precision: Annotated[list[float], "value, low, high"]
    recall: Annotated[list[float], "value, low, high"]
    f1: Annotated[list[float], "value, low, high"]
    average_precision: Annotated[list[float], "value, low, high"]
    by_size: Annotated[list[list[float]], "of thirds of the marks: px² from, to, marks, recall"]
    by_brightness: Annotated[list[list[float]], "grey levels from, to, marks, recall"]


@dataclass(eq=False, repr=False)
class Scored:
    """`score`."""

    frames: Annotated[int, "frames that were looked at"]
    marks: Annotated[int, "boxes that had to be found"]
    found: Annotated[int, "boxes that were found in these frames"]
    clusters: Annotated[str, "what the intervals take for independent"]
    matchings: Annotated[list[Matching], "one for each way to match"]
    worst: Annotated[list[list[int]], "recording, frame, missed, false of the frames with most faults"]
    pictures: Annotated[list[str], "files of these frames"]
