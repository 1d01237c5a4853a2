"""What can be judged at the start is judged there: every command, every option, with values that cannot be right."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from tempfile import mkdtemp

import click
import pytest
from learning_data import as_if_torch, make_layers

import spatterlib as sp
from spatterlib.cli import main

# How each command is called rightly; what it would do then is never reached here.
RIGHT = {
    "adapt": ["simulated", "--labels", "layers.h5:1-3=low", "--labels", "layers.h5:4-6=high"],
    "annotate": ["export", "a.mp4", "-o", "new-task"],
    "calibrate-camera": ["cam.toml", "-o", "new.npz"],
    "check-camera": ["cam.toml"],
    "config": [],
    "convert": ["a.h5", "new.zarr"],
    "demo": ["--no-browser"],
    "detect": ["a.mp4"],
    "evaluate": ["lenet5", "a.h5=low", "b.h5=high"],
    "check": ["a.h5"],
    "export": ["simulated", "-o", "new.onnx"],
    "extract": ["a.mp4", "-o", "new.h5"],
    "forecast": ["a.mp4"],
    "info": ["a.mp4"],
    "label": ["a.h5"],
    "models": ["."],
    "monitor": ["a.h5", "--reference", "1", "--camera", "cam.toml"],
    "new-plugin": ["spatterlib-halo"],
    "plugins": [],
    "predict": ["a.mp4", "--model", "simulated"],
    "score": ["a.h5", "--truth", "a.mp4"],
    "show": ["a.mp4"],
    "simulate": ["new.mp4"],
    "streaks": ["a.h5", "--camera", "cam.toml"],
    "synchronize": ["a.h5", "b.h5"],
    "track": ["a.mp4", "-o", "new.csv", "--camera", "fast.toml"],
    "train": ["a.h5=low", "b.h5=high"],
    "verify": ["a.json"],
    "watch": ["a.mp4", "--model", "simulated"],
}
FILES = {"FILE", "PROFILE", "CSV", "JSON", "STORE", "WHAT", "RUN", "FOLDER", "DIR", "SOURCE", "VIDEO", "OUT"}
# Values that no option of this name can have.
WRONG = {
    "--start": ["nan", "-1", "1:xx", "99999999", "1e400s"],
    "--stop": ["nan", "-1", "1:xx", "0"],
    "--gap": ["nan", "-1", "soon"],
    "--out": ["nowhere/x.png", "text.txt/x.png"],
    "--store": ["nowhere/x.h5", "x.xyz", "folder"],
    "--detector": ["nobody"],
    "--filter": ["nobody"],
    "--classifier": ["nobody"],
    "--expected": ["nobody"],
    "--ratio": ["low", "low=nan", "low=-1", "nobody=1,low=1", "low=x"],
    "--log": ["nobody", "mlflow"],
    "--set": ["epochs", "epochs=x", "nobody=1"],
    "--group": ["nobody"],
    "--device": ["nobody"],
    "--split": ["nobody"],
    "--to": ["nobody"],
    "--truth": ["nowhere/x.json", "text.txt", "a.h5"],
    "--frames": ["0", "-1", "x"],
    "--rank": ["nobody"],
    "--suffix": [".xyz"],
    "--dask": ["nobody"],
    "--metrics": ["x", "99999999", "-1"],
    "--view": ["x", "99999999", "-1"],
    "--users": ["nowhere/x.txt", "env:", "env:NOBODY_SETS_THIS", "text.txt"],
    "--view-key": ["nowhere/x.txt", "env:", "env:NOBODY_SETS_THIS"],
    "--webhook": ["nobody", "ftp://x"],
    "--webhook-header": ["nocolon"],
    "--webhook-secret": ["nowhere/x.txt", "env:", "env:NOBODY_SETS_THIS"],
    "--mqtt": ["nobody", "http://x"],
    "--max-size": ["huge", "-1mb", "nan", "inf", ""],
    "--use": ["nobody"],
    "--descriptor": ["nobody"],
    "--rows": ["x", "5:x"],
    "--classes": ["low", "low,low"],
    "--labels": ["nowhere/x.csv", "text.txt", "layers.h5:x=low", "layers.h5:99=low", "layers.h5:6=low", "a.h5=nobody"],
    "--gas-flow": ["nobody"],
    "--range": ["x", "5", "5,1", "nan,1", "1,inf"],
    "--axes": ["", "q", "TT"],
    "--layers": ["", "0", "7-3", "x", "1-"],
    "--sign-off": [" ", "a\nb"],
    **{f"--{name}": ["x" * 201, "a\nb"] for name in ("machine", "job", "operator", "material")},
}
# What a recording must be looked at for.
LATER = {("config", "99999999")}
# Words that may be anything: names of columns, hosts, labels.
FREE = {"--label", "--column", "--all", "--host", "--log-file", "--verbose", "--seed"}
# Beside NaN, numbers below 0 and without end are right for some.
ANY_SIGN = {"--gas-direction", "--scan-turn", "--scan-start", "--drift", "--bump-at", "--bump-px", "--shuffle"}
ENDLESS = {"--give-up", "--hold", "--remind", "--most", "--max-area", "--arl", "--recording", "--idle"}


def wrong(option: click.Parameter) -> list[str]:
    """Values that the option must refuse."""
    name = option.opts[-1]
    if name in FREE or option.is_eager or getattr(option, "is_flag", False):
        return []
    if getattr(option, "hidden", False):
        return ["1"]  # of `extract`: `watch` refuses it whatever it is
    if isinstance(option.type, click.Choice):
        return ["nobody"]
    if option.metavar == "FOLDER":
        return ["text.txt", "text.txt/x"]
    if name in WRONG:
        return WRONG[name]
    if isinstance(option.type, click.types.FloatParamType):
        return ["nan", *(["-1"] if name not in ANY_SIGN else []), *(["inf"] if name not in ENDLESS else [])]
    if isinstance(option.type, click.types.IntParamType):
        return ["x", *(["-1"] if name not in ANY_SIGN else [])]
    assert option.metavar in FILES, f"say in this test which values {name} refuses"
    return ["nowhere/x.abc", "text.txt"]


def cases() -> Iterator[tuple[str, str, str]]:
    main._add_commands(main.cli)
    for name in sorted(RIGHT):
        command = main.cli.commands[name]
        for option in command.params:
            if isinstance(option, click.Option):
                yield from ((name, option.opts[-1], value) for value in wrong(option) if (name, value) not in LATER)


@cache
def _made() -> Path:
    folder = Path(mkdtemp(prefix="spatterlib-refusals-"))
    for name, seed in (("a", 3), ("b", 4)):
        sp.simulate(folder / f"{name}.mp4", gas_flow="low", seconds=2, seed=seed)
        sp.extract(folder / f"{name}.mp4", folder / f"{name}.h5")
    (folder / "cam.toml").write_text(
        "[camera]\nframe_rate = 25\nexposure = 0.036\nmm_per_px = 0.4\ngas_direction = 0\n"
    )
    make_layers(folder / "layers.h5", ["low"] * 6)
    (folder / "fast.toml").write_text("[camera]\nframe_rate = 1000\nexposure = 0.0002\nmm_per_px = 0.4\n")
    sp.predict(folder / "a.mp4", "simulated").save(folder / "a.json")
    (folder / "text.txt").write_text("no file of ours")
    (folder / "folder").mkdir()
    (folder / "folder" / "mine.txt").write_text("mine")
    return folder


@pytest.fixture
def house(monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one of everything, in which no work must begin."""
    folder = _made()

    def work(*_: object, **__: object) -> None:
        raise AssertionError("the work began")

    # What takes a function by its name must have taken it before, or it keeps what stands in for it.
    for module in ("learning.evaluation", "live.watch"):
        import_module(f"spatterlib.{module}")
    for place in (
        *(
            "extraction.pipeline._batch",
            "learning.training.fit_split",
            "verdicts.adapt.load_layers",
            "measuring.calibration.calibrate",
        ),
        *(
            "measuring.measurement.measure_store",
            "simulation.writer._frames",
            "tracking.tracks.track_points",
            "live.watch.Feed",
            "stores.opening._copy",
        ),
        *("detection.detect.detections_in", "learning.evaluation._fold", "learning.export.writing.write_onnx"),
    ):
        monkeypatch.setattr(f"spatterlib.{place}", work)
    as_if_torch(monkeypatch)
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("command", sorted(set(RIGHT) - {"demo", "new-plugin", "synchronize"}))
def test_what_is_right_is_not_refused(house: Path, capfd: pytest.CaptureFixture[str], command: str) -> None:
    code = main.main([command, *RIGHT[command]])
    assert "the work began" in capfd.readouterr().err or code == 0


def there(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_every_command_is_tried() -> None:
    main._add_commands(main.cli)
    foreign = {
        name
        for name, command in main.cli.commands.items()
        if "spatterlib." not in str(command.callback.__module__ if command.callback else "")
    }
    assert set(main.cli.commands) - foreign == set(RIGHT)


@pytest.mark.parametrize(("command", "option", "value"), list(cases()), ids=lambda word: word or "empty")
def test_a_value_that_cannot_be_right_is_refused_before_anything_is_made(
    house: Path, capfd: pytest.CaptureFixture[str], command: str, option: str, value: str
) -> None:
    before = there(house)
    code = main.main([command, *RIGHT[command], f"{option}={value}"])
    told = capfd.readouterr().err
    assert "the work began" not in told
    assert "internal error" not in told
    assert code in (1, 2), told
    assert len([line for line in told.splitlines() if line.lower().startswith("error")]) == 1, told
    assert there(house) == before
