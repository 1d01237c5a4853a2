"""The log of a run: JSON lines of every command, however it ends."""

from __future__ import annotations

import json
import logging.config
import os
import signal
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from terminals import without_progress
from test_cli import spatterlib
from test_extraction import flashes

import spatterlib as sp
from spatterlib.cli import main
from spatterlib.common import run_log


def lines(log: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    for line in found:
        assert list(line)[: len(run_log.FIELDS)] == list(run_log.FIELDS)
        assert set(line) == {*run_log.FIELDS, *run_log.EVENTS[line["event"]]}
        assert datetime.fromisoformat(line["time"]).utcoffset() is not None
    return found


def logged(log: Path, *arguments: object) -> tuple[int, list[dict[str, Any]]]:
    code = main.main([*map(str, arguments), "--log-file", str(log)])
    return code, lines(log)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "runs.log"


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    np.save(tmp_path / "stack.npy", flashes(100))
    return tmp_path / "stack.npy"


def test_a_run_that_ends_well_says_what_was_asked_with_what_and_how_much(stack: Path, log: Path) -> None:
    code, found = logged(log, "extract", stack, "-o", stack.with_suffix(".h5"), "--threshold", 30)
    assert code == 0
    events = [line["event"] for line in found if line["event"] not in ("progress", "message")]
    assert events == ["start", "settings", "detection", "end"]
    by = {line["event"]: line for line in found}
    assert by["start"]["command"] == "extract"
    assert by["start"]["argv"][1] == str(stack)
    assert by["start"]["versions"]["spatterlib"] == sp.__version__
    assert by["settings"]["settings"]["out"] == str(stack.with_suffix(".h5"))
    assert by["detection"]["settings"]["detector"]["threshold"] == 30
    assert by["detection"]["settings"]["filters"][0]["id"] == "area"
    end = by["end"]
    assert (end["outcome"], end["exit_code"], end["error"]) == ("done", 0, None)
    assert end["seconds"] > 0
    assert len({(line["run"], line["pid"]) for line in found}) == 1


@pytest.mark.parametrize(
    ("arguments", "code", "kind"),
    [
        (["info", "nowhere.mp4"], 1, "MissingFileError"),
        (["info", "--nonsense"], 2, "UsageError"),
        (["info"], 2, "UsageError"),
        (["inof", "x"], 2, "UsageError"),
        (["extract", "nowhere.mp4", "-o", "x.csv"], 2, "UsageError"),
        (["extract", "nowhere.mp4", "-o", "x.h5", "--config", "nowhere.toml"], 1, "MissingFileError"),
        (["check-camera", "nowhere.toml"], 1, "MissingFileError"),
        (["monitor", "nowhere.h5", "--reference", "2"], 1, "MissingFileError"),
    ],
)
def test_a_run_that_fails_early_says_why(log: Path, arguments: list[str], code: int, kind: str) -> None:
    ended, found = logged(log, *arguments)
    assert ended == code
    assert found[0]["event"] == "start"
    assert found[0]["command"] == arguments[0]
    assert found[-1]["event"] == "end"
    assert found[-1]["level"] == "ERROR"
    assert (found[-1]["exit_code"], found[-1]["error"]["kind"]) == (code, kind)
    assert found[-1]["error"]["message"]


def test_every_command_keeps_a_log(log: Path) -> None:
    main.main(["--version"])
    for name in main.cli.commands:
        log.unlink(missing_ok=True)
        code, found = logged(log, name, "--nonsense")
        assert (code, found[0]["command"], found[-1]["outcome"]) == (2, name, "usage")


def test_an_error_that_nobody_foresaw_leaves_its_traceback(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spatterlib.video.opening.open_video", lambda *_, **__: 1 / 0)
    code, found = logged(log, "info", "x.mp4")
    assert code == 1
    assert found[-1]["error"]["kind"] == "ZeroDivisionError"
    assert "Traceback" in found[-1]["error"]["traceback"]


def test_an_option_before_the_command_counts_too(log: Path) -> None:
    assert main.main([f"--log-file={log}", "info", "nowhere.mp4"]) == 1
    assert lines(log)[0]["command"] == "info"


def test_runs_append_and_differ(log: Path) -> None:
    logged(log, "info", "a.mp4")
    _, found = logged(log, "info", "b.mp4")
    assert [line["event"] for line in found].count("start") == 2
    assert len({line["run"] for line in found}) == 2


@pytest.mark.parametrize("name", ["folder", "folder/file/x.log", "missing/x.log"])
def test_a_log_that_cannot_be_written_is_said_before_anything_is_made(
    tmp_path: Path, stack: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_text("")
    out = tmp_path / "x.h5"
    assert main.main(["extract", str(stack), "-o", str(out), "--log-file", str(tmp_path / name)]) == 1
    assert capsys.readouterr().err.startswith(f"error: cannot write the log file {tmp_path / name}: ")
    assert not out.exists()


def test_what_is_logged_does_not_show_on_the_terminal(
    stack: Path, log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logged(log, "extract", stack, "-o", stack.with_suffix(".h5"))
    assert without_progress(capsys.readouterr().err) == []


def test_warnings_are_in_the_log_and_on_the_terminal(log: Path, tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_text("no stack")
    done = spatterlib("extract", tmp_path / "a.npy", "-o", tmp_path / "out", "--log-file", log)
    assert done.stderr.startswith("error: ")
    assert [line["level"] for line in lines(log) if line["event"] == "message"] == ["ERROR"]


SECRETS = ("hunter2", "T0/B0/xyz", "topsecret", "abc", "tok123")


def test_secrets_are_not_in_the_log(log: Path) -> None:
    code, found = logged(
        log, "watch", "rtsp://me:hunter2@127.0.0.1:1/live?token=tok123", "--model", "nowhere", "--webhook-header",
        "Authorization: topsecret", "--webhook-header=X-Key: abc", "--webhook", "https://hooks.example/T0/B0/xyz",
    )  # fmt: skip
    assert code == 1
    text = log.read_text()
    assert not [secret for secret in SECRETS if secret in text]
    assert found[0]["argv"][1] == "rtsp://me:***@127.0.0.1:1/live?token=***"
    settings = next(line for line in found if line["event"] == "settings")["settings"]
    assert settings["webhook-header"] == ["Authorization: ***", "X-Key: ***"]
    assert settings["webhook"] == "https://hooks.example/***"


def test_progress_comes_now_and_then(log: Path) -> None:
    with run_log.recording(str(log), "x", []):
        tell = run_log.periodic_progress("frames", every=0.0)
        tell(3, 9, detections=2)
        tell(4, None)
        run_log.periodic_progress("frames")(3, 9)
    found = [line for line in lines(log) if line["event"] == "progress"]
    assert [(line["done"], line["expected"], line["unit"], line["found"]) for line in found] == [
        (3, 9, "frames", {"detections": 2}),
        (4, None, "frames", {}),
    ]


def test_progress_of_runs_is_kept(log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_log.periodic_progress, "__defaults__", (0.0,))
    for name in ("a", "b"):
        np.save(tmp_path / f"{name}.npy", flashes(60))
    _, found = logged(log, "extract", tmp_path / "a.npy", tmp_path / "b.npy", "-o", tmp_path / "out")
    told = [(line["unit"], line["done"], line["expected"]) for line in found if line["event"] == "progress"]
    assert ("frames", 60, 60) in told
    assert [item for item in told if item[0] == "recordings"] == [("recordings", 1, 2), ("recordings", 2, 2)]
    assert found[-1]["counts"] == {"videos": 2, "failed": 0, "frames": 120, "decoded": 120, "detections": 22}
    log.unlink()
    _, found = logged(log, "simulate", tmp_path / "s.npy", "--seconds", 1)
    assert "progress" in {line["event"] for line in found}
    assert found[-1]["counts"]["layers"] == 1


def test_a_library_that_sets_up_logging_anew_does_not_end_the_log(log: Path) -> None:
    with run_log.recording(str(log), "x", []) as ended:
        logging.config.dictConfig({"version": 1, "disable_existing_loggers": False})
        ended(0, {}, None)
    assert [line["event"] for line in lines(log)] == ["start", "end"]


WRITER = """
import sys
from spatterlib.cli import main
from spatterlib.common import run_log
with run_log.recording(sys.argv[1], "x", ["y" * 20_000]) as ended:
    for number in range(100):
        run_log.log.info("%d %s", number, "z" * (number * 100), extra=run_log.event("message", error=None))
    ended(0, {}, None)
"""


def test_lines_of_several_processes_do_not_mix(log: Path) -> None:
    running = [subprocess.Popen([sys.executable, "-c", WRITER, str(log)]) for _ in range(4)]
    assert [process.wait(120) for process in running] == [0] * 4
    found = lines(log)
    assert len(found) == 4 * 102
    for run in {line["run"] for line in found}:
        numbers = [
            int(line["message"].split()[0]) for line in found if line["run"] == run and line["event"] == "message"
        ]
        assert numbers == list(range(100))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_is_told_once_and_ends_nothing(stack: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = stack.with_suffix(".h5")
    assert main.main(["extract", str(stack), "-o", str(out), "--log-file", "/dev/full"]) == 0
    said = capsys.readouterr().err.splitlines()
    assert said == ["warning: the log file /dev/full cannot be written any more: No space left on device"]
    assert sp.open_store(out).attrs["complete"]


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize(("number", "outcome"), [(signal.SIGTERM, "terminated"), (signal.SIGINT, "interrupted")])
def test_a_run_that_a_signal_ends_says_so(tmp_path: Path, log: Path, number: int, outcome: str) -> None:
    np.save(tmp_path / "long.npy", flashes(400))
    command = [sys.executable, "-m", "spatterlib", "extract", str(tmp_path / "long.npy"), "-o", str(tmp_path / "x.h5")]
    process = subprocess.Popen([*command, "--log-file", str(log)], stderr=subprocess.PIPE, env={**os.environ})
    deadline = time.monotonic() + 60
    while not (log.exists() and log.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(number)
    process.communicate(timeout=60)
    end = lines(log)[-1]
    assert (end["event"], end["outcome"], end["exit_code"]) == ("end", outcome, 128 + number)
    assert process.returncode == 128 + number
