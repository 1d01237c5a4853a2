"""What the README shows runs as it stands."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_python_runs(tmp_path: Path) -> None:
    [code] = blocks("python")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "low.mp4: 1500 of 1500 frames" in done.stdout


@pytest.mark.slow
def test_shell_runs(tmp_path: Path) -> None:
    [code] = [block for block in blocks("sh") if "spatterlib" in block]
    # Learning has tests of its own; it needs PyTorch and a second store.
    commands = [shlex.split(line, comments=True) for line in code.splitlines() if line.startswith("spatterlib ")]
    for command in (command for command in commands if command[1] != "train"):
        arguments = ["low.mp4" if argument == "*.mp4" else argument for argument in command[1:]]
        done = subprocess.run([sys.executable, "-m", "spatterlib", *arguments], cwd=tmp_path, capture_output=True)
        assert done.returncode == 0, (command, done.stderr)
    assert {"low.mp4", "low.h5", "low.zarr", "crops.png", "frame.png", "timeline.png", "stores"} <= {
        path.name for path in tmp_path.iterdir()
    }


def test_links_and_pictures_are_there() -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", README)
    assert targets
    for target in targets:
        assert (Path(__file__).parents[1] / target).exists(), target
