"""One TOML file, the same names as everywhere."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from spatterlib import config
from spatterlib.errors import MissingFileError, ParameterError


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
    whole = config.effective("extract", {"detector": {"id": "frame-difference", "threshold": 25}, "start": 3})
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
        config.effective("extract", {"detector": {"id": "frame-difference", "treshold": 25}})


def test_a_region_with_open_edges_is_said_and_not_written_half() -> None:
    text = config.to_toml({"extract": {"roi": [None, 40, None, None], "workers": 1}})
    assert "# roi" in text
    assert tomllib.loads(text) == {"extract": {"workers": 1}}
