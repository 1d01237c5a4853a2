"""A truncated or damaged store is called that by every command that takes a path, and is never opened as a video."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from learning_data import as_if_torch
from store_tools import names, one_line

import spatterlib as sp
from spatterlib.cli.main import main
from spatterlib.errors import MissingFileError, StoreError, VideoError

SAID = ("is damaged: ", "copy it again from where it was whole")
# Bytes of a file that are left: nothing, part of the signature, within the superblock and the first structures, half.
CUTS = (0, 4, 8, 47, 100, 1000, 1999, 5000, -2)
LOST = ("zarr.json", "columns/x/c/0", "frame_log/time/c/0", "crops/ends/c/0", "crops/data/c/0")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    sp.simulate(folder / "build.mp4", gas_flow="high", seconds=2, width=192, height=128, seed=3)
    for suffix in (".h5", ".zarr"):
        sp.extract(folder / "build.mp4", folder / f"ok{suffix}")
    return folder


def broken(whole: Path, folder: Path) -> list[Path]:
    """Stores, cut and with parts missing and changed."""
    content = (whole / "ok.h5").read_bytes()
    made = []
    for cut in CUTS:
        made.append(folder / f"cut{cut}.h5")
        made[-1].write_bytes(content[: cut if cut >= 0 else len(content) // 2])
    made.append(folder / "renamed.mp4")
    made[-1].write_bytes(content[:3000])
    for number, name in enumerate(LOST):
        for how in ("gone", "cut", "flipped"):
            made.append(folder / f"{how}{number}.zarr")
            shutil.copytree(whole / "ok.zarr", made[-1])
            file = made[-1] / name
            data = file.read_bytes()
            if how == "gone":
                file.unlink()
            elif how == "cut":
                file.write_bytes(data[:20])
            elif name == "zarr.json":
                file.write_bytes(data.replace(b'"rows"', b'"r\x02ws"'))
            else:
                made.pop()
    return made


def commands(store: Path, whole: Path, folder: Path) -> list[list[str]]:
    camera = folder / "camera.toml"
    camera.write_text("[camera]\nframe_rate = 25\nexposure = 0.036\n")
    given = [
        ["info", str(store)],
        ["predict", str(store), "--model", "simulated"],
        ["convert", str(store), str(folder / "new.h5")],
        ["extract", str(store), "-o", str(folder / "extracted.h5")],
        ["forecast", str(store)],
        ["streaks", str(store), "--camera", str(camera), "-o", str(folder / "streaks.npz")],
        ["label", str(store), "--all", "low"],
        ["train", str(store), "-o", str(folder / "runs")],
        ["evaluate", "lenet5", str(store)],
        ["show", str(store), "--rows", "0:", "-o", str(folder / "crops.png")],
        ["monitor", str(store), "--reference", "30", "--camera", str(camera)],
    ]
    resumed = ["extract", str(whole / "build.mp4"), "-o", str(store), "--resume"]
    return [*given, resumed] if store.suffix != ".mp4" else given


def test_every_command_says_damaged_and_what_can_be_done(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    as_if_torch(monkeypatch)
    silent = []
    for number, store in enumerate(broken(whole, tmp_path)):
        (tmp_path / str(number)).mkdir()
        for command in commands(store, whole, tmp_path / str(number)):
            code = main(command)
            said = capsys.readouterr().err
            if code != 1 or not all(text in said for text in SAID) or "video" in said or said.count("\n") != 1:
                silent.append((command[0], store.name, code, said))
        assert names(tmp_path / str(number)) == ["camera.toml"]
    assert silent == []


def test_a_store_is_never_a_recording(whole: Path, tmp_path: Path) -> None:
    for name in ("ok.h5", "ok.zarr"):
        with pytest.raises(VideoError, match="is a store of crops, not a recording") as caught:
            sp.extract(whole / name, tmp_path / "new.h5")
        one_line(caught.value)
    shutil.copy(whole / "build.mp4", tmp_path / "recording.h5")
    with pytest.raises(StoreError, match="does not begin as one"):
        sp.open_video(tmp_path / "recording.h5")
    with pytest.raises(MissingFileError):
        sp.open_video(tmp_path / "none.h5")
    (tmp_path / "user_block.dat").write_bytes(bytes(512) + (whole / "ok.h5").read_bytes())
    with pytest.raises(StoreError):
        sp.open_video(tmp_path / "user_block.dat")


def test_a_reader_of_somebody_else_may_read_recordings_in_hdf5(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cameras write such files; whoever installs a reader for them means it."""
    real = type(sp.catalog()).ask

    def ask(self: object, hook: str, **arguments: object) -> object:
        return sp.open_video(whole / "build.mp4").video, []

    (tmp_path / "camera.h5").write_bytes(b"\x89HDF\r\n\x1a\n of a camera")
    monkeypatch.setattr(type(sp.catalog()), "ask", lambda *a, **o: (ask if "camera" in str(o) else real)(*a, **o))
    with sp.open_video(tmp_path / "camera.h5") as video:
        assert video.width == 192


def test_what_has_a_footing_elsewhere_is_named(tmp_path: Path) -> None:
    """A folder with the suffix and nothing of a store in it is no damaged store."""
    (tmp_path / "notes.zarr").mkdir()
    (tmp_path / "notes.zarr" / "notes.txt").write_text("")
    with pytest.raises(StoreError, match="is no Zarr store"):
        sp.open_store(tmp_path / "notes.zarr")
    (tmp_path / "other.zarr").mkdir()
    (tmp_path / "other.zarr" / "zarr.json").write_text(json.dumps({"zarr_format": 3, "node_type": "group"}))
    with pytest.raises(StoreError, match="of something else"):
        sp.open_store(tmp_path / "other.zarr")
