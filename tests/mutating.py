"""Damaged inputs, each used in a process of its own with limits on time and memory.

``python tests/mutating.py FOLDER FIRST STOP`` makes samples in the folder and prints a JSON line a case; a case is
repeated by its number. A process that has imported everything once forks a child for each case.
"""

from __future__ import annotations

import gc
import io
import json
import os
import random
import resource
import shutil
import signal
import sys
import time
import tomllib
import traceback
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
import tomli_w
from learning_data import exported_before, state_dict
from media import paint, write

import spatterlib as sp
from spatterlib.cli.main import main
from spatterlib.common.image_codec import encode
from spatterlib.errors import SpatterlibError
from spatterlib.learning.labels import edit_labels, labelled, write_index
from spatterlib.learning.novelty import Familiar
from spatterlib.learning.runs import SIMULATED
from spatterlib.stores.opening import create_store
from spatterlib.testing.scenes import frames_of, rows_of

MEMORY = 1 << 30
"""Bytes that a case may take on top of what the libraries take when they are imported."""
CPU, CLOCK = 30, 180
"""S, processor time of a case, and time on the clock: machines are slow at times."""

FILTERS: list[Any] = [{"id": "area", "min_area": 1}]
CROPS = [np.full((30, 40, 3), 90, np.uint8), np.full((50, 20, 3), 200, np.uint8)]
CONFIG = """[extract]
start = 1
stop = "0.3s"
filters = [{ id = "area", min_area = 1 }, "black", { id = "blue", balance = 1.5 }]
roi = [4, 4, 90, 70]
limit = 50
crop_format = "png"
quality = 90
gap = 0.5
workers = 1

[extract.detector]
id = "frame-difference"
threshold = 25
"""

Chance: TypeAlias = random.Random


# Samples, and what somebody does with them


def film(path: Path) -> None:
    codec = {".avi": "mpeg4", ".ts": "mpeg2video"}.get(path.suffix, "libx264")
    write(path, 24, codec=codec, size=(96, 80), x264="bframes=2:keyint=8:scenecut=0:threads=1:log-level=none")


def parted_film(path: Path) -> None:
    write(
        path, 24, size=(96, 80), x264="keyint=8:threads=1:log-level=none", mux={"movflags": "frag_keyframe+empty_moov"}
    )


def pictures(path: Path) -> None:
    path.mkdir()
    for number, suffix in enumerate([".png", ".jpg", ".bmp", ".png"]):
        cv2.imwrite(str(path / f"{number}{suffix}"), paint(number, 96, 80))


def pages(path: Path) -> None:
    kind = np.uint16 if "16" in path.name else np.uint8
    frames: list[Any] = [paint(number, 96, 80).astype(kind) * (257 if kind == np.uint16 else 1) for number in range(4)]
    packed = [cv2.IMWRITE_TIFF_COMPRESSION, cv2.IMWRITE_TIFF_COMPRESSION_LZW if kind == np.uint8 else 1]
    cv2.imwritemulti(str(path), frames, packed)


def stack(path: Path) -> None:
    np.save(path, np.stack([paint(number, 96, 80) for number in range(8)]))


def look_at_recording(path: Path) -> None:
    out = path.with_name("result.h5")
    sp.extract(path, out, filters=FILTERS)
    with sp.open_store(out) as store:
        store.read(range(len(store)))


def jpegs(count: int) -> list[bytes]:
    return [encode(np.full((9, 12, 3), row % 256, np.uint8)) for row in range(count)]


def store_of(path: Path) -> None:
    with create_store(path) as store:
        store.append(rows_of(0, 200), jpegs(200), frames_of(0, 200))
        store.set_column("label", np.array(["low", "high"] * 100))
        store.set_column("probability", np.linspace(0, 1, 200))


def of_research(path: Path) -> None:
    store_of(path.with_name("source.h5"))
    sp.convert(path.with_name("source.h5"), path, to="original")
    path.with_name("source.h5").unlink()


def use_store(path: Path) -> None:
    with sp.open_store(path) as store:
        table, crops = store.table, store.encoded(range(len(store)))
        assert len(table) == len(crops) == len(store)
        json.dumps(store.attrs)
        for name in store.columns:
            assert len(store.column(name)) == len(table)
        sp.layers(table["time"])
        _ = store.frame_log
    look_at_crops(path)
    if path.suffix == ".zarr" or path.name.startswith("store"):
        with sp.open_store(path, "a") as store:
            store.append(rows_of(len(store), 5), jpegs(5), frames_of(0, 5))


def look_at_crops(path: Path) -> None:
    with sp.open_store(path) as store:
        for row in range(0, len(store), 7):
            try:
                store.read([row])
            except SpatterlibError as error:
                one_line(error)


def weights(path: Path) -> None:
    from safetensors.numpy import save_file

    save_file(state_dict(), path)


def run(path: Path) -> None:
    shutil.copytree(SIMULATED, path)


def exported(path: Path) -> None:
    exported_before(path)


def use_model(path: Path) -> None:
    model = sp.load_model(path)
    assert model.probabilities(CROPS).shape == (2, len(model.classes))
    if path.is_dir():
        familiar = Familiar.load(path)
        if familiar is not None:
            familiar.distances(model.preprocessing.prepare(CROPS))


def settings(path: Path) -> None:
    path.write_text(CONFIG)
    stack(path.with_name("recording.npy"))


def use_settings(path: Path) -> None:
    ask("extract", path.with_name("recording.npy"), "-o", path.with_name("result.h5"), "--config", path)


def rows_to_label(path: Path) -> None:
    path.write_text("row,label\n" + "".join(f"{row},{'low' if row % 3 else 'high'}\n" for row in range(0, 200, 2)))
    store_of(path.with_name("store.h5"))


def times_to_label(path: Path) -> None:
    path.write_text("start,stop,label\n0,1.5,low\n1.5,3,high\n3,,low\n")
    store_of(path.with_name("store.h5"))


def label(path: Path) -> None:
    edit_labels(path.with_name("store.h5"), path)


def index(path: Path) -> None:
    store_of(path.with_name("store.h5"))
    of_research(path.with_name("video.h5"))
    write_index({path.with_name("store.h5"): "low", path.with_name("video.h5"): "high"}, path, seed=1)


def use_index(path: Path) -> None:
    labelled(path)


def counts(path: Path) -> None:
    of_research(path.with_name("video.h5"))
    assert path.name == "video_spatter_at_frame.csv"


def use_counts(path: Path) -> None:
    use_store(path.with_name("video.h5"))


def ask(*arguments: Any) -> None:
    """The command line, as it would end."""
    said = io.StringIO()
    with redirect_stderr(said), redirect_stdout(io.StringIO()):
        code = main([str(argument) for argument in arguments])
    text = said.getvalue()
    assert code in (0, 1, 2, 3), (code, text)
    assert "internal error" not in text, text
    assert "Traceback" not in text, text
    if code == 1:
        raise SpatterlibError(text.strip().removeprefix("error: "))


Sample: TypeAlias = tuple[str, Callable[[Path], None], Callable[[Path], None], str]

SAMPLES: tuple[Sample, ...] = (
    ("film.mp4", film, look_at_recording, ""),
    ("store.h5", store_of, use_store, ""),
    ("film.mkv", film, look_at_recording, ""),
    ("store.zarr", store_of, use_store, ""),
    ("film.avi", film, look_at_recording, ""),
    ("settings.toml", settings, use_settings, ""),
    ("film.ts", film, look_at_recording, ""),
    ("weights.safetensors", weights, use_model, ""),
    ("parted.mp4", parted_film, look_at_recording, ""),
    ("rows.csv", rows_to_label, label, ""),
    ("pages.tif", pages, look_at_recording, ""),
    ("research.h5", of_research, use_store, ""),
    ("pages16.tif", pages, look_at_recording, ""),
    ("times.csv", times_to_label, label, ""),
    ("stack.npy", stack, look_at_recording, ""),
    ("run", run, use_model, ""),
    ("pictures", pictures, look_at_recording, ""),
    ("model.onnx", exported, use_model, ""),
    ("images.csv", index, use_index, ""),
    ("video_spatter_at_frame.csv", counts, use_counts, ""),
    ("run", run, use_model, "model.json"),
    ("store.zarr", store_of, use_store, "zarr.json"),
    ("settings.toml", settings, use_settings, ""),
    ("film.mp4", film, look_at_recording, ""),
)
"""Name, how it is made, how it is used, and which file of a folder is damaged (any where it does not say)."""

RETYPED = 2000
"""From this case on, sound settings and records have values of the wrong kind."""
SOUND: tuple[Sample, ...] = (
    ("settings.toml", settings, use_settings, ""),
    ("run", run, use_model, "model.json"),
    ("run", run, use_model, "familiar.json"),
    ("store.zarr", store_of, use_store, "zarr.json"),
)


# Damage

_TELLING = [0, 1, 127, 128, 255]
_LARGE = [0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF, 1 << 20, 1 << 31, 1 << 40]
_WORDS = [
    "-1",
    "0",
    "1",
    "2",
    "1e999",
    "-1e999",
    "nan",
    "inf",
    "99999999999999999999",
    "4294967296",
    "true",
    "null",
    '""',
    "[]",
    "{}",
    "[[]]",
    "'x'",
    "0x10",
    "1e-320",
    "'\u2028'",
    "18446744073709551615",
    "-9223372036854775808",
    "../../../etc/passwd",
    "/dev/zero",
    "\x00",
    "\ufeff",
    "\ud7ff",
    "0.5",
    "1,5",
    '""""',
]


def flip(data: bytearray, chance: Chance) -> None:
    """Other values in a few bytes or in a part of all, more often near the head."""
    many = chance.choice([1, 2, 5, 30, max(1, len(data) // 200)])
    for _ in range(many):
        place = chance.randrange(min(len(data), 600) if chance.random() < 0.4 else len(data))
        data[place] = chance.choice([*_TELLING, chance.randrange(256), data[place] ^ (1 << chance.randrange(8))])


def enlarge(data: bytearray, chance: Chance) -> None:
    """Numbers of 2, 4 or 8 bytes replaced by telling ones."""
    for _ in range(chance.choice([1, 1, 3, 10])):
        width, order = chance.choice([2, 4, 4, 8]), chance.choice(["little", "big"])
        place = chance.randrange(max(1, min(len(data), 2000 if chance.random() < 0.5 else len(data)) - width))
        number = chance.choice(_LARGE) & ((1 << 8 * width) - 1)
        data[place : place + width] = number.to_bytes(width, order)  # type: ignore[arg-type]


def truncate(data: bytearray, chance: Chance) -> None:
    del data[chance.randrange(len(data)) :]


def remove(data: bytearray, chance: Chance) -> None:
    start = chance.randrange(len(data))
    del data[start : start + chance.choice([1, 4, 64, 1000, len(data) // 3 + 1])]


def double(data: bytearray, chance: Chance) -> None:
    start = chance.randrange(len(data))
    data[start:start] = data[start : start + chance.choice([1, 8, 100, 2000])]


def blank(data: bytearray, chance: Chance) -> None:
    start, count = chance.randrange(len(data)), chance.choice([8, 100, 1000, 5000])
    count = min(count, len(data) - start)
    data[start : start + count] = chance.choice([b"\0", b"\xff"]) * count


def cut_box(data: bytearray, chance: Chance) -> None:
    """A box of an MP4 file removed, emptied, doubled, renamed, or of another length."""
    found = list(boxes(data, 0, len(data)))
    if not found:
        return truncate(data, chance)
    start, stop = chance.choice(found)
    how = chance.randrange(5)
    if how == 0:
        del data[start:stop]
    elif how == 1:
        data[start + 8 : stop] = bytes(stop - start - 8)
    elif how == 2:
        data[stop:stop] = data[start:stop]
    elif how == 3:
        data[start + 4 : start + 8] = chance.choice([b"free", b"moov", b"trak", b"stsz", b"\0\0\0\0", b"uuid"])
    else:
        length = chance.choice([0, 1, 7, stop - start - 1, stop - start + 9, 1 << 31])
        data[start : start + 4] = length.to_bytes(4, "big")
    return None


def boxes(data: bytearray, start: int, stop: int) -> Any:
    """(first byte, byte behind the last) of all boxes, those within others too (ISO/IEC 14496-12, 4.2)."""
    while start + 8 <= stop:
        size = int.from_bytes(data[start : start + 4], "big")
        if not 8 <= size <= stop - start:
            return
        yield start, start + size
        if bytes(data[start + 4 : start + 8]) in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"moof", b"traf"):
            yield from boxes(data, start + 8, start + size)
        start += size


def reword(data: bytearray, chance: Chance) -> None:
    """A number or word of a text replaced by one that is wrong."""
    for _ in range(chance.choice([1, 1, 2, 5])):
        places = [i for i in range(1, len(data)) if (data[i : i + 1].isalnum()) and not data[i - 1 : i].isalnum()]
        if not places:
            return
        start = stop = chance.choice(places)
        while stop < len(data) and bytes(data[stop : stop + 1]) not in (b",", b"\n", b" ", b"]", b"}", b'"', b":"):
            stop += 1
        data[start:stop] = chance.choice(_WORDS).encode("utf-8", "surrogatepass")


def shuffle_lines(data: bytearray, chance: Chance) -> None:
    lines = bytes(data).splitlines(keepends=True)
    for _ in range(chance.choice([1, 3])):
        one, two = chance.randrange(len(lines)), chance.randrange(len(lines))
        lines[one], lines[two] = lines[two], lines[one][: chance.randrange(len(lines[one]) + 1)]
    data[:] = b"".join(lines)


_VALUES: list[Any] = [
    None,
    True,
    0,
    -1,
    1 << 40,
    0.5,
    -0.5,
    1e300,
    float("nan"),
    float("inf"),
    "",
    "x",
    "1",
    [],
    [1],
    {},
]
_VALUES += [{"id": 1}, {"id": "area", "min_area": []}, [["a"]], {"a": {}}, "12.5s", "\ud800", 1 << 70]


def retype(data: bytearray, chance: Chance) -> None:
    """A value of a JSON or TOML text replaced by one of another kind, or left out; the text itself stays sound."""
    try:
        text = bytes(data).decode()
        sound = json.loads(text) if text.startswith("{") else tomllib.loads(text)
    except ValueError:
        return
    for _ in range(chance.choice([1, 1, 2])):
        places = list(leaves(sound))
        if places:
            owner, key = chance.choice(places)
            if chance.random() < 0.2:
                del owner[key]
            else:
                owner[key] = chance.choice([value for value in _VALUES if text.startswith("{") or value is not None])
    data[:] = (json.dumps(sound) if text.startswith("{") else tomli_w.dumps(sound)).encode("utf-8", "surrogatepass")


def leaves(value: Any) -> Any:
    """(owner, key) of everything within a JSON value."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from leaves(value[key])


def nest(data: bytearray, chance: Chance) -> None:
    place = chance.randrange(len(data))
    data[place:place] = chance.choice([b"[" * 5000, b"{" * 5000, b'"', b"'''", b"x" * 200_000, b"1" * 5000])


TEXT = (flip, truncate, remove, double, reword, reword, reword, reword, shuffle_lines, nest)
BINARY = (flip, flip, flip, enlarge, enlarge, truncate, remove, double, blank)


def damage(path: Path, which: str, chance: Chance, ways: Any = ()) -> str:
    """Damage a file, or one of a folder; what was done to which."""
    files = [path] if path.is_file() else sorted(file for file in path.rglob(which or "*") if file.is_file())
    if ways:
        files = files[:1] if path.is_file() else [path / which]
    file = chance.choice(files)
    data = bytearray(file.read_bytes())
    ways = ways or (TEXT if file.suffix in (".csv", ".toml", ".json") else BINARY)
    if file.suffix == ".mp4":
        ways = (*ways, *[cut_box] * 6)
    done = []
    for _ in range(chance.choice([1, 1, 1, 2])):
        if data:
            way = chance.choice(ways)
            way(data, chance)
            done.append(way.__name__)
    file.write_bytes(data)
    return f"{file.relative_to(path.parent)} {'+'.join(done)}"


# Cases


def one_line(error: BaseException) -> str:
    text = str(error)
    assert text, f"{type(error).__name__} says nothing"
    assert "it raised" not in text, f"a built-in reader failed: {text}"
    assert not {"\n", "\r"} & set(text), f"{type(error).__name__} says it in several lines: {text!r}"
    return text


def limited(memory: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU, CPU))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(CLOCK)


def use(path: Path, how: Callable[[Path], None], memory: int, told: int) -> None:
    """In the child: 0 = a result, 1 = an error in one line, 70 = neither."""
    code = 70
    try:
        limited(memory)
        try:
            how(path)
            code, said = 0, ""
        except SpatterlibError as error:
            said, code = f"{type(error).__name__}: {one_line(error)}", 1
        gc.collect()
    except BaseException:
        said, code = traceback.format_exc(), 70
    os.write(told, said.encode("utf-8", "backslashreplace")[:60_000])
    os._exit(code)


def case(number: int, samples: Path, folder: Path, memory: int) -> dict[str, Any]:
    """Damage a copy of a sample, by the case's number, and use it in a child."""
    choice = SAMPLES if number < RETYPED else SOUND
    name, _, how, which = choice[number % len(choice)]
    shutil.copytree(samples / name, folder)
    damaged = damage(folder / name, which, random.Random(number), () if number < RETYPED else (retype,))
    reader, writer = os.pipe()
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        os.close(reader)
        use(folder / name, how, memory, writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read().decode()
    _, status, spent = os.wait4(child, 0)
    return {
        "case": number,
        "damage": damaged,
        "code": os.waitstatus_to_exitcode(status),
        "said": said,
        "seconds": round(time.monotonic() - began, 2),
        "memory": spent.ru_maxrss >> 10,
    }


def make_samples(samples: Path) -> None:
    """All of them, and each is used once as it is: the children then begin with everything loaded."""
    for name, make, how, _ in dict.fromkeys(SAMPLES):
        if (samples / name).exists():
            continue
        (samples / name).mkdir(parents=True)
        make(samples / name / name)
        shutil.copytree(samples / name, samples / "used")
        if name != "model.onnx":  # its threads would not outlive the fork
            how(samples / "used" / name)
        shutil.rmtree(samples / "used")


def address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def cases(folder: Path, first: int, stop: int) -> None:
    cv2.setNumThreads(1)
    os.fsync = lambda descriptor: None  # type: ignore[assignment]
    make_samples(folder / "samples")
    memory = address_space() + MEMORY
    for number in range(first, stop):
        result = case(number, folder / "samples", folder / "case", memory)
        sys.stdout.write(f"{json.dumps(result)}\n")
        sys.stdout.flush()
        shutil.rmtree(folder / "case")


if __name__ == "__main__":
    cases(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
