"""One TOML file, the same names as everywhere."""

from __future__ import annotations

import tomllib
from pathlib import Path

import click
import pytest

from spatterlib.cli import config, config_sections, main
from spatterlib.errors import MissingFileError, ParameterError
from spatterlib.extraction.settings import ExtractionSettings
from spatterlib.verdicts.rules import Rules


def written(folder: Path, text: str) -> Path:
    path = folder / "spatterlib.toml"
    path.write_text(text)
    return path


def test_a_file_gives_its_sections(tmp_path: Path) -> None:
    path = written(tmp_path, '[extract]\nstart = "12.5s"\nfilters = ["area", { id = "black", min_peak = 50 }]\n')
    assert config.load(path) == {"extract": {"start": "12.5s", "filters": ["area", {"id": "black", "min_peak": 50}]}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[extract]\nstrat = 5\n", r"\[extract\] has no key 'strat'; did you mean 'start'\?"),
        ("[extrakt]\n", r"no section \[extrakt\]; did you mean 'extract'\?"),
        ("start = 5\n", "no section"),
        ("[extract\n", "no valid TOML"),
    ],
)
def test_what_nobody_knows_is_an_error_that_names_file_and_nearest(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ParameterError, match=message) as caught:
        config.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"nowhere\.toml"):
        config.load(tmp_path / "nowhere.toml")


def test_later_settings_win_and_plugins_keep_their_parameters() -> None:
    merged = config.merge(
        {
            "limit": 5,
            "detector": {"id": "frame-difference", "threshold": 9},
            "filters": [{"id": "area", "min_area": 1}],
        },
        {"detector": "frame-difference", "filters": ["black", "area"]},
    )
    assert merged == {
        "limit": 5,
        "detector": {"id": "frame-difference", "threshold": 9},
        "filters": [{"id": "black"}, {"id": "area", "min_area": 1}],
    }


def test_another_detector_does_not_inherit_parameters() -> None:
    assert config.merge({"detector": {"id": "a", "x": 1}}, {"detector": "b"})["detector"] == {"id": "b"}


def test_the_effective_configuration_has_every_parameter_and_is_read_back(tmp_path: Path) -> None:
    whole = config.effective(ExtractionSettings({"id": "frame-difference", "threshold": 25}, start=3))
    text = config.to_toml({"extract": whole})
    read = tomllib.loads(text)["extract"]
    assert read["detector"]["threshold"] == 25
    assert read["detector"]["blur"] == 5
    assert read["start"] == 3
    assert [item["id"] for item in read["filters"]] == ["area", "blue", "black"]
    assert "# stop is not set" in text
    assert config.load(written(tmp_path, text))["extract"] == read


def test_an_unknown_parameter_of_a_plugin_names_the_nearest() -> None:
    with pytest.raises(ParameterError, match="did you mean 'threshold'"):
        ExtractionSettings({"id": "frame-difference", "treshold": 25})


def test_a_region_with_open_edges_is_said_and_not_written_half() -> None:
    text = config.to_toml({"extract": {"roi": [None, 40, None, None], "workers": 1}})
    assert "# roi" in text
    assert tomllib.loads(text) == {"extract": {"workers": 1}}


@pytest.fixture
def commands() -> dict[str, click.Command]:
    main.main(["--version"])
    return dict(main.cli.commands)


WHOLE = """
[extract]
start = 5
[extract.detector]
id = "frame-difference"
threshold = 30
[predict]
model = "simulated"
window = 30
expected = "high"
start = 7
[watch]
model = "simulated"
webhook_header = ["X-Key: a"]
metrics = "9000"
hold = 1.5
[serve]
port = 9000
queue = 5
workers = 2
[train]
classifier = "lenet5"
split = "grouped"
[train.set]
epochs = 3
colour = "rgb"
"""


def test_sections_of_commands_have_the_names_of_their_options(
    tmp_path: Path, commands: dict[str, click.Command]
) -> None:
    found = config_sections.default_map(str(written(tmp_path, WHOLE)), commands)
    assert found["predict"] == {"model": "simulated", "window": 30, "expected": "high"}
    assert found["watch"] == {"model": "simulated", "headers": ["X-Key: a"], "metrics_at": "9000", "hold": 1.5}
    assert found["train"] == {"classifier": "lenet5", "split": "grouped", "parameters": ["epochs=3", "colour=rgb"]}
    if "serve" in commands:
        assert found["serve"] == {"port": 9000, "queue": 5, "workers": 2}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[predict]\nmodle = 'x'\n", r"\[predict\] has no key 'modle'; did you mean 'model'\?"),
        ("[predict]\nlimit = 5\n", r"\[predict\] has no key 'limit'"),
        ("[watch]\nstart = 5\n", r"\[watch\] has no key 'start'; did you mean 'status'\?"),
        ("[train]\nout = 'runs'\n", r"\[train\] has no key 'out'"),
        ("[predikt]\n", r"no section \[predikt\]; did you mean 'predict'\?"),
        ("[predict]\nwindow = 'long'\n", r"\[predict\] window is a number"),
        ("[predict]\nwindow = true\n", r"\[predict\] window is a number, not True"),
        ("[predict]\nmodel = 5\n", r"\[predict\] model is a text, not 5"),
        ("[watch]\nalarm = 'row'\n", r"\[watch\] alarm is choice: .*'layer'"),
        ("[watch.alarm]\nx = 1\n", r"\[watch\] alarm is choice, not \{'x': 1\}"),
        ("[predict]\nquality = 'high'\n", r"\[predict\] quality is a whole number, not 'high'"),
        ("[predict.detector]\nid = 'frame-difference'\ntreshold = 3\n", r"detector: .*did you mean 'threshold'\?"),
        ("[extract.detector]\nid = 'frame-difference'\ntreshold = 3\n", r"detector: .*did you mean 'threshold'\?"),
        ("[extract]\nfilters = ['aera']\n", r"\[extract\] filters: no filter 'aera' is installed; did you mean 'area'"),
        ("[extract]\nfilters = [{ id = 'area', min_area = -1 }]\n", r"\[extract\] filters: area needs 0"),
    ],
)
def test_what_a_section_cannot_have_is_refused_when_the_file_is_read(
    tmp_path: Path, commands: dict[str, click.Command], text: str, message: str
) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ParameterError, match=message) as caught:
        config_sections.read(str(path), commands)
    assert str(path) in str(caught.value)


def test_a_section_of_a_command_that_is_not_installed_is_left_as_it_is(tmp_path: Path) -> None:
    assert config_sections.read(str(written(tmp_path, WHOLE)), {})["serve"] == {"port": 9000, "queue": 5, "workers": 2}


def test_the_command_line_wins_over_the_file_and_this_over_the_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[dict[str, object]] = []

    def predict(settings: object, rules: Rules, source: str, model: object, out: object, **options: object) -> None:
        taken.append({"model": model, "expected": rules.expected, **vars(settings), **options})
        raise ParameterError("enough")

    monkeypatch.setattr("spatterlib.cli.predict.load_named", lambda model, *_: model)
    monkeypatch.setattr("spatterlib.verdicts.predict.predict_with", predict)
    path = written(tmp_path, WHOLE)
    assert main.main(["predict", "a.mp4", "--config", str(path), "--expected", "low"]) == 1
    assert main.main(["predict", "a.mp4", "--config", str(path), "--start", "9", "--window", "20"]) == 1
    assert main.main(["predict", "a.mp4", "--model", "m"]) == 1
    first, second, third = taken
    assert (first["model"], first["window"], first["expected"], first["start"]) == ("simulated", 30, "low", 7)
    assert first["detector"] == {"id": "frame-difference", "threshold": 30}
    assert (second["window"], second["start"]) == (20, 9)
    assert (third["model"], third["window"], third["expected"], third["start"]) == ("m", 60, None, None)


def test_train_takes_its_section(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[dict[str, object]] = []

    def train(data: object, classifier: str, **options: object) -> None:
        taken.append({"classifier": classifier, **options})
        raise ParameterError("enough")

    monkeypatch.setattr("spatterlib.learning.training.train", train)
    assert main.main(["train", "a.h5=low", "b.h5=high", "--config", str(written(tmp_path, WHOLE))]) == 1
    assert (taken[0]["split"], taken[0]["epochs"], taken[0]["colour"]) == ("grouped", 3, "rgb")


def test_a_file_with_a_mistake_in_another_section_is_refused_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, "[predict]\nmodle = 'x'\n")
    assert main.main(["extract", "a.mp4", "-o", "x.h5", f"--config={path}"]) == 1
    assert "did you mean 'model'" in capsys.readouterr().err


def test_config_writes_every_section_as_a_file_that_is_read(
    tmp_path: Path, commands: dict[str, click.Command], capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main.main(["config", "--config", str(written(tmp_path, WHOLE))]) == 0
    text = capsys.readouterr().out
    path = tmp_path / "all.toml"
    path.write_text(text)
    assert config_sections.default_map(str(path), commands)["train"]["parameters"] == ["epochs=3", "colour=rgb"]
    assert "# min_votes: Fewer give no verdict." in text
    assert "\nwindow = 30\n" in text
    assert tomllib.loads(text)["predict"]["start"] == 7
    assert "# hold = " not in text
