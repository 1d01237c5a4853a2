from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from spatterlib_npz import Npz

import spatterlib as sp
from spatterlib.errors import StoreError
from spatterlib.testing import Check, store_checks


@pytest.mark.parametrize("check", store_checks(Npz))
def test_it_conforms(check: Check) -> None:
    check()


def test_what_is_extracted_into_it_opens_with_numpy_alone(
    isolated_catalog: Callable[..., None], tmp_path: Path
) -> None:
    isolated_catalog("spatterlib-npz")
    frames = np.zeros((6, 120, 160, 3), np.uint8)
    frames[3, 30:90, 40:100] = 255
    np.save(tmp_path / "flash.npy", frames)
    report = sp.extract(tmp_path / "flash.npy", tmp_path / "flash.npz", progress=False)
    assert report.detections == 1
    with np.load(tmp_path / "flash.npz") as file:
        assert file["table"]["frame"].tolist() == [3]
        assert file["crops"][:2].tobytes() == b"\xff\xd8"
    sp.convert(tmp_path / "flash.npz", tmp_path / "flash.h5")
    assert len(sp.open_store(tmp_path / "flash.h5")) == 1


def test_a_damaged_file_is_told_in_one_line(tmp_path: Path) -> None:
    Npz.create(str(tmp_path / "a.npz")).close()
    data = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "a.npz").write_bytes(data[: len(data) // 2])
    with pytest.raises(StoreError, match=r"a\.npz is no \.npz store that can be read"):
        Npz.open(str(tmp_path / "a.npz"))
