"""Indexes of labels: what they leave out, name twice or cannot mean is said; written, they say the same."""

from __future__ import annotations

import csv
import logging
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from learning_data import crop, make_store, make_stores

import spatterlib as sp
from spatterlib.cli.main import main
from spatterlib.errors import ParameterError, SpatterlibError
from spatterlib.learning.dataset import Dataset, load_dataset
from spatterlib.learning.labels import read_index, write_index

HOW = sp.make("classifier", "lenet5").preprocessing


def research(path: Path, kind: str = "low", sizes: tuple[int, ...] = (6, 4), seed: int = 0) -> Path:
    """A file of the research system, a dataset for each size."""
    with h5py.File(path, "w") as h5:
        for number, size in enumerate(sizes):
            crops = [crop(kind, 1000 * seed + 100 * number + index) for index in range(size)]
            h5[f"{path.stem}_{number}"] = np.array(crops, "S")
    return path


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(["file,dataset,ds_idx,label", *lines, ""]))
    return path


def same(one: Dataset, other: Dataset) -> bool:
    """Whether a training of one is that of the other: crops, labels, order, digests."""
    digests = [[source.digest for source in data.sources] for data in (one, other)]
    return (
        digests[0] == digests[1]
        and np.array_equal(one.images, other.images)
        and np.array_equal(one.labels, other.labels)
        and np.array_equal(one.row, other.row)
        and one.classes == other.classes
    )


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    return {
        str(research(tmp_path / "left_low_0.h5", "low", (6, 4), 1)): "low",
        str(research(tmp_path / "left_high_2.h5", "high", (5, 5, 3), 2)): "high",
    }


class TestWhatIsSaid:
    def test_lines_that_are_there_twice_count_once_and_are_counted(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        research(tmp_path / "a.h5", sizes=(4,))
        index = write(
            tmp_path / "i.csv", *["a.h5,a_0,0,low", "a.h5,a_0,1,high"] * 3, "./a.h5,a_0,2,low", "a.h5,a_0,3,low"
        )
        [found] = read_index(index)
        assert found.rows.tolist() == [0, 1, 2, 3]
        assert f"{index}: 4 lines are there twice, and counted once" in caplog.text

    def test_crops_without_a_line_or_a_label_are_counted(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        research(tmp_path / "a.h5", sizes=(6, 4))
        index = write(tmp_path / "i.csv", "a.h5,a_0,0,low", "a.h5,a_1,3,high", "a.h5,a_0,2,")
        [found] = read_index(index)
        assert found.labels[found.labels != ""].tolist() == ["low", "high"]
        assert f"{index} has no label for 8 of the 10 crops of {tmp_path / 'a.h5'}" in caplog.text

    def test_a_whole_index_says_nothing(
        self, files: dict[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        write_index(files, tmp_path / "i.csv")
        read_index(tmp_path / "i.csv")
        assert caplog.text == ""

    @pytest.mark.parametrize(
        ("line", "said"),
        [
            ("a.h5,a_0,6,low", r"no crop 6 in dataset 'a_0' of 6; 2 of the 3 lines"),
            ("a.h5,a_0,-1,low", r"no crop -1 in dataset 'a_0' of 6; 2 of the 3 lines"),
            ("a.h5,a_7,0,low", r"no crop 0 in dataset 'a_7' of 0; 2 of the 3 lines"),
            ("a.h5,,10,low", r"no crop 10 in dataset '' of 10; 2 of the 3 lines"),
        ],
    )
    def test_what_lies_beyond_the_data_is_counted_and_refused(self, line: str, said: str, tmp_path: Path) -> None:
        research(tmp_path / "a.h5", sizes=(6, 4))
        index = write(tmp_path / "i.csv", "a.h5,a_0,0,low", line, "a.h5,a_1,99,high")
        with pytest.raises(ParameterError, match=said) as caught:
            read_index(index)
        assert "\n" not in str(caught.value)

    def test_one_crop_named_in_two_ways_is_refused(self, tmp_path: Path) -> None:
        research(tmp_path / "a.h5", sizes=(6, 4))
        with pytest.raises(ParameterError, match="by dataset and by row too"):
            read_index(write(tmp_path / "i.csv", "a.h5,a_1,0,low", "a.h5,,6,low"))

    def test_two_labels_for_one_crop_are_refused_however_the_file_is_written(self, tmp_path: Path) -> None:
        research(tmp_path / "a.h5")
        with pytest.raises(ParameterError, match="line 3: labels contradict each other"):
            read_index(write(tmp_path / "i.csv", "a.h5,a_0,0,low", f"../{tmp_path.name}/a.h5,a_0,0,high"))

    def test_the_same_recording_twice_is_refused_in_an_index_too(self, tmp_path: Path) -> None:
        make_store(tmp_path / "a.h5", crops=3)
        sp.convert(tmp_path / "a.h5", tmp_path / "b.zarr")
        index = write(tmp_path / "i.csv", "a.h5,,0,low", "b.zarr,,1,high")
        with pytest.raises(ParameterError, match="are of the same video; leave one out"):
            load_dataset(index, HOW)

    @pytest.mark.parametrize("names", [("low", "Low"), ("low", " low"), ("two  words", "Two words")])
    def test_labels_that_differ_in_case_or_spaces_only_are_refused(
        self, names: tuple[str, str], tmp_path: Path
    ) -> None:
        research(tmp_path / "a.h5", sizes=(6,))
        lines = [f"a.h5,a_0,{row},{names[row % 2]}" for row in range(6)]
        with pytest.raises(ParameterError, match="differ in nothing but case and spaces"):
            load_dataset(write(tmp_path / "i.csv", *lines), HOW)

    def test_a_label_that_looks_like_a_typing_error_is_said(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        paths = {
            str(make_store(tmp_path / f"{name}.h5", "low", n, n)): name
            for name, n in (("high", 40), ("hihg", 2), ("low", 9))
        }
        load_dataset(paths, HOW)
        assert "2 crops are labelled 'hihg', beside 40 labelled 'high': a typing error?" in caplog.text
        assert "'low'" not in caplog.text


class TestRoundTrip:
    """An index that `label --index` writes trains as the labels do that it came from."""

    @pytest.mark.parametrize("seed", [None, *range(5)])
    def test_of_research_files(self, seed: int | None, files: dict[str, str], tmp_path: Path) -> None:
        assert write_index(files, tmp_path / "i.csv", seed=seed) == 23
        assert same(load_dataset(files, HOW), load_dataset(tmp_path / "i.csv", HOW))
        with (tmp_path / "i.csv").open(newline="") as file:
            for line in csv.DictReader(file):
                # As the research scripts read it.
                with h5py.File(tmp_path / line["file"]) as h5:
                    assert h5[line["dataset"]][int(line["ds_idx"])]

    @pytest.mark.parametrize("seed", [None, 3])
    def test_of_labels_in_columns(self, seed: int | None, tmp_path: Path) -> None:
        stores = list(make_stores(tmp_path, 2, 12))
        for number, path in enumerate(stores):
            with sp.open_store(path, mode="a") as store:
                store.set_column("label", np.array([("low", "high", "")[(row + number) % 3] for row in range(12)]))
        write_index(stores, tmp_path / "i.csv", seed=seed)
        assert same(load_dataset(stores, HOW), load_dataset(tmp_path / "i.csv", HOW))

    def test_an_index_of_research_files_holds_for_stores_that_were_converted_from_them(
        self, files: dict[str, str], tmp_path: Path
    ) -> None:
        write_index(files, tmp_path / "i.csv", seed=1)
        for path in files:
            sp.convert(path, Path(path).with_suffix(".zarr"))
        (tmp_path / "z.csv").write_text((tmp_path / "i.csv").read_text().replace(".h5,", ".zarr,"))
        assert same(load_dataset(tmp_path / "i.csv", HOW), load_dataset(tmp_path / "z.csv", HOW))

    def test_in_another_folder_it_names_the_files_from_there(self, files: dict[str, str], tmp_path: Path) -> None:
        (tmp_path / "labels").mkdir()
        write_index(files, tmp_path / "labels" / "i.csv")
        assert "\n../left_low_0.h5,left_low_0_0,0,low\n" in (tmp_path / "labels" / "i.csv").read_text().replace(
            "\r", ""
        )
        assert same(load_dataset(files, HOW), load_dataset(tmp_path / "labels" / "i.csv", HOW))


class TestCommand:
    def test_research_files_get_their_labels_in_the_index(
        self, files: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        before = {path: Path(path).read_bytes() for path in files}
        pairs = [f"{path}={name}" for path, name in files.items()]
        assert main(["label", *pairs, "--index", str(tmp_path / "i.csv"), "--shuffle", "7"]) == 0
        assert capsys.readouterr().out.splitlines()[-1] == f"{tmp_path / 'i.csv'}: 23 lines"
        assert same(load_dataset(files, HOW), load_dataset(tmp_path / "i.csv", HOW))
        assert {path: Path(path).read_bytes() for path in files} == before

    def test_changes_by_row_go_into_the_index_too(self, files: dict[str, str], tmp_path: Path) -> None:
        (tmp_path / "rows.csv").write_text("row,label\n0,high\n9,high\n")
        path = next(iter(files))
        arguments = [
            "label",
            path,
            "--all",
            "low",
            "--from",
            str(tmp_path / "rows.csv"),
            "--index",
            str(tmp_path / "i.csv"),
        ]
        assert main(arguments) == 0
        [found] = read_index(tmp_path / "i.csv")
        assert found.labels.tolist() == ["high", *["low"] * 8, "high"]

    def test_a_store_keeps_the_label_that_is_named_beside_it(self, tmp_path: Path) -> None:
        path = make_store(tmp_path / "a.h5", crops=3)
        assert main(["label", f"{path}=low"]) == 0
        assert sp.open_store(path).column("label").tolist() == ["low"] * 3

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["FILE", "--all", "low"], "is read-only: its labels go into an index; add --index images.csv"),
            (["FILE", "--index", "OUT"], "no crop has a label in column 'label'; there is nothing to write"),
            (["FILE=low", "--all", "low", "--index", "OUT"], "--all and STORE=LABEL both say the label; give one"),
            (["FILE=low", "--index", "THERE"], "exists already; add --overwrite to replace it"),
            (["FILE=low", "--index", "nowhere/i.csv"], "nowhere/i.csv cannot be written"),
            (
                ["FILE", "--from", "SPANS", "--index", "OUT"],
                "has times, and the store knows none; give row,label instead",
            ),
        ],
    )
    def test_what_cannot_be_is_refused_in_one_line_and_nothing_is_written(
        self, arguments: list[str], said: str, files: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "there.csv").write_text("mine")
        (tmp_path / "spans.csv").write_text("start,stop,label\n0,1,low\n")
        names: dict[str, Any] = {"FILE": next(iter(files)), "OUT": tmp_path / "i.csv", "THERE": tmp_path / "there.csv"}
        names["SPANS"] = tmp_path / "spans.csv"
        for name, path in names.items():
            arguments = [word.replace(name, str(path)) for word in arguments]
        assert main(["label", *arguments]) == (2 if "both say" in said or "rows of one store" in said else 1)
        assert said in capsys.readouterr().err.strip().splitlines()[-1]
        assert not (tmp_path / "i.csv").exists()
        assert (tmp_path / "there.csv").read_text() == "mine"


def test_refusals_are_errors_of_ours(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level(logging.WARNING),
        pytest.raises(SpatterlibError, match=r"has labels for 'b\.h5', which is not beside it"),
    ):
        read_index(write(tmp_path / "i.csv", "b.h5,b_0,0,low"))
