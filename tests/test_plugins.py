"""The loader: everybody's plugins by the same door, a broken one named while the rest goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import spatterlib as sp
from spatterlib.cli.main import main
from spatterlib.errors import ContractError, PluginError
from spatterlib.plugins.registry import identity
from spatterlib.video.opening import expand

GOOD = """
from dataclasses import dataclass
import numpy as np
import spatterlib

@dataclass(frozen=True)
class Nothing:
    '''Find nothing.'''
    lead = 0
    patience: int = 3
    def __call__(self, clip):
        return np.empty(0, spatterlib.DETECTION)

@spatterlib.hookimpl
def spatter_detectors():
    return {"%s": Nothing}
"""


Install = Callable[..., None]
Run = Callable[..., int]


@pytest.fixture
def install(isolated_catalog: Install) -> Install:
    """Put a distribution with one plugin module onto the path, as pip would."""
    return isolated_catalog


def test_a_third_party_detector_is_found_made_and_used(install: Callable[..., None]) -> None:
    install("spatterlib-nothing", GOOD % "nothing")
    detector = sp.make("detector", "nothing", patience=5)
    assert identity(detector) == {"id": "nothing", "patience": 5}
    [(_, found)] = sp.detect(sp.Clip.of(np.zeros((2, 8, 8, 3), np.uint8)), detector)
    assert len(found) == 0
    source = sp.catalog().origins["detector", "nothing"]
    assert (source.distribution, source.version) == ("spatterlib-nothing", "1.2.3")


def test_one_that_does_not_import_is_named_and_the_rest_goes_on(install: Callable[..., None]) -> None:
    install("spatterlib-broken", "import nowhere_to_be_found\n")
    install("spatterlib-nothing", GOOD % "nothing")
    [failed] = sp.catalog().failed
    assert (failed.distribution, failed.version) == ("spatterlib-broken", "1.2.3")
    assert "nowhere_to_be_found" in failed.error
    assert sp.make("detector", "nothing")
    with pytest.raises(PluginError, match=r"spatterlib-broken 1\.2\.3 did not load: ModuleNotFoundError"):
        sp.make("detector", "broken")


def test_the_same_id_twice_is_an_error_that_names_both(install: Callable[..., None]) -> None:
    install("spatterlib-one", GOOD % "same")
    install("spatterlib-two", GOOD % "same", version="7")
    with pytest.raises(PluginError, match=r"twice, from .*spatterlib-.* and from .*spatterlib-") as caught:
        sp.make("detector", "same")
    assert "spatterlib-one 1.2.3" in str(caught.value)
    assert "spatterlib-two 7" in str(caught.value)
    assert sp.make("detector", "frame-difference")


def test_a_misspelled_hook_is_an_error(install: Callable[..., None]) -> None:
    install(
        "spatterlib-typo",
        "import spatterlib\n@spatterlib.hookimpl\ndef spatter_detektors():\n    return {}\n",
    )
    [failed] = sp.catalog().failed
    assert failed.error.startswith(
        "ContractError: there is no hook 'spatter_detektors'; did you mean 'spatter_detectors'?"
    )


def test_a_module_that_marks_no_function_is_an_error(install: Install) -> None:
    install("spatterlib-unmarked", (GOOD % "nothing").replace("@spatterlib.hookimpl", ""))
    [failed] = sp.catalog().failed
    assert "implements no hook; mark its functions with @spatterlib.hookimpl" in failed.error


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("patience: int = 3", "patience: int", "its parameter 'patience' has no default"),
        (
            "patience: int = 3",
            "patience: object = field(default_factory=object)",
            "the default of its parameter 'patience' is object, which is not JSON",
        ),
        ("lead = 0", "", "Nothing has no lead"),
        ("def __call__", "def call", "Nothing has no __call__"),
    ],
)
def test_a_detector_that_cannot_work_is_named_before_it_is_used(
    install: Install, right: str, wrong: str, said: str
) -> None:
    install(
        "spatterlib-half", (GOOD % "half").replace(right, wrong).replace("import dataclass", "import dataclass, field")
    )
    with pytest.raises(
        PluginError, match=r"no detector 'half' is installed; .*spatterlib-half 1\.2\.3 did not load"
    ) as caught:
        sp.make("detector", "half")
    assert said in str(caught.value)


LISTED = (GOOD % "listed").replace("patience: int = 3", "sizes: list = field(default_factory=lambda: [3, 5])")


def test_defaults_that_a_factory_makes_are_listed_and_results_say_whose_detector_it_was(
    install: Install, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install("spatterlib-listed", LISTED.replace("import dataclass", "import dataclass, field"), version="4.5")
    assert main(["plugins"]) == 0
    assert "sizes = [3, 5]" in capsys.readouterr().out
    np.save(tmp_path / "dark.npy", np.zeros((5, 8, 8), np.uint8))
    sp.extract(tmp_path / "dark.npy", tmp_path / "dark.h5", detector="listed", progress=False)
    with sp.open_store(tmp_path / "dark.h5") as store:
        assert store.attrs["versions"]["spatterlib-listed"] == "4.5"
    for source, how in (("dark.npy", {"detector": "listed"}), ("dark.h5", {})):
        verdict = sp.predict(tmp_path / source, "simulated", progress=False, **how)  # type: ignore[arg-type]
        assert verdict.settings["versions"]["spatterlib-listed"] == "4.5"


SHARING = (GOOD % "sharing").replace("patience: int = 3", "min_area: int = 3\n    config: int = 4")


def test_where_names_are_shared_the_options_carry_the_id(
    install: Install, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install("spatterlib-sharing", SHARING)
    np.save(tmp_path / "dark.npy", np.zeros((5, 8, 8), np.uint8))
    video, out = str(tmp_path / "dark.npy"), str(tmp_path / "dark.h5")
    assert main(["extract", video, "-o", out, "--detector", "sharing", "--min-area", "7"]) == 2
    said = "--min-area is a parameter of several: use --sharing-min-area or --area-min-area"
    assert said in capsys.readouterr().err
    own = ["--detector", "sharing", "--sharing-min-area", "7", "--sharing-config", "8", "--area-min-area", "9"]
    assert main(["extract", video, "-o", out, *own]) == 0
    with sp.open_store(out) as store:
        assert store.attrs["detector"] == {"id": "sharing", "min_area": 7, "config": 8}
        assert store.attrs["filters"][0]["min_area"] == 9


@pytest.mark.parametrize("answer", ["['a']", "{'a': 5}", "1 / 0"])
def test_a_hook_that_answers_wrongly_is_named(install: Callable[..., None], answer: str) -> None:
    install(
        "spatterlib-wrong",
        f"import spatterlib\n@spatterlib.hookimpl\ndef spatter_filters():\n    return {answer}\n",
    )
    [failed] = sp.catalog().failed
    assert failed.distribution == "spatterlib-wrong"
    assert sp.make("filter", "area")


@pytest.mark.parametrize(
    ("chosen", "there"),
    [("", set()), ("spatterlib-one", {"one"}), ("Spatterlib_Two, spatterlib-one", {"one", "two"})],
)
def test_the_environment_chooses_distributions(
    install: Callable[..., None], monkeypatch: pytest.MonkeyPatch, chosen: str, there: set[str]
) -> None:
    install("spatterlib-one", GOOD % "one")
    install("spatterlib-two", GOOD % "two")
    monkeypatch.setenv("SPATTERLIB_PLUGINS", chosen)
    assert set(sp.catalog().detectors) - {"frame-difference", "particles"} == there


def test_an_unknown_kind_names_the_kinds() -> None:
    with pytest.raises(PluginError, match="detector, filter, store, classifier"):
        sp.make("detektor", "frame-difference")


def test_objects_of_no_installed_plugin_are_named_by_their_class() -> None:
    class Own:
        pass

    assert identity(Own())["id"].endswith("Own")


def test_make_takes_objects_and_overrides_their_parameters() -> None:
    area: Any = sp.make("filter", {"id": "area", "min_area": 5})
    assert sp.make("filter", area) is area
    assert sp.make("filter", area, min_area=7).min_area == 7


COMMANDS = """
import click, spatterlib

@click.command()
def hello():
    click.echo("hello from a plugin")

@click.command()
def convert():
    click.echo("not the real one")

@spatterlib.hookimpl
def spatter_commands(cli):
    cli.add_command(hello)
    cli.add_command(convert)
    %s
"""


class TestCommands:
    def test_of_a_plugin_stand_beside_our_own_and_replace_none(
        self, install: Install, command_line: Run, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
    ) -> None:
        install("spatterlib-polite", COMMANDS % "")
        assert command_line("hello") == 0
        assert "hello from a plugin" in capsys.readouterr().out
        assert "spatterlib-polite 1.2.3 has a command 'convert' of its own" in caplog.text
        assert command_line("convert", "--help") == 0
        assert "Copy store A" in capsys.readouterr().out

    def test_of_a_plugin_that_fails_are_named_and_the_rest_goes_on(
        self, install: Install, command_line: Run, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
    ) -> None:
        install("spatterlib-rude", COMMANDS % "raise KeyError('nobody')")
        assert command_line("plugins") == 0
        assert "frame-difference" in capsys.readouterr().out
        assert "spatterlib-rude 1.2.3 failed to add its commands: KeyError: 'nobody'" in caplog.text


@pytest.mark.parametrize(
    ("answer", "said"), [("5", "int is no Video"), ("1 / 0", "ZeroDivisionError: division by zero")]
)
def test_a_reader_that_fails_is_named_and_the_next_is_asked(
    install: Install, tmp_path: Path, caplog: pytest.LogCaptureFixture, answer: str, said: str
) -> None:
    install(
        "spatterlib-reader",
        f"import spatterlib\n@spatterlib.hookimpl\ndef spatter_open_video(path):\n    return {answer}\n",
    )
    np.save(tmp_path / "dark.npy", np.zeros((5, 8, 8), np.uint8))
    with sp.open_video(tmp_path / "dark.npy") as video:
        assert len(video.times) == 5
    assert "spatterlib_reader of spatterlib-reader 1.2.3 failed to open" in caplog.text
    assert said in caplog.text
    (tmp_path / "notes.txt").write_text("no recording")
    with pytest.raises(ContractError, match=r"spatterlib-reader 1\.2\.3 failed to open .*notes\.txt"):
        sp.open_video(tmp_path / "notes.txt")


READER = """
import numpy as np
from spatterlib.plugins import RgbPicture, hookimpl

class Dark:
    width, height, times = 16, 9, np.arange(12) / 25
    def __init__(self, name):
        self.name = name
    def identity(self):
        return {"name": self.name}
    def read(self, start, stop):
        return (RgbPicture(np.zeros((9, 16), np.uint8)) for _ in range(start, stop))
    def close(self):
        pass

"""


def reader(name: str, options: str = "") -> str:
    return READER + f"@hookimpl({options})\ndef spatter_open_video(path):\n    return Dark({name!r})\n"


def wrapper(hook: str, *lines: str, options: str = "wrapper=True") -> str:
    body = "".join(f"    {line}\n" for line in lines)
    return READER + f"@hookimpl({options})\ndef {hook}({'path' if 'open' in hook else ''}):\n{body}"


class TestHooksRunThroughPluggy:
    """Order and wrappers do what the authors of pluggy plugins know."""

    @pytest.fixture
    def recording(self, tmp_path: Path) -> Path:
        np.save(tmp_path / "dark.npy", np.zeros((5, 8, 8), np.uint8))
        return tmp_path / "dark.npy"

    @pytest.mark.parametrize(
        ("one", "two", "first"),
        [
            ("tryfirst=True", "", "one"),
            ("", "tryfirst=True", "two"),
            ("trylast=True", "", "two"),
            ("", "trylast=True", "one"),
        ],
    )
    def test_who_wants_to_be_first_is(self, install: Install, recording: Path, one: str, two: str, first: str) -> None:
        install("spatterlib-one", reader("one", one))
        install("spatterlib-two", reader("two", two))
        assert sp.open_video(recording).name == first

    def test_readers_of_others_are_asked_before_the_built_in_ones(self, install: Install, recording: Path) -> None:
        install("spatterlib-late", reader("late", "trylast=True"))
        assert sp.open_video(recording).name == "late"

    def test_a_wrapper_sees_and_changes_the_result(self, install: Install, recording: Path) -> None:
        lines = ("video = yield", "return Dark(f'{video.name}, {len(video.times)} frames')")
        install("spatterlib-wrap", wrapper("spatter_open_video", *lines))
        assert sp.open_video(recording).name == "dark.npy, 5 frames"

    def test_a_wrapper_sees_and_changes_an_error(self, install: Install, tmp_path: Path) -> None:
        lines = ("try:", "    return (yield)", "except Exception as error:", "    return Dark(type(error).__name__)")
        install("spatterlib-wrap", wrapper("spatter_open_video", *lines))
        (tmp_path / "notes.mp4").write_text("no recording")
        assert sp.open_video(tmp_path / "notes.mp4").name == "VideoError"

    def test_a_wrapper_takes_and_gives_classes(self, install: Install) -> None:
        lines = (
            "own = {'bluish': [found['blue'] for found in (yield) if 'blue' in found][0]}",
            "return [own]",
        )
        install("spatterlib-wrap", wrapper("spatter_filters", *lines), version="3")
        assert list(sp.catalog().filters) == ["bluish"]
        assert str(sp.catalog().origins["filter", "bluish"]) == "spatterlib_wrap of spatterlib-wrap 3"
        assert identity(sp.make("filter", "bluish"))["id"] == "bluish"

    @pytest.mark.parametrize(
        ("lines", "said"),
        [
            (["raise KeyError('early')", "yield"], "it raised KeyError: 'early'"),
            (["video = yield", "raise KeyError('late')"], "it raised KeyError: 'late'"),
            (["video = yield", "yield video", "return video"], "a wrapper yields once"),
            (["if False:", "    yield"], "a wrapper yields once"),
            (["video = yield", "return 5"], "int is no Video"),
        ],
    )
    def test_a_wrapper_that_fails_is_named_and_changes_nothing(
        self, install: Install, recording: Path, caplog: pytest.LogCaptureFixture, lines: list[str], said: str
    ) -> None:
        install("spatterlib-wrap", wrapper("spatter_open_video", *lines))
        assert sp.open_video(recording).name == "dark.npy"
        assert f"spatterlib_wrap of spatterlib-wrap 1.2.3 failed to open {recording}: {said}" in caplog.text

    @pytest.mark.parametrize(
        ("result", "said"),
        [
            ("None", "must return the list of all answers, got None"),
            ("[{'a': 5}]", "must return a dict of classes by id"),
        ],
    )
    def test_a_wrapper_of_classes_that_gives_something_else_is_named(
        self, install: Install, result: str, said: str
    ) -> None:
        install("spatterlib-wrap", wrapper("spatter_filters", "yield", f"return {result}"))
        assert "area" in sp.catalog().filters
        [failed] = sp.catalog().failed
        assert said in failed.error

    def test_a_wrapper_of_the_old_form_is_an_error(self, install: Install) -> None:
        install("spatterlib-old", wrapper("spatter_filters", "yield", options="hookwrapper=True"))
        [failed] = sp.catalog().failed
        assert failed.error.endswith("spatter_filters is a wrapper of pluggy's old form; mark it with wrapper=True")


def test_files_of_a_reader_are_found_by_its_suffixes(install: Install, tmp_path: Path) -> None:
    install("spatterlib-dark", "suffixes = ('.dark',)\n" + reader("dark"))
    for name in ("b.dark", "a.DARK", "notes.txt"):
        (tmp_path / name).write_text("")
    assert [Path(name).name for name in expand([tmp_path])] == ["a.DARK", "b.dark"]


@pytest.mark.parametrize("suffixes", ["['.dark']", "('dark',)", "('.Dark',)", "'.dark'", "(5,)"])
def test_suffixes_that_are_none_are_named(install: Install, suffixes: str) -> None:
    install("spatterlib-dark", f"suffixes = {suffixes}\n" + reader("dark"))
    [failed] = sp.catalog().failed
    assert "expected a tuple such as ('.h5', '.hdf5'), in small letters" in failed.error


def test_a_plugin_that_ends_the_process_at_import_does_not(install: Install) -> None:
    install("spatterlib-exit", "raise SystemExit('no licence')")
    [failed] = sp.catalog().failed
    assert (failed.distribution, failed.error) == ("spatterlib-exit", "SystemExit: no licence")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("class Own: pass", "must be a frozen dataclass"),
        ("@dataclass(frozen=True)\nclass Own: pass", "Own has no fit, load, preprocessing"),
    ],
)
def test_a_class_that_cannot_be_a_classifier_is_named(install: Install, body: str, said: str) -> None:
    source = f"from dataclasses import dataclass\nimport spatterlib\n{body}\n"
    hook = "@spatterlib.hookimpl\ndef spatter_classifiers():\n    return {'own': Own}\n"
    install("spatterlib-half", source + hook)
    [failed] = sp.catalog().failed
    assert failed.distribution == "spatterlib-half"
    assert said in failed.error


LATE = """
from dataclasses import dataclass
import numpy as np
import spatterlib
from spatterlib.plugins import table_of

@dataclass(frozen=True)
class Late:
    '''Fine, up to frame 500.'''
    lead = 0
    def __call__(self, clip):
        own = range(len(clip.pictures))
        table = table_of(clip, own, [(0, 0, 4, 4) for _ in own], [16 for _ in own])
        if clip.numbers[-1] >= 500:
            %s
        return table

@spatterlib.hookimpl
def spatter_detectors():
    return {"late": Late}
"""


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("raise ValueError('out of tune')", "failed in frames 471-502: ValueError: out of tune"),
        ("return table['x']", "broke its contract in frames 471-502: it must return an (n,) array of dtype DETECTION"),
        ("table['x'][29] = 29", "a box lies outside the frame of 32x24 px or is empty: 4x4 px at (29, 0) in frame 500"),
        ("table['frame'][29] = 7", "a row is of frame 7, a frame outside 471-502"),
    ],
)
@pytest.mark.parametrize("workers", [1, 2])
def test_a_contract_broken_in_the_middle_of_a_run_is_told_and_what_was_done_is_kept(
    install: Install, tmp_path: Path, fault: str, said: str, workers: int
) -> None:
    install("spatterlib-late", LATE % fault, version="0.9")
    np.save(tmp_path / "long.npy", np.zeros((600, 24, 32), np.uint8))
    with pytest.raises(ContractError) as caught:
        sp.extract(
            tmp_path / "long.npy", tmp_path / "long.h5", detector="late", filters=[], workers=workers, progress=False
        )
    assert "detector 'late' (spatterlib_late of spatterlib-late 0.9)" in str(caught.value)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    with sp.open_store(tmp_path / "long.h5") as store:
        assert store.attrs["complete"] is False
        assert store.attrs["state"].startswith("failed: ContractError: detector 'late'")
        assert len(store) == len(store.frame_log) == 470


def test_after_one_recording_failed_the_others_are_worked_on(
    install: Install, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install("spatterlib-late", LATE % "raise ValueError('out of tune')")
    np.save(tmp_path / "a.npy", np.zeros((600, 24, 32), np.uint8))
    np.save(tmp_path / "b.npy", np.zeros((100, 24, 32), np.uint8))
    videos = [str(tmp_path / name) for name in ("a.npy", "b.npy")]
    assert main(["extract", *videos, "-o", str(tmp_path / "out"), "--detector", "late"]) == 1
    assert "spatterlib-late 1.2.3) failed in frames" in capsys.readouterr().err
    with sp.open_store(tmp_path / "out" / "b.h5") as store:
        assert store.attrs["complete"] is True
