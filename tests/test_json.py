"""With --json a command writes one strict JSON document of the published form, and nothing else to stdout."""

from __future__ import annotations

import json
import shutil
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, NoReturn

import jsonschema
import numpy as np
import pytest
from doc_blocks import DOCS
from learning_data import make_layers, make_stores
from predictions import build
from test_cli import spatterlib
from test_extraction import flashes
from test_monitor import CAMERA
from test_monitor import stores as monitored

import spatterlib as sp
from spatterlib.cli import main
from spatterlib.learning.runs import SIMULATED
from spatterlib.measuring.camera import save_camera

SCHEMA = json.loads((DOCS / "schema.json").read_text(encoding="utf-8"))


def strict(text: str) -> Any:
    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is no JSON")

    assert text.isascii()
    return json.loads(text, parse_constant=refuse)


def checked(command: str, document: Any) -> Any:
    """The document, if its form is the published one."""
    jsonschema.validate(document, SCHEMA | {"$ref": f"#/commands/{command}"})
    return document


def answered(command: str, *arguments: object, code: int, capsys: pytest.CaptureFixture[str]) -> Any:
    capsys.readouterr()
    ended = main.main([command, *map(str, arguments), "--json"])
    told = capsys.readouterr()
    assert ended == code, told.err
    return checked(command, strict(told.out))


@cache
def data() -> Path:
    """A folder with a recording, a store, a report, a camera."""
    folder = Path(mkdtemp(prefix="spatterlib-json-"))
    np.save(folder / "a.npy", flashes(60))
    np.save(folder / "dark.npy", np.zeros((5, 48, 64, 3), np.uint8))
    sp.extract(folder / "a.npy", folder / "a.h5")
    sp.predict(folder / "a.h5", "simulated").save(folder / "a.json")
    save_camera(CAMERA, folder / "camera.toml")
    (folder / "broken.npy").write_text("no stack")
    lit = np.zeros((400, 120, 160, 3), np.uint8)
    lit[np.random.default_rng(1).random(len(lit)) < 0.1, 30:90, 40:100] = 255
    np.save(folder / "lit.npy", lit)
    sp.extract(folder / "lit.npy", folder / "one.h5", fps=25)
    sp.extract(folder / "lit.npy", folder / "two.h5", fps=25, start=30)
    assert main.main(["annotate", "export", str(folder / "a.npy"), "-o", str(folder / "task"), "--to", "csv"]) == 0
    (folder / "task" / "annotations.csv").rename(folder / "marks.csv")
    shutil.rmtree(folder / "task")
    return folder


DESCRIPTORS = ("--descriptor", "drift", "--descriptor", "length")
CASES: dict[str, tuple[str, list[str], int]] = {
    "info of a store": ("info", ["a.h5"], 0),
    "info of a recording": ("info", ["a.npy"], 0),
    "info of a model": ("info", [str(SIMULATED)], 0),
    "extract": ("extract", ["a.npy", "-o", "new.h5"], 0),
    "extract into a folder": ("extract", ["a.npy", "dark.npy", "broken.npy", "-o", "many"], 1),
    "forecast": ("forecast", ["a.npy", "broken.npy"], 1),
    "forecast of what has no spatter": ("forecast", ["dark.npy"], 0),
    "show crops": ("show", ["a.h5", "-o", "crops.png"], 0),
    "show a frame": ("show", ["a.npy", "--frame", "5", "-o", "frame.png"], 0),
    "config": ("config", ["--threshold", "30"], 0),
    "predict": ("predict", ["a.h5", "--model", "simulated", "-o", "b.json"], 0),
    "predict without spatter": ("predict", ["dark.npy", "--model", "simulated"], 0),
    "verify": ("verify", ["a.json"], 0),
    "convert": ("convert", ["a.h5", "a.zarr"], 0),
    "check": ("check", ["a.h5"], 0),
    "plugins": ("plugins", [], 0),
    "simulate": ("simulate", ["s.npy", "--seconds", "1"], 0),
    "models": ("models", [str(SIMULATED.parent), "--compare"], 0),
    "label": ("label", ["copy.h5", "--all", "low", "--index", "index.csv"], 0),
    "labels of none": ("label", ["a.h5"], 0),
    "check-camera": ("check-camera", ["camera.toml"], 0),
    "streaks": ("streaks", ["a.h5", "--camera", "camera.toml", "-o", "streaks.npz", "--by", "event"], 0),
    "track": ("track", ["a.npy", "-o", "tracks.csv", "--fps", "1000"], 0),
    "monitor with an alarm": ("monitor", ["{bad}", "--reference", "{good}", *DESCRIPTORS], 5),
    "annotate": ("annotate", ["export", "a.npy", "-o", "task", "--to", "csv"], 0),
    "score": ("score", ["a.h5", "--truth", "marks.csv"], 0),
    "synchronize": ("synchronize", ["one.h5", "two.h5"], 0),
    "export": ("export", [str(SIMULATED), "-o", "model.onnx"], 0),
    "new-plugin": ("new-plugin", ["spatterlib-halo"], 0),
}


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=[pytest.mark.torch] if case == "export" else []) for case in CASES]
)
def test_a_command_answers_in_the_published_form(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command, arguments, code = CASES[case]
    if command == "export":
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnxscript")
    monkeypatch.chdir(tmp_path)
    for path in data().iterdir():
        shutil.copy(path, tmp_path)
    shutil.copy("a.h5", "copy.h5")
    places = {name: str(path) for name, path in monitored().items()} if "{" in str(arguments) else {}
    answered(command, *(argument.format(**places) for argument in arguments), code=code, capsys=capsys)


@pytest.mark.slow
def test_a_calibration_answers_in_the_published_form(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_camera(CAMERA, tmp_path / "camera.toml")
    arguments = (tmp_path / "camera.toml", "-o", tmp_path / "c.npz", "--recordings", "8", "--crops", "5")
    assert answered("calibrate-camera", *arguments, code=0, capsys=capsys)["simulated"]


def test_an_adaptation_answers_in_the_published_form(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kinds = [(kind, number) for kind in ("low", "high") for number in range(2)]
    made = [
        make_layers(tmp_path / f"{kind}_{number}.h5", [kind] * 2, 10 * number + len(kind)) for kind, number in kinds
    ]
    labels = [word for path, (kind, _) in zip(made, kinds, strict=True) for word in ("--labels", f"{path}={kind}")]
    assert answered("adapt", "simulated", *labels, "-o", tmp_path / "runs", code=0, capsys=capsys)["layers"] == 8


@pytest.mark.torch
@pytest.mark.slow
def test_training_and_evaluation_answer_in_the_published_form(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    stores = [f"{path}={label}" for path, label in make_stores(tmp_path, crops=20).items()]
    found = answered("train", *stores, "-o", tmp_path / "runs", "--set", "epochs=1", code=0, capsys=capsys)
    answered("evaluate", found["path"], "--no-probe", code=0, capsys=capsys)
    answered("models", tmp_path / "runs", code=0, capsys=capsys)


def test_every_command_that_tells_something_answers_and_is_tested() -> None:
    main.main(["--version"])
    silent = {"watch", "demo", "serve", "detect"}
    assert set(SCHEMA["commands"]) | silent >= set(main.cli.commands)
    tested = {command for command, _, _ in CASES.values()} | {"adapt", "calibrate-camera", "train", "evaluate"}
    assert tested == set(SCHEMA["commands"])


@pytest.mark.parametrize("command", sorted(SCHEMA["commands"]))
@pytest.mark.parametrize("argument", ["--nonsense", "nowhere.x"])
def test_errors_are_documents_too(
    command: str, argument: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code = main.main([command, argument, "--json"])
    told = capsys.readouterr()
    found = checked(command, strict(told.out))
    if code and command + argument != "forecastnowhere.x":
        assert found["error"]["exit_code"] == code
        assert found["error"]["kind"] == ("UsageError" if code == 2 else found["error"]["kind"])
        assert found["error"]["message"]
        assert told.err.strip().endswith(found["error"]["message"])


def test_what_is_not_a_number_is_null_and_names_of_files_are_ascii(tmp_path: Path) -> None:
    np.save(tmp_path / "Schicht ü².npy", np.zeros((3, 48, 64, 3), np.uint8))
    done = spatterlib("forecast", tmp_path / "Schicht ü².npy", "--json")
    assert strict(done.stdout)["videos"][0]["video"].endswith("ü².npy")


def test_progress_and_warnings_go_to_stderr(tmp_path: Path) -> None:
    done = spatterlib("simulate", tmp_path / "s.mkv", "--seconds", "2", "--json")
    strict(done.stdout)
    whole = (tmp_path / "s.mkv").read_bytes()
    (tmp_path / "s.mkv").write_bytes(whole[: len(whole) * 6 // 10])
    done = spatterlib("extract", tmp_path / "s.mkv", "-o", tmp_path / "s.h5", "--json")
    assert done.returncode == 3
    assert "warning: only" in done.stderr
    assert strict(done.stdout)["videos"][0]["state"] == "incomplete"


def test_a_report_and_the_document_agree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    video = build()
    found = answered("predict", video, "--model", "simulated", "-o", tmp_path / "r.json", code=0, capsys=capsys)
    report = json.loads((tmp_path / "r.json").read_text())
    assert [layer["state"] for layer in found["layers"]] == [layer["state"] for layer in report["layers"]]
    assert found["summary"] == report["summary"]
