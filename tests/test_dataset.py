"""Labelled crops as arrays: every way to label them, what is left out, and what is refused."""

from __future__ import annotations

import csv
import tempfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from learning_data import crop, make_store, make_stores

import spatterlib as sp
from spatterlib.common.image_codec import encode
from spatterlib.errors import MissingFileError, ParameterError, SpatterlibError, StoreError
from spatterlib.learning.dataset import Dataset, load_dataset
from spatterlib.learning.labels import edit_labels, labelled, read_index, sorted_classes, write_index
from spatterlib.plugins.classifier import Preprocessing
from spatterlib.stores.opening import create_store

HOW = Preprocessing()


def research_files(folder: Path) -> Path:
    """Two files in the research layout with their index, low and high, 10 and 12 crops, two datasets each."""
    lines = []
    for kind, label, counts in (("low", 0, (6, 4)), ("high", 1, (6, 6))):
        with h5py.File(folder / f"left_{kind}_0.h5", "w") as file:
            for number, count in enumerate(counts):
                crops = [crop(kind, 100 * number + index) for index in range(count)]
                name = f"left_{kind}_{number}"
                file.create_dataset(name, data=np.array(crops), compression="gzip")
                lines += [(f"left_{kind}_0.h5", name, index, label) for index in range(count)]
    with (folder / "images.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("file", "dataset", "ds_idx", "label"))
        writer.writerows(lines[index] for index in np.random.default_rng(0).permutation(len(lines)))
    return folder / "images.csv"


def one_line(error: BaseException) -> str:
    assert "\n" not in str(error)
    return str(error)


class TestLabels:
    """A label for a store, a column, or an index of the research system."""

    def test_a_label_for_each_store(self, tmp_path: Path) -> None:
        data = load_dataset(make_stores(tmp_path, 2, 5), HOW)
        assert data.classes == ("high", "low")
        assert data.counts == {"high": 10, "low": 10}
        for number, source in enumerate(data.sources):
            own = data.source == number
            with sp.open_store(source.path) as store:
                expected = HOW.prepare(store.read(range(len(store))))
            np.testing.assert_array_equal(data.images[own], expected)
            assert set(data.labels[own]) == {("high", "low").index("low" if "low" in source.path else "high")}

    def test_numbers_are_classes_by_value(self) -> None:
        assert sorted_classes(["10", "9", "low", "-1"]) == ("-1", "9", "10", "low")

    def test_a_column_of_labels_whose_empty_rows_stay_out(self, tmp_path: Path) -> None:
        path = make_store(tmp_path / "a.h5", crops=6)
        with sp.open_store(path, mode="a") as store:
            store.set_column("label", np.array(["low", "high", "", "low", "high", ""]))
            store.set_column("quality", np.array([1, 0, -1, 1, 0, 1]))
            store.set_column("score", np.array([0.0, 1.0, np.nan, 0, 1, 1]))
        assert load_dataset(path, HOW).row.tolist() == [0, 1, 3, 4]
        assert load_dataset([path], HOW, label="quality").counts == {"0": 2, "1": 3}
        assert load_dataset(path, HOW, label="score").counts == {"0": 2, "1": 3}

    def test_an_index_of_the_research_system_over_its_files(self, tmp_path: Path) -> None:
        index = research_files(tmp_path)
        data = load_dataset(str(index), HOW)
        assert data.counts == {"0": 10, "1": 12}
        low = data.source == [Path(source.path).name for source in data.sources].index("left_low_0.h5")
        assert data.row[low].tolist() == list(range(10))
        with sp.open_store(tmp_path / "left_low_0.h5") as store:
            np.testing.assert_array_equal(data.images[low], HOW.prepare(store.read(range(10))))
        assert (data.labels[low] == 0).all()

    def test_an_index_is_written_as_it_was_read(self, tmp_path: Path) -> None:
        index = research_files(tmp_path)
        found = {item.path: item for item in read_index(index)}
        stores = {path: item.labels[0] for path, item in found.items()}
        assert write_index(stores, tmp_path / "again.csv", seed=3) == 22
        lines = [sorted((tmp_path / name).read_text().splitlines()) for name in ("images.csv", "again.csv")]
        assert lines[0] == lines[1]
        assert (tmp_path / "again.csv").read_text() != (tmp_path / "images.csv").read_text()

    def test_an_index_over_other_stores_counts_rows(self, tmp_path: Path) -> None:
        stores = make_stores(tmp_path, 1, 4)
        write_index(stores, tmp_path / "index.csv")
        assert (tmp_path / "index.csv").read_text().splitlines()[:2] == ["file,dataset,ds_idx,label", "low_0.h5,,0,low"]
        assert load_dataset(tmp_path / "index.csv", HOW).counts == {"high": 4, "low": 4}

    def test_labels_are_edited_from_a_csv(self, tmp_path: Path) -> None:
        path = make_store(tmp_path / "a.h5", crops=50)
        (tmp_path / "rows.csv").write_text("row,label\n0,high\n7,high\n")
        (tmp_path / "spans.csv").write_text("start,stop,label\n0,1,low\n1,,high\n")
        assert edit_labels(path, tmp_path / "spans.csv") == 50
        assert edit_labels(path, tmp_path / "rows.csv") == 2
        assert edit_labels(path, tmp_path / "rows.csv") == 0
        with sp.open_store(path) as store:
            labels = store.column("label")
        assert labels.tolist() == ["high" if row in (0, 7) or row >= 25 else "low" for row in range(50)]


class TestWhatIsLeftOut:
    """Black and undecodable crops are counted by class and left out."""

    @pytest.fixture
    def stores(self, tmp_path: Path) -> dict[str, str]:
        for kind in ("low", "high"):
            crops = [crop(kind, number) for number in range(8)]
            crops[2] = encode(np.zeros((60, 80, 3), np.uint8))
            if kind == "low":
                crops[5] = crop(kind, 5)[:200]
                crops[6] = b"\xff\xd8\xff no image"
            table = np.zeros(8, sp.DETECTION)
            table["frame"] = np.arange(8)
            with create_store(tmp_path / f"{kind}.h5") as store:
                store.append(table, crops)
        return {str(tmp_path / f"{kind}.h5"): kind for kind in ("low", "high")}

    def test_they_are_counted_by_class(self, stores: dict[str, str]) -> None:
        data = load_dataset(stores, HOW)
        assert data.dropped == {"low": {"black": 1, "undecodable": 2}, "high": {"black": 1, "undecodable": 0}}
        assert data.counts == {"low": 5, "high": 7}
        assert data.row[data.labels == 1].tolist() == [0, 1, 3, 4, 7]
        assert data.table["frame"].tolist() == data.row.tolist()

    def test_black_ones_stay_on_request(self, stores: dict[str, str]) -> None:
        data = load_dataset(stores, HOW, black=0)
        assert data.counts == {"low": 6, "high": 8}
        assert data.dropped["high"] == {"black": 0, "undecodable": 0}

    def test_a_class_of_which_nothing_is_left_is_named(self, stores: dict[str, str]) -> None:
        with pytest.raises(ParameterError, match=r"no crop of class .* is left") as caught:
            load_dataset(stores, HOW, black=255)
        one_line(caught.value)

    @pytest.mark.parametrize(
        ("ratio", "counts"), [({"low": 1, "high": 2}, (10, 20)), ({"low": 1, "high": 1}, (20, 20))]
    )
    def test_the_ratio_of_classes_is_set(self, tmp_path: Path, ratio: Any, counts: tuple[int, int]) -> None:
        stores = make_stores(tmp_path, 1, 20)
        whole, data = load_dataset(stores, HOW), load_dataset(stores, HOW, ratio=ratio)
        assert (data.counts["low"], data.counts["high"]) == counts
        places = {(a, b): index for index, (a, b) in enumerate(zip(whole.source, whole.row, strict=True))}
        for index, place in enumerate(zip(data.source, data.row, strict=True)):
            np.testing.assert_array_equal(data.images[index], whole.images[places[place]])

    def test_a_ratio_without_one_of_the_classes_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ParameterError, match="for each of high, low"):
            load_dataset(make_stores(tmp_path, 1, 3), HOW, ratio={"low": 1})


class TestCache:
    """Decoded once, compact, in memory or on disk."""

    @pytest.mark.parametrize(("colour", "channels"), [("grey", 1), ("rgb", 3)])
    def test_on_disk_beyond_the_budget_and_gone_afterwards(
        self, tmp_path: Path, colour: Any, channels: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        scratch = tmp_path / "scratch"
        scratch.mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(scratch))
        stores, how = make_stores(tmp_path, 1, 10), Preprocessing(colour)
        memory, disk = load_dataset(stores, how), load_dataset(stores, how, budget=1000)
        assert not isinstance(memory.images, np.memmap)
        assert isinstance(disk.images, np.memmap)
        assert disk.images.shape == (20, 40, 40, channels)
        np.testing.assert_array_equal(memory.images, disk.images)
        assert list(scratch.iterdir()) == []

    def test_groups_come_from_columns_attributes_and_the_video(self, tmp_path: Path) -> None:
        stores = make_stores(tmp_path, 2, 4, camera="left")
        first = next(iter(stores))
        for path in stores:
            with sp.open_store(path, mode="a") as store:
                store.set_column("batch", np.array(["a", "a", "b", "b"]))
        data = load_dataset(stores, HOW, groups=["batch"])
        assert set(data.group("camera")) == {"left"}
        assert data.group("batch").tolist() == ["a", "a", "b", "b"] * 4
        assert len(set(data.group("recording"))) == 4
        assert data.sources[0].path == first

    def test_what_was_simulated_says_so(self, tmp_path: Path) -> None:
        assert not load_dataset(make_stores(tmp_path, 1, 3), HOW).simulated
        folder = tmp_path / "b"
        folder.mkdir()
        assert load_dataset(make_stores(folder, 1, 3, simulated=True), HOW).simulated
        marked = {
            make_store(
                tmp_path / f"{kind}.h5", crops=2, video={"digest": kind, "comment": "simulated by spatterlib"}
            ): kind
            for kind in ("low", "high")
        }
        assert load_dataset(marked, HOW).simulated


class TestBadInput:
    """Each one line that says what it is and how to mend it."""

    def refused(self, kind: type[SpatterlibError], message: str, data: Any, **options: Any) -> None:
        with pytest.raises(kind, match=message) as caught:
            load_dataset(data, HOW, **options)
        one_line(caught.value)

    def test_one_class_only(self, tmp_path: Path) -> None:
        path = make_store(tmp_path / "a.h5", crops=3)
        self.refused(ParameterError, "two classes or more, found only 'low'", {path: "low"})

    def test_an_empty_store(self, tmp_path: Path) -> None:
        create_store(tmp_path / "empty.h5").close()
        data = {make_store(tmp_path / "a.h5", crops=3): "low", tmp_path / "empty.h5": "high"}
        self.refused(StoreError, "empty.h5 holds no crops; extract", data)

    def test_nothing_at_all(self) -> None:
        self.refused(ParameterError, "no stores were given", {})

    def test_a_store_that_is_not_there(self, tmp_path: Path) -> None:
        self.refused(MissingFileError, "nowhere.h5", {tmp_path / "nowhere.h5": "low"})

    def test_a_label_for_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        (tmp_path / "index.csv").write_text("file,dataset,ds_idx,label\nlost.h5,lost_0,0,1\n")
        self.refused(MissingFileError, "labels for 'lost.h5', which is not beside it", tmp_path / "index.csv")

    def test_an_index_that_is_not_there(self, tmp_path: Path) -> None:
        self.refused(MissingFileError, "no labels at", tmp_path / "index.csv")

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("file,label\na.h5,1\n", "needs the columns file,dataset,ds_idx,label"),
            ("file,dataset,ds_idx,label\na.h5,,x,1\n", "line 2: expected a whole number, got 'x'"),
            ("file,dataset,ds_idx,label\na.h5,,0\n", "line 2: a value is missing"),
            ("file,dataset,ds_idx,label\na.h5,,9,1\n", "no crop 9 in dataset ''"),
            ("file,dataset,ds_idx,label\na.h5,a_0,0,1\n", "no crop 0 in dataset 'a_0'"),
            ("file,dataset,ds_idx,label\na.h5,,0,1\na.h5,,0,2\n", "line 3: labels contradict each other"),
            ("", "got nothing"),
        ],
    )
    def test_an_index_that_makes_no_sense(self, tmp_path: Path, text: str, message: str) -> None:
        make_store(tmp_path / "a.h5", crops=3)
        (tmp_path / "index.csv").write_text(text)
        self.refused(ParameterError, message, tmp_path / "index.csv")

    def test_labels_of_one_video_that_contradict_each_other(self, tmp_path: Path) -> None:
        a, b = (make_store(tmp_path / f"{name}.h5", crops=3, video={"digest": "same"}) for name in "ab")
        self.refused(ParameterError, "labels contradict each other: .* are of the same video", {a: "low", b: "high"})
        self.refused(ParameterError, "are of the same video; leave one out", {a: "low", b: "low"})

    def test_a_store_without_the_column_of_labels(self, tmp_path: Path) -> None:
        self.refused(ParameterError, "has no column 'label'; label it", make_store(tmp_path / "a.h5", crops=3))

    def test_a_store_without_the_column_named_as_group(self, tmp_path: Path) -> None:
        self.refused(
            ParameterError, "no column and no attribute 'batch'", make_stores(tmp_path, 1, 3), groups=["batch"]
        )

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("row,label\n9,low\n", "line 2: the store has rows 0 to 4, not 9"),
            ("row,label\n1,low\n1,high\n", "line 3: contradicts"),
            ("start,stop,label\n0,soon,low\n", "expected seconds, got 'soon'"),
            ("frame,label\n0,low\n", "needs the columns row,label"),
        ],
    )
    def test_changes_that_make_no_sense(self, tmp_path: Path, text: str, message: str) -> None:
        path = make_store(tmp_path / "a.h5", crops=5)
        (tmp_path / "changes.csv").write_text(text)
        with pytest.raises(ParameterError, match=message):
            edit_labels(path, tmp_path / "changes.csv")
        with sp.open_store(path) as store:
            assert "label" not in store.columns

    def test_a_dataset_is_taken_as_it_is(self, tmp_path: Path) -> None:
        data = load_dataset(make_stores(tmp_path, 1, 3), HOW)
        assert load_dataset(data, HOW) is data
        assert isinstance(data, Dataset)
        assert len(labelled(make_store(tmp_path / "c.h5", crops=2) and {tmp_path / "c.h5": 1})) == 1
