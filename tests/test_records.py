"""A parameter is written once, in a record: functions, options, sections of the file and REST say what it says."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import click
import pytest
from click.testing import CliRunner

import spatterlib as sp
from spatterlib.cli import config, main
from spatterlib.common.record_options import given_values, options_of, with_options
from spatterlib.common.records import check, parameter
from spatterlib.errors import OutputExistsError, ParameterError
from spatterlib.extraction.settings import ExtractionSettings
from spatterlib.verdicts.rules import Rules


@dataclass(frozen=True)
class Brew:
    """One field of each kind."""

    cups: int = parameter(2, "Cups.", 1, 12, metavar="N")
    heat: float | None = parameter(None, "Degrees.", 0, 100)
    filter_: Literal["paper", "steel"] = parameter("paper", "Of what.")
    stirred: bool = parameter(True, "Stirred.")
    grind: float | str = parameter("fine", "Mm, or a word.", shown="as it is")
    beans: Sequence[str] = parameter(("arabica",), "Beans; repeat.", flag="--bean", multiple=True)
    shape: tuple[int, int] = parameter((1, 2), "Of the pot.")
    card: Path = parameter(Path("card.txt"), "Where it is written.")
    secret: int = 3
    order: int = parameter(0, "Not typed.", option=False)


def typed(*arguments: str, env: dict[str, str] | None = None) -> dict[str, Any]:
    """What a command with the options of `Brew` is called with."""
    found: dict[str, Any] = {}

    @click.command()
    @with_options(options_of(Brew, variables="BREW_"))
    def brew(**values: Any) -> None:
        found.update(given_values(Brew, values))

    done = CliRunner(env=env or {}).invoke(brew, [*arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return found


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ([], {}),
        (["--cups", "4"], {"cups": 4}),
        (["--heat", "90"], {"heat": 90.0}),
        (["--filter", "steel"], {"filter_": "steel"}),
        (["--no-stirred"], {"stirred": False}),
        (["--grind", "0.5"], {"grind": 0.5}),
        (["--grind", "coarse"], {"grind": "coarse"}),
        (["--bean", "a", "--bean", "b"], {"beans": ("a", "b")}),
        (["--shape", "[3, 4]"], {"shape": [3, 4]}),
        (["--card", "x.txt"], {"card": Path("x.txt")}),
    ],
)
def test_an_option_takes_what_its_field_takes(arguments: list[str], found: dict[str, Any]) -> None:
    assert typed(*arguments) == found


def test_an_option_says_what_its_field_says() -> None:
    helps = {option.opts[0]: option.help for option in options_of(Brew)}
    assert helps == {
        "--cups": "Cups.  [default: 2]",
        "--heat": "Degrees.",
        "--filter": "Of what.  [default: paper]",
        "--stirred": "Stirred.  [default: True]",
        "--grind": "Mm, or a word.  [default: as it is]",
        "--bean": "Beans; repeat.  [default: arabica]",
        "--shape": "Of the pot.  [default: [1, 2]]",
        "--card": "Where it is written.  [default: card.txt]",
    }


def test_a_variable_of_the_environment_gives_an_option_too() -> None:
    assert typed(env={"BREW_CUPS": "7"}) == {"cups": 7}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"cups": 13}, "cups must be a whole number from 1 to 12, got 13"),
        ({"cups": 1.5}, "cups must be a whole number from 1 to 12, got 1.5"),
        ({"cups": True}, "cups must be a whole number"),
        ({"heat": "hot"}, "heat must be a number from 0 to 100, got 'hot'"),
        ({"filter_": "cloth"}, "filter_ must be one of 'paper', 'steel', got 'cloth'"),
        ({"stirred": "no"}, "stirred must be one of True or False, got 'no'"),
    ],
)
def test_a_value_that_a_field_does_not_take_is_refused_by_name(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ParameterError, match=said):
        check(Brew(**wrong))
    check(Brew())


@pytest.mark.parametrize("front", [sp.extract, sp.forecast, sp.predict, sp.detect])
def test_a_front_has_the_defaults_of_the_record(front: Callable[..., Any]) -> None:
    usual = vars(ExtractionSettings())
    shared = {name: item for name, item in inspect.signature(front).parameters.items() if name in usual}
    assert {"detector", "filters", "start", "stop", "roi", "fps"} <= set(shared)
    assert {name: item.default for name, item in shared.items()} == {name: usual[name] for name in shared}


def test_extract_has_all_settings_and_so_have_its_command_and_its_section() -> None:
    names = [item.name for item in dataclasses.fields(ExtractionSettings)]
    assert set(names) <= set(inspect.signature(sp.extract).parameters)
    assert list(config.KEYS) == names
    main.main(["--version"])
    there = {param.name for param in main.cli.commands["extract"].params}
    assert set(names) - {"roi"} <= there
    assert {"left", "right", "top", "bottom"} <= there


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("detector", 5, "an id or a table with an id, not 5"),
        ("detector", {"threshold": 5}, "an id or a table with an id"),
        ("filters", "area", "a list of ids or of tables with an id, not 'area'"),
        ("filters", [5], "a list of ids or of tables with an id"),
        ("start", True, "a frame number, seconds or a text such as '12.5s', not True"),
        ("roi", [1, 2, "x", 4], "a list of four whole numbers, px"),
        ("fps", "25", "a number of frames per second, not '25'"),
        ("limit", 1.5, "a whole number, not 1.5"),
        ("crop_format", 1, "a text, 'jpeg' or 'png', not 1"),
        ("gap", [1], "a number of seconds, 'auto' or a text such as '700 frames'"),
    ],
)
def test_a_value_of_the_file_of_another_kind_is_refused_in_words(key: str, value: Any, said: str) -> None:
    with pytest.raises(ParameterError, match=rf"here {key} is {said}"):
        config.check(key, value, "here")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("detector", {"id": "frame-difference", "threshold": 5}),
        ("filters", ["area", {"id": "black"}]),
        ("start", 12.5),
        ("stop", "1:20"),
        ("roi", [1, 2, 3, 4]),
        ("fps", 25),
        ("crop_format", "png"),
        ("gap", 30),
    ],
)
def test_a_value_of_the_file_of_its_kind_is_taken(key: str, value: Any) -> None:
    config.check(key, value, "here")


def test_settings_that_differ_from_the_usual_are_named() -> None:
    assert ExtractionSettings().changed() == []
    assert ExtractionSettings(detector="frame-difference", filters=["area", "blue", "black"]).changed() == []
    assert ExtractionSettings(start=5, quality=90).changed() == ["start", "quality"]


def test_each_rule_with_an_option_is_one_of_predict() -> None:
    main.main(["--version"])
    there = {param.name: param for param in main.cli.commands["predict"].params}
    made = options_of(Rules)
    assert [option.name for option in made] == ["expected", "min_votes", "max_far", "unproven"]
    assert [(option.opts, option.help) for option in made] == [
        (there[option.name].opts, there[option.name].help) for option in made
    ]


def test_what_mends_an_existing_output_is_said_by_python_and_by_the_shell(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import numpy as np

    np.save(tmp_path / "dark.npy", np.zeros((3, 48, 64, 3), np.uint8))
    words = [str(tmp_path / "dark.npy"), "-o", str(tmp_path / "dark.h5")]
    sp.extract(words[0], words[2])
    with pytest.raises(OutputExistsError) as caught:
        sp.extract(words[0], words[2])
    assert caught.value.__notes__ == ["overwrite=True replaces it", "resume=True goes on with it"]
    assert main.main(["extract", *words]) == 1
    assert "exists already; add --overwrite to replace it or --resume to go on with it" in capsys.readouterr().err
    with pytest.raises(OutputExistsError) as caught:
        sp.predict(words[0], "simulated", store=words[2])
    assert caught.value.__notes__ == ["overwrite=True replaces it"]
