"""Commands `train`, `evaluate`, `adapt`, `models` and `label`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from spatterlib.cli.model_options import load_named, model_options
from spatterlib.cli.run_options import dask_option, executor_at
from spatterlib.cli.schema import Adapted, Evaluated, Labels, LeftOut, Models, RunListed, StoreLabels, Trained
from spatterlib.common.command_output import answer, answers, say
from spatterlib.common.files import check_room, check_target
from spatterlib.common.signals import interrupt_note
from spatterlib.common.wording import counted
from spatterlib.errors import ParameterError, UsageError
from spatterlib.plugins.hookspecs import hookimpl

if TYPE_CHECKING:
    from spatterlib.learning.run_facts import RunFacts
    from spatterlib.learning.splits import SplitName

_LENET = "parameters of the classifier as NAME=VALUE, such as epochs=5 or colour=rgb; repeat for several"


def _data_options(command: Callable[..., Any]) -> Callable[..., Any]:
    options = [
        click.option("--label", default="label", show_default=True, help="Column of labels in the stores."),
        click.option(
            "--group",
            default="auto",
            show_default=True,
            help="What a grouped split keeps together: recording, video, camera, or a column.",
        ),
        click.option(
            "--black", default=40, show_default=True, help="Leave out crops whose brightest pixel is darker; 0: none."
        ),
        click.option("--purge", type=float, metavar="S", help="Gap of a time split.  [default: 1/20 of a block]"),
        click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, ..."),
        click.option("--set", "parameters", multiple=True, metavar="NAME=VALUE", help=f"{_LENET}."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@click.argument("data", nargs=-1, required=True, metavar="DATA...")
@click.option("--classifier", default="lenet5", show_default=True, metavar="ID", help="What is trained.")
@click.option("-o", "--out", default="runs", show_default=True, metavar="FOLDER", help="Folder of runs.")
@click.option(
    "--split",
    type=click.Choice(["auto", "original", "grouped", "time"]),
    default="auto",
    show_default=True,
    help="What is held back: random crops, whole groups, blocks of time.",
)
@click.option("--ratio", metavar="CLASS=N,...", help="Crops by class relative to each other, such as low=1,high=1.")
@click.option("--fresh", is_flag=True, help="Do not go on with an unfinished run of the same data and settings.")
@click.option("--log", "loggers", multiple=True, help="Also log to tensorboard or mlflow.")
@_data_options
@answers(Trained)
def train(
    data: tuple[str, ...],
    classifier: str,
    out: str,
    split: SplitName | Literal["auto"],
    ratio: str | None,
    fresh: bool,
    loggers: tuple[str, ...],
    parameters: tuple[str, ...],
    **options: Any,
) -> None:
    """Train a classifier on labelled crops.

    DATA is STORE=LABEL for each store, or stores with a column of labels, or one CSV index
    (file,dataset,ds_idx,label).
    """
    from spatterlib.learning.training import train

    again = "the same command" + " without --fresh" * fresh
    with interrupt_note(lambda: f"{again} goes on behind the last epoch that was done (--resume is not needed)"):
        run = train(
            _data(data),
            classifier,
            out=out,
            split=split,
            ratio=_ratio(ratio) if ratio else None,
            resume=not fresh,
            callbacks=loggers,
            progress=True,
            **options,
            **_parameters(classifier, parameters),
        )
    test, parts = run.facts["metrics"]["test"], run.facts["split"]
    say(f"{run.path}: test accuracy {test['accuracy']:.2%} ({parts['name']} split, {parts['by']})")
    left_out = [LeftOut(name, why["black"], why["undecodable"]) for name, why in run.facts["dropped"].items()]
    for item in left_out:
        say(f"{item.source}: {item.black} black and {counted(item.undecodable, 'undecodable crop')} left out")
    facts = run.facts
    answer(Trained(str(run.path), facts["classifier"], list(run.classes), dict(parts), test["accuracy"], left_out))


def _data(data: Sequence[str]) -> str | dict[str, str] | list[str]:
    """What was typed as `train` wants it."""
    if len(data) == 1 and data[0].lower().endswith(".csv"):
        return data[0]
    return _labels(data) or list(data)


def _labels(data: Sequence[str]) -> dict[str, str]:
    """Label by store, if that is what was typed."""
    if not all("=" in item and not Path(item).exists() for item in data):
        return {}
    pairs = [item.rpartition("=") for item in data]
    found = {path: label for path, _, label in pairs}
    if len(found) < len(pairs):
        raise ParameterError(f"a store is named twice in {', '.join(data)}; name each once")
    return found


def _ratio(text: str) -> dict[str, float]:
    try:
        return {name: float(value) for name, value in _pairs(text.split(",")).items()}
    except ValueError as error:
        raise ParameterError(f"--ratio needs CLASS=NUMBER,..., such as low=1,high=1, got {text!r}") from error


def _pairs(items: Sequence[str]) -> dict[str, str]:
    for item in items:
        if "=" not in item:
            raise UsageError(f"expected NAME=VALUE, got {item!r}")
    return {name.strip(): value.strip() for name, _, value in (item.partition("=") for item in items)}


def _parameters(classifier: str, items: Sequence[str]) -> dict[str, Any]:
    """Values in the types of the classifier's fields; unknown names are left to `make`, which names the nearest."""
    from spatterlib.plugins.registry import catalog

    if not items:
        return {}
    defaults = {item.name: item.default for item in dataclasses.fields(catalog().find("classifier", classifier))}
    found: dict[str, Any] = {}
    for name, text in _pairs(items).items():
        key = name.replace("-", "_")
        found[key] = _value(text, defaults.get(key), name)
    return found


def _value(text: str, default: Any, name: str) -> Any:
    try:
        if isinstance(default, bool):
            return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}[text.lower()]
        return type(default)(text) if isinstance(default, int | float) else text
    except (ValueError, KeyError) as error:
        raise UsageError(f"{name} needs a {type(default).__name__} such as {default}, got {text!r}") from error


@click.command()
@click.argument("model", metavar="MODEL")
@click.argument("data", nargs=-1, metavar="[DATA...]")
@click.option(
    "--split",
    "splits",
    multiple=True,
    type=click.Choice(["original", "grouped", "time"]),
    help="Split; repeat for several.  [default: original, grouped]",
)
@click.option("-o", "--out", metavar="FOLDER", help="Where the report goes.  [default: the run folder]")
@click.option("--probe/--no-probe", default=True, show_default=True, help="Also train models that cannot see spatter.")
@dask_option
@model_options
@_data_options
@answers(Evaluated)
@interrupt_note(lambda: "nothing was written")
def evaluate(
    model: str,
    classifier: str | None,
    classes: str | None,
    data: tuple[str, ...],
    splits: tuple[SplitName, ...],
    out: str | None,
    probe: bool,
    dask: str | None,
    parameters: tuple[str, ...],
    **options: Any,
) -> None:
    """Measure a model or a classifier, random split beside grouped, with a confound probe.

    MODEL is a run folder, or the id of a classifier. DATA is as for `train`; by default what the model learned from.
    """
    from spatterlib.learning.evaluation import evaluate
    from spatterlib.learning.runs import SIMULATED
    from spatterlib.plugins.registry import catalog

    if out:
        check_room(out)
    known = model in catalog().classifiers
    if known and (classifier or classes):
        raise UsageError(f"--classifier and --classes belong to a file of weights, and {model!r} is a classifier")
    if parameters and not known:
        raise UsageError(f"--set is for a classifier; {model} was trained with its own parameters")
    run = None if known else load_named(model, classifier, classes)
    with executor_at(dask) as executor:
        found = evaluate(
            run or model,
            _data(data) if data else None,
            splits=splits or ("original", "grouped"),
            probes=probe,
            executor=executor,
            **options,
            **(_parameters(model, parameters) if known else {}),
        )
    # The model that comes with the package has no folder of the user's.
    own = run is not None and Path(run.path).is_dir() and Path(run.path) != SIMULATED
    target = out or (run.path if run and own else None)
    say(str(found))
    report = None
    if target:
        found.save(target)
        report = str(Path(target) / "evaluation.md")
        say(f"report: {report}")
    answer(Evaluated(**found.facts(), report=report))


@click.command()
@click.argument("model", metavar="MODEL")
@click.option(
    "--labels",
    multiple=True,
    required=True,
    metavar="WHAT",
    help="A CSV store,layer,label; STORE=LABEL; STORE:1-4,7=LABEL; a store with a column of labels. Repeat.",
)
@click.option("-o", "--out", default="runs", show_default=True, metavar="FOLDER", help="Folder of runs.")
@click.option(
    "--error", type=float, default=0.05, show_default=True, metavar="SHARE", help="Layers that may be decided wrongly."
)
@click.option("--column", default="label", show_default=True, help="Column of labels in stores that have one.")
@model_options
@answers(Adapted)
@interrupt_note(lambda: "nothing was written")
def adapt(
    model: str,
    labels: tuple[str, ...],
    out: str,
    error: float,
    column: str,
    classifier: str | None,
    classes: str | None,
) -> None:
    """Adapt a model to a camera, from a few labelled layers of its recordings.

    MODEL is a run folder or simulated. Three layers of each class are the fewest; ten of each, from several
    recordings, say more. Leaves a new run, with adaptation.md in its folder: what was judged before and after.
    """
    from spatterlib.learning.layer_thresholds import LayerThresholds
    from spatterlib.verdicts.adapt import adapt
    from spatterlib.verdicts.adaptation_report import stated

    run = adapt(load_named(model, classifier, classes), list(labels), out=out, error=error, column=column)
    counts = run.facts["adapted_from"]["counts"]
    thresholds = LayerThresholds.parsed(run.facts["thresholds"], run.path)
    for when, row in counts.items():
        say(f"{when}: {row['right']} right, {row['wrong']} wrong and decided, {row['open']} left open")
    report = str(Path(run.path) / "adaptation.md")
    if thresholds:
        say(f"{run.path}: {stated(thresholds)}")
        say(f"report: {report}")
        answer(Adapted(run.path, list(run.classes), len(thresholds.leads), thresholds.error, counts, report))


@click.command()
@click.argument("folder", default="runs", metavar="FOLDER")
@click.option("--use", metavar="NAME", help="Mark a run as the current one.")
@click.option("--compare", is_flag=True, help="Show where the settings of the runs differ.")
@answers(Models)
def models(folder: str, use: str | None, compare: bool) -> None:
    """List the runs in FOLDER, compare them, mark one as current."""
    from spatterlib.learning import runs as run_folders

    if use:
        run_folders.mark_current(folder, use)
    runs = run_folders.list_runs(folder)
    marked = Path(folder) / run_folders.CURRENT
    current = marked.read_text().strip() if marked.is_file() else ""
    if not runs:
        say(f"no runs in {folder}")
    width = max(map(len, runs), default=0)
    for name, facts in runs.items():
        say(f"{'*' if name == current else ' '} {name:<{width}}  {_summary(facts)}")
    differences = _differences(runs) if compare else {}
    for key, values in differences.items():
        say(f"{key}: " + ", ".join(f"{name} {value}" for name, value in values.items()))
    answer(Models(folder, [_listed(name, facts, name == current) for name, facts in runs.items()], differences))


def _listed(name: str, facts: RunFacts, current: bool) -> RunListed:
    test = facts.get("metrics", {}).get("test", {})
    split = facts["split"]["name"] if "split" in facts else None
    own = (facts["classifier"]["id"], list(facts.get("classes", ())), test.get("accuracy"), split)
    return RunListed(name, current, facts.get("state"), *own, facts["created"], facts.get("simulated"))


def _summary(facts: RunFacts) -> str:
    if facts.get("state") != "complete":
        return f"{facts['classifier']['id']}  not finished"
    test = facts["metrics"]["test"]
    mark = "  simulated" if facts.get("simulated") else ""
    return (
        f"{facts['classifier']['id']:<15} {'/'.join(facts['classes'])}  test {test['accuracy']:.2%} "
        f"({facts['split']['name']})  {facts['created']}{mark}"
    )


def _differences(runs: Mapping[str, RunFacts]) -> dict[str, dict[str, str]]:
    """Of every setting that is not the same in all runs its value in each."""
    flat = {name: _flat(facts) for name, facts in runs.items()}
    keys = dict.fromkeys(key for facts in flat.values() for key in facts)
    values = {key: {name: facts.get(key, "-") for name, facts in flat.items()} for key in keys}
    return {key: found for key, found in values.items() if len(set(found.values())) > 1}


def _flat(facts: RunFacts) -> dict[str, str]:
    metrics = {f"test {key}": value for key, value in facts.get("metrics", {}).get("test", {}).items()}
    split = {f"split {key}": value for key, value in (facts.get("split") or {}).items()}
    kept = facts["classifier"] | split | metrics | {"crops": facts.get("counts"), "best epoch": facts.get("best_epoch")}
    return {key: str(value) for key, value in kept.items()}


@click.command()
@click.argument("stores", nargs=-1, required=True, metavar="STORE...")
@click.option("--from", "changes", metavar="CSV", help="Labels to write: row,label or start,stop,label (s).")
@click.option("--all", "everything", metavar="LABEL", help="Give every crop this label.")
@click.option("--index", metavar="CSV", help="Write an index file,dataset,ds_idx,label of the stores' labels.")
@click.option("--shuffle", type=int, metavar="SEED", help="Shuffle the lines of the index.")
@click.option("--overwrite", is_flag=True, help="Replace an existing index.")
@click.option("--column", default="label", show_default=True, help="Name of the column.")
@answers(Labels)
def label(
    stores: tuple[str, ...],
    changes: str | None,
    everything: str | None,
    index: str | None,
    shuffle: int | None,
    overwrite: bool,
    column: str,
) -> None:
    """Write or edit labels of crops, or list them.

    STORE may be STORE=LABEL: every crop of it gets this label. Files of the research system are read-only: their
    labels go into the index alone. Without options it says how many crops have which label.
    """
    from spatterlib.learning import labels

    given = _labels_given(stores, everything)
    if changes and len(given) > 1:
        raise UsageError(f"--from has rows of one store, got {counted(len(given), 'store')}; edit one at a time")
    if index:
        check_target(index, overwrite=overwrite)
    for path, name in given.items():
        if index is None and (changes or name is not None) and labels.is_read_only(path):
            raise ParameterError(f"{path} is read-only: its labels go into an index; add --index images.csv")
    told, items = [], []
    for path, name in given.items():
        item, changed = labels.relabelled(path, name, changes, column)
        if changes:
            say(f"{path}: {counted(changed, 'label')} changed")
        counts = {known: int((item.labels == known).sum()) for known in labels.sorted_classes(item.labels)}
        counts = {} if set(counts) == {""} else counts
        say(f"{path}: " + (", ".join(f"{known or 'no label'}: {n}" for known, n in counts.items()) or "no labels"))
        told.append(StoreLabels(path, changed, counts))
        items.append(item)
    lines = 0
    if index:
        lines = labels.write_index(items, index, seed=shuffle)
        say(f"{index}: {counted(lines, 'line')}")
    answer(Labels(told, index, lines))


def _labels_given(stores: Sequence[str], everything: str | None) -> dict[str, str | None]:
    """Label by store, None where none is given."""
    found = _labels(stores)
    if not found:
        return dict.fromkeys(stores, everything)
    if everything is not None:
        raise UsageError("--all and STORE=LABEL both say the label; give one")
    return {**found}


@hookimpl
def spatter_commands(cli: click.Group) -> None:
    """The commands of this module."""
    for command in (train, evaluate, adapt, models, label):
        cli.add_command(command)
