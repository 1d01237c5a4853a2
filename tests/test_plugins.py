"""The loader: everybody's plugins by the same door, a broken one named while the rest goes on."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import spatterlib as sp
from spatterlib.errors import PluginError
from spatterlib.plugins import identity

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


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Put a distribution with one plugin module onto the path, as pip would."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv("SPATTERLIB_PLUGINS", raising=False)
    modules: list[str] = []

    def put(distribution: str, source: str, version: str = "1.2.3") -> None:
        module = distribution.replace("-", "_")
        modules.append(module)
        (tmp_path / f"{module}.py").write_text(source)
        info = tmp_path / f"{module}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[spatterlib]\n{distribution} = {module}\n")
        sp.catalog.cache_clear()

    sp.catalog.cache_clear()
    yield put
    for module in modules:
        sys.modules.pop(module, None)
    sp.catalog.cache_clear()


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
    assert "spatter_detektors" in failed.error


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
    assert set(sp.catalog().detectors) - {"frame-difference"} == there


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
