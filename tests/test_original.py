"""The research layout: files as the research system wrote them, read; and written, as its scripts read them."""

from __future__ import annotations

import csv
import pickle
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import pytest
from numpy.typing import NDArray
from store_tools import crops_of, fill, frames_of, rows_of

import spatterlib as sp
from spatterlib.common.image_codec import encode
from spatterlib.errors import ParameterError, RowError, StoreError
from spatterlib.stores.opening import check_output, convert, create_store, find_store

JPEG_END = b"\xff\xd9"


def picture(number: int) -> NDArray[np.uint8]:
    """A crop of its own size and grey level."""
    shape = (26 + number % 60, 34 + number % 90, 3)
    return np.full(shape, 20 + number % 200, np.uint8)


def jpegs(count: int, start: int = 0) -> list[bytes]:
    """JPEG files by plain OpenCV."""
    return [cv2.imencode(".jpg", picture(number))[1].tobytes() for number in range(start, start + count)]


def write(path: Path, parts: list[list[bytes]], kind: str = "fixed", first: int = 0, **options: Any) -> None:
    """A file of the research layout by plain h5py."""
    with h5py.File(path, "w") as h5:
        for number, crops in enumerate(parts, first):
            name = f"{path.stem}_{number}"
            if kind == "fixed":
                h5.create_dataset(name, data=np.array(crops, "S"), **options)
            elif kind == "variable":
                dataset = h5.create_dataset(name, (len(crops),), h5py.string_dtype("ascii"), **options)
                dataset[:] = np.array(crops, object)
            else:
                dataset = h5.create_dataset(name, (len(crops),), h5py.vlen_dtype(np.uint8), **options)
                for index, crop in enumerate(crops):
                    dataset[index] = np.frombuffer(crop, np.uint8)


@pytest.fixture
def research(tmp_path: Path) -> Path:
    """12 small datasets: more than 9, so that their natural order is not that of the alphabet."""
    path = tmp_path / "left_low_0.h5"
    crops = jpegs(60)
    write(path, [crops[5 * part : 5 * part + 5] for part in range(12)], compression="gzip")
    return path


class TestReading:
    @pytest.mark.parametrize("kind", ["fixed", "bytes"])
    @pytest.mark.parametrize("options", [{}, {"compression": "gzip"}, {"compression": "gzip", "chunks": (7,)}])
    def test_strings_of_every_make(self, tmp_path: Path, kind: str, options: dict[str, Any]) -> None:
        crops = jpegs(50)
        write(tmp_path / "v.h5", [crops[:30], crops[30:]], kind, **options)
        with sp.open_store(tmp_path / "v.h5") as store:
            assert len(store) == 50
            assert store.encoded(range(50)) == crops
            random = np.random.default_rng(0).integers(0, 50, 200)
            assert store.encoded(random) == [crops[row] for row in random]  # type: ignore[arg-type]
            for number, crop in enumerate(store.read(range(50))):
                assert crop.shape == picture(number).shape
                assert abs(int(crop.mean()) - int(picture(number)[0, 0, 0])) <= 2

    def test_the_file_is_told_from_ours_at_once(self, research: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Only a file of ours may be in the middle of a commit, which is worth waiting for."""
        monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail(f"waited for {seconds} s"))
        assert len(sp.open_store(research)) == 60

    def test_variable_length_strings(self, tmp_path: Path) -> None:
        """HDF5 ends these at a zero, so no whole JPEG fits in; what is there is given as it is."""
        crops = [b"\xff\xd8\xff no zero in here %d " % number + JPEG_END for number in range(9)]
        write(tmp_path / "v.h5", [crops], "variable")
        with sp.open_store(tmp_path / "v.h5") as store:
            assert store.encoded(range(9)) == crops

    def test_datasets_are_in_natural_order(self, research: Path) -> None:
        with sp.open_store(research) as store:
            assert store.encoded(range(60)) == jpegs(60)
            assert store.attrs["datasets"] == [f"left_low_0_{number}" for number in range(12)]
            assert store.attrs["video"] == {"name": "left_low_0"}

    def test_what_was_never_recorded(self, research: Path) -> None:
        with sp.open_store(research) as store:
            table = store.table
            assert table.dtype == sp.DETECTION
            for name in ("frame", "x", "y", "width", "height"):
                assert set(table[name]) == {-1}
            for name in ("time", "area", "red", "green", "blue"):
                assert np.isnan(store.column(name)).all()
            assert set(table["peak"]) == {0}
            assert len(store.frame_log) == 0
            assert store.columns == sp.DETECTION.names
            with pytest.raises(ParameterError, match="'label'"):
                store.column("label")

    def test_the_frame_log_beside_it_gives_frame_numbers(self, research: Path) -> None:
        log = research.with_name("left_low_0_spatter_at_frame.csv")
        log.write_text("frame,spatter\n" + "".join(f"{n},{2 if n % 10 == 3 else 0}\n" for n in range(300)))
        with sp.open_store(research) as store:
            frames = store.frame_log
            assert frames["number"].tolist() == list(range(300))
            assert frames["detections"].sum() == 60
            assert frames["decoded"].all()
            assert store.table["frame"].tolist() == [10 * (row // 2) + 3 for row in range(60)]
        log.write_text("frame,spatter\n0,1\n1,2\n")
        with sp.open_store(research) as store:
            assert len(store.frame_log) == 2
            assert set(store.table["frame"]) == {-1}

    @pytest.mark.parametrize(
        "text", ["", "1;2;3", "frame,spatter\n1\n", "frame,spatter\n1,two\n", "frame,spatter\n1,-2\n"]
    )
    def test_a_frame_log_of_another_make_is_left_aside(
        self, research: Path, text: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        research.with_name("left_low_0_spatter_at_frame.csv").write_text(text)
        with sp.open_store(research) as store:
            assert len(store.frame_log) == 0
            assert len(store) == 60
        assert "is no frame log" in caplog.text

    def test_it_is_told_from_our_own_files_and_from_others(self, research: Path, tmp_path: Path) -> None:
        create_store(tmp_path / "own.h5").close()
        with h5py.File(tmp_path / "other.h5", "w") as h5:
            h5["numbers_0"] = [1, 2, 3]
            h5["text"] = np.array([b"a"])
        kinds = sp.catalog().stores
        assert find_store(research) is kinds["original"]
        assert find_store(tmp_path / "own.h5") is kinds["hdf5"]
        assert find_store(tmp_path / "other.h5") is None

    def test_it_is_read_only(self, research: Path) -> None:
        before = research.read_bytes()
        with sp.open_store(research) as store:
            for change in (
                lambda: store.append(rows_of(0, 1), [b"a"]),
                lambda: store.set_column("label", np.zeros(60)),
                lambda: store.set_attrs({}),
            ):
                with pytest.raises(StoreError, match="read-only"):
                    change()  # type: ignore[no-untyped-call]
            store.flush()
        for refused in (
            lambda: sp.open_store(research, "a"),
            lambda: create_store(research.with_name("n.h5"), to="original"),
        ):
            with pytest.raises(StoreError, match="read-only"):
                refused()  # type: ignore[no-untyped-call]
        assert research.read_bytes() == before

    def test_rows_and_closing_as_with_every_store(self, research: Path) -> None:
        store = sp.open_store(research)
        for rows in ([-1], [60]):
            with pytest.raises(RowError, match="left_low_0"):
                store.encoded(rows)
        copy = pickle.loads(pickle.dumps(store))
        store.close()
        store.close()
        with pytest.raises(StoreError, match="closed"):
            store.encoded([0])
        with copy:
            assert copy.encoded([7]) == jpegs(1, 7)

    def test_a_crop_cut_short_says_which(self, tmp_path: Path) -> None:
        crops = jpegs(3)
        write(tmp_path / "v.h5", [[crops[0], crops[1][:-20], crops[2]]])
        with sp.open_store(tmp_path / "v.h5") as store:
            assert len(store.read([0, 2])) == 2
            with pytest.raises(StoreError, match=r"v\.h5, row 1: .*cut short"):
                store.read([1])

    def test_no_link_is_followed(self, research: Path, tmp_path: Path) -> None:
        with h5py.File(tmp_path / "links.h5", "w") as h5:
            h5["links_0"] = h5py.ExternalLink(research.name, "left_low_0_0")
            h5.create_dataset("links_1", (4,), "S10", external=[("secret", 0, 40)])
        assert find_store(tmp_path / "links.h5") is None


def opaque(crops: list[bytes], room: int = 7) -> NDArray[np.void]:
    """Crops as items that say nothing of what they are."""
    length = max(map(len, crops)) + room
    return np.array([crop.ljust(length, b"\0") for crop in crops], f"S{length}").view(f"V{length}")


class TestOtherMakes:
    """Files that people made of the research scripts' layout: in groups, in opaque items, with rows left empty."""

    @pytest.mark.parametrize("kind", ["fixed", "bytes", "opaque"])
    @pytest.mark.parametrize("group", ["", "video", "a/b/c"])
    def test_crops_in_groups_and_in_opaque_items(self, tmp_path: Path, kind: str, group: str) -> None:
        crops = jpegs(24)
        with h5py.File(tmp_path / "v.h5", "w") as h5:
            where = h5.create_group(group) if group else h5
            for number, part in ((10, crops[16:]), (2, crops[:16])):
                if kind == "bytes":
                    data = where.create_dataset(f"v_{number}", (len(part),), h5py.vlen_dtype(np.uint8))
                    for index, crop in enumerate(part):
                        data[index] = np.frombuffer(crop, np.uint8)
                else:
                    values = opaque(part) if kind == "opaque" else np.array(part, "S")
                    where.create_dataset(f"v_{number}", data=values, compression="gzip", chunks=(5,))
        assert find_store(tmp_path / "v.h5") is sp.catalog().stores["original"]
        with sp.open_store(tmp_path / "v.h5") as store:
            assert store.encoded(range(24)) == crops
            prefix = f"{group}/" if group else ""
            assert store.attrs["datasets"] == [f"{prefix}v_2", f"{prefix}v_10"]
        convert(tmp_path / "v.h5", tmp_path / "v.zarr")
        assert sp.open_store(tmp_path / "v.zarr").encoded(range(24)) == crops

    def test_what_only_looks_like_it_is_none(self, tmp_path: Path) -> None:
        with h5py.File(tmp_path / "other.h5", "w") as h5:
            h5["weights/layer_0"] = np.array([b"conv", b"bias"])
            h5["blob_0"] = np.array([b"\1\2\3\4"] * 3, "S4").view("V4")
            h5["records_0"] = np.zeros(3, [("a", "i4"), ("b", "f4")])
            # A group that contains itself.
            h5["weights/again"] = h5["weights"]
        assert find_store(tmp_path / "other.h5") is None
        with pytest.raises(
            StoreError, match=r"another program: .* research file, whose datasets NAME_0, NAME_1, \.\.\."
        ) as no:
            sp.open_store(tmp_path / "other.h5")
        assert "\n" not in str(no.value)

    def test_info_counts_no_frames_and_no_layers_that_nobody_knows(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        from spatterlib.cli.main import main

        write(tmp_path / "v.h5", [jpegs(5)])
        assert main(["info", str(tmp_path / "v.h5")]) == 0
        lines = {line[:14].strip(): line[16:] for line in capsys.readouterr().out.splitlines()}
        assert (lines["spatter frames"], lines["layers"]) == ("0", "0")
        assert lines["gap"] == "not known: the file has no times"

    @pytest.fixture
    def gaps(self, tmp_path: Path) -> Path:
        """Rows 3 to 5 and 9 are empty."""
        crops = jpegs(12)
        for row in (3, 4, 5, 9):
            crops[row] = b""
        write(tmp_path / "gaps.h5", [crops])
        return tmp_path / "gaps.h5"

    def test_an_empty_row_says_so(self, gaps: Path) -> None:
        with sp.open_store(gaps) as store:
            assert len(store) == 12
            assert len(store.read([0, 1, 2, 6, 7, 8, 10, 11])) == 8
            with pytest.raises(StoreError, match=r"gaps\.h5, row 4: the crop is empty"):
                store.read([4])

    def test_conversion_goes_on_keeps_every_row_and_names_the_empty_ones(
        self, gaps: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        convert(gaps, gaps.with_suffix(".zarr"))
        assert "4 crops without an image that can be read, copied as they are: row 3-5, 9" in caplog.text
        with sp.open_store(gaps.with_suffix(".zarr")) as store, sp.open_store(gaps) as old:
            assert len(store) == 12
            assert (store.table["width"] < 0).nonzero()[0].tolist() == [3, 4, 5, 9]
            for row in (3, 9):
                with pytest.raises(StoreError, match=f"row {row}: the crop is empty"):
                    store.read([row])
            convert(gaps.with_suffix(".zarr"), gaps.with_name("back.h5"), to="original")
            assert sp.open_store(gaps.with_name("back.h5")).encoded(range(12)) == old.encoded(range(12))

    def test_a_picture_of_its_crops_shows_the_others(self, gaps: Path, capsys: pytest.CaptureFixture[str]) -> None:
        from spatterlib.cli.main import main

        assert main(["show", str(gaps), "-o", str(gaps.with_suffix(".png"))]) == 0
        assert "no image in row 3-5, 9" in capsys.readouterr().err
        assert gaps.with_suffix(".png").stat().st_size


class TestWriting:
    @pytest.fixture
    def store(self, tmp_path: Path) -> Path:
        path = tmp_path / "mid_high_2.zarr"
        with create_store(path, attrs={"video": {"name": "mid_high_2.mp4"}}) as store:
            store.append(rows_of(0, 25), jpegs(25), frames_of(0, 40))
            store.set_column("label", ["high"] * 25)  # type: ignore[arg-type]
        return path

    def test_its_scripts_read_it(self, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("spatterlib.stores.original._ROWS", 10)
        out = store.with_suffix(".h5")
        convert(store, out, to="original")
        crops = jpegs(25)
        with h5py.File(out) as h5:
            assert sorted(h5) == ["mid_high_2_0", "mid_high_2_1", "mid_high_2_2"]
            for row, crop in enumerate(crops):
                value = h5[f"mid_high_2_{row // 10}"][row % 10]
                assert isinstance(value, bytes)
                assert value == crop
                assert cv2.imdecode(np.frombuffer(value, np.uint8), cv2.IMREAD_COLOR).shape == picture(row).shape  # type: ignore[union-attr]
            assert {h5[name].compression for name in h5} == {"gzip"}
            assert {h5[name].dtype.kind for name in h5} == {"S"}
        with store.with_name("mid_high_2_spatter_at_frame.csv").open(newline="") as file:
            rows = list(csv.reader(file))
        assert rows[0] == ["frame", "spatter"]
        assert [(int(frame), int(count)) for frame, count in rows[1:]] == [(n, n % 4) for n in range(40)]

    def test_there_and_back_gives_the_same_bytes(self, store: Path) -> None:
        convert(store, store.with_suffix(".h5"), to="original")
        convert(store.with_suffix(".h5"), store.with_name("again.h5"))
        with sp.open_store(store.with_name("again.h5")) as again:
            assert again.encoded(range(25)) == jpegs(25)
            assert again.table["width"].tolist() == [picture(row).shape[1] for row in range(25)]
            assert again.table["height"].tolist() == [picture(row).shape[0] for row in range(25)]
            assert again.frame_log["detections"].tolist() == [n % 4 for n in range(40)]

    def test_png_crops_become_jpeg(self, tmp_path: Path) -> None:
        with create_store(tmp_path / "a.h5") as store:
            store.append(rows_of(0, 1), [encode(picture(5), "png")])
        convert(tmp_path / "a.h5", tmp_path / "b.h5", to="original")
        with sp.open_store(tmp_path / "b.h5") as store:
            [crop] = store.encoded([0])
            assert crop.startswith(b"\xff\xd8\xff")
            assert crop.endswith(JPEG_END)
            assert abs(store.read([0])[0].astype(int) - picture(5)).max() <= 2

    def test_an_empty_store(self, tmp_path: Path) -> None:
        create_store(tmp_path / "a.zarr").close()
        convert(tmp_path / "a.zarr", tmp_path / "b.h5", to="original")
        with sp.open_store(tmp_path / "b.h5") as store:
            assert len(store) == 0

    def test_what_fails_leaves_nothing_that_looks_whole(self, tmp_path: Path) -> None:
        with create_store(tmp_path / "a.h5") as store:
            fill(store, 0, 5)
        with pytest.raises(StoreError, match="no JPEG or PNG"):
            convert(tmp_path / "a.h5", tmp_path / "b.h5", to="original")
        with pytest.raises(StoreError, match=r"end in \.h5"):
            convert(tmp_path / "a.h5", tmp_path / "b.hdf", to="original")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["a.h5"]
        assert crops_of(0, 5) == sp.open_store(tmp_path / "a.h5").encoded(range(5))

    def test_an_existing_file_is_refused_first(self, store: Path) -> None:
        store.with_suffix(".h5").write_bytes(b"precious")
        with pytest.raises(FileExistsError):
            convert(store, store.with_suffix(".h5"), to="original")
        check_output(store.with_suffix(".h5"), to="original", overwrite=True)
        assert store.with_suffix(".h5").read_bytes() == b"precious"


@pytest.mark.slow
def test_more_than_one_dataset_of_ten_thousand(tmp_path: Path) -> None:
    crops = jpegs(90)
    count = 20_010
    with create_store(tmp_path / "a.h5") as store:
        store.append(rows_of(0, count), [crops[row % 90] for row in range(count)])
    convert(tmp_path / "a.h5", tmp_path / "b.h5", to="original")
    with h5py.File(tmp_path / "b.h5") as h5:
        assert [len(h5[f"b_{number}"]) for number in range(3)] == [10_000, 10_000, 10]
    with sp.open_store(tmp_path / "b.h5") as store:
        assert store.encoded(range(count)) == [crops[row % 90] for row in range(count)]
