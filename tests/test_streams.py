"""What is printed arrives in any encoding, commands no terminal, and never ends a run."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import spatterlib as sp
from spatterlib.common.standard_streams import Lenient, shown


def printed(text: str, encoding: str = "utf-8") -> str:
    raw = io.BytesIO()
    stream = Lenient(raw, encoding, newline="")
    assert stream.write(text) == len(text)
    stream.flush()
    return raw.getvalue().decode(encoding)


@given(st.text(), st.sampled_from(["utf-8", "ascii", "cp1252", "cp437", "latin-1", "shift_jis"]))
def test_any_text_can_be_printed_in_any_encoding(text: str, encoding: str) -> None:
    assert "\x9b" not in (out := printed(text, encoding)) or encoding == "cp437"
    assert out.count("\x1b") <= text.count("\x1b")


def test_letters_that_an_encoding_lacks_become_escapes() -> None:
    assert printed("Ł ü \udcff", "ascii") == "\\u0141 \\xfc \\udcff"
    assert printed("Ł ü", "cp1252") == "\\u0141 ü"
    assert printed("T² ▁█", "utf-8") == "T² ▁█"


def test_names_cannot_command_the_terminal() -> None:
    assert printed("a\x1b]0;title\x07b") == "a\\x1b]0;title\\x07b"
    assert printed("good\rbad\x1b[2J\x9b31m\u202e") == "good\\rbad\\x1b[2J\\x9b31m\\u202e"


def test_our_own_colours_and_bars_pass() -> None:
    for own in ("\x1b[32mOK\x1b[0m", "\r\x1b[2K 50%", "\r 50%|##  |", "line\r\n", "a\tb\n"):
        assert printed(own) == own


@given(st.text())
def test_a_name_in_a_line_is_one_line_that_can_be_encoded(name: str) -> None:
    assert len(shown(name).encode("utf-8").decode("utf-8").splitlines()) <= 1
    assert "\x1b" not in shown(name)


# Closed before the program begins, as by `2>&-`; and what a file gets that is opened then.
CLOSED = """
import os, sys
for number in map(int, sys.argv.pop(1)): os.close(number)
os.execv(sys.executable, [sys.executable, "-m", "spatterlib", *sys.argv[1:]])
"""


def run(closed: str, *arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", CLOSED, closed, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **options)  # type: ignore[call-overload, no-any-return]


@pytest.fixture
def flash(tmp_path: Path) -> Path:
    frames = np.zeros((3, 120, 160, 3), np.uint8)
    frames[1, 30:90, 40:100] = 255
    np.save(tmp_path / "flash.npy", frames)
    return tmp_path / "flash.npy"


@pytest.mark.parametrize("closed", ["1", "2", "012"])
def test_closed_streams_lose_no_run(flash: Path, closed: str) -> None:
    out = flash.with_suffix(".h5")
    assert run(closed, "extract", flash, "-o", out).returncode == 0
    with sp.open_store(out) as store:
        assert store.attrs["complete"]
        assert len(store.read([0])) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_behind_stdout_is_said_and_told_by_the_exit_code(flash: Path) -> None:
    out = flash.with_suffix(".h5")
    command = [sys.executable, "-m", "spatterlib", "extract", str(flash), "-o", str(out), "--json"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=120)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "error: the output could not be written: No space left on device"
    assert sp.open_store(out).attrs["complete"]


def test_a_reader_that_leaves_loses_no_run_and_is_not_worth_a_word(flash: Path) -> None:
    out = flash.with_suffix(".h5")
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "spatterlib", "extract", str(flash), "-o", str(out)]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False, timeout=120)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")
    assert sp.open_store(out).attrs["complete"]
