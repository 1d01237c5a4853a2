"""The description of the service holds, whatever is asked."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from spatterlib_serve.app import create_app
from spatterlib_serve.rest import reference
from spatterlib_serve.settings import PREFIX, Settings

DOCS = Path(__file__).parents[2] / "docs"
KEY = "a-key-that-only-tests-know"
EXAMPLES = 5

# Which bytes are a video no schema can say, so a refusal of them is right; every other fault is one. One id is that of
# a job, so that not all that is asked about is unknown.
CONFIG = """
[parameters]
"path.id" = "{id}"

[[operations]]
include-method = "POST"
checks.positive_data_acceptance.expected-statuses = ["2xx", "404", "413", "415", "422", "429"]
"""
HOOKS = """
import pathlib, schemathesis
from hypothesis import strategies as st
here = pathlib.Path(__file__).parent
for kind, name in (("image/jpeg", "crop"), ("image/png", "crop"), ("application/octet-stream", "video")):
    content = (here / name).read_bytes()
    schemathesis.openapi.media_type(kind, st.one_of(st.just(content), st.binary()))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "keyed", [pytest.param(False, id="open"), pytest.param(True, id="with a key", marks=pytest.mark.torture)]
)
def test_schemathesis_finds_no_fault(
    start: Callable[..., Any], build: Path, crops: list[bytes], tmp_path: Path, keyed: bool
) -> None:
    pytest.importorskip("schemathesis")
    (tmp_path / "keys").write_text(KEY)
    apart = start("--queue", "3", *(["--key-file", str(tmp_path / "keys")] if keyed else []))
    headers = {"Authorization": f"Bearer {KEY}"} if keyed else {}
    answer = apart.client.post("/predict?model=simulated", content=build.read_bytes(), headers=headers)
    (tmp_path / "config.toml").write_text(CONFIG.format(id=answer.json()["id"]))
    (tmp_path / "hooks.py").write_text(HOOKS)
    (tmp_path / "crop").write_bytes(crops[0])
    (tmp_path / "video").write_bytes(build.read_bytes())
    program = [str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(tmp_path / "config.toml")]
    asked = ["run", f"{apart.client.base_url}/openapi.json", "-n", str(EXAMPLES), "--seed", "1", "--no-color"]
    asked += ["--phases", "examples,coverage,fuzzing"]
    asked += [f"--header=Authorization: Bearer {KEY}"] if keyed else []
    environment = os.environ | {"SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(program + asked, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-6000:]
    [cases] = re.findall(r"(\d+) generated, \1 passed", done.stdout)
    assert int(cases) > 100
    assert " 500 " not in apart.log.read_text()
    assert list((apart.data / "incoming").iterdir()) == []


def test_every_setting_stands_in_the_documentation() -> None:
    text = (DOCS / "service.md").read_text(encoding="utf-8")
    for item in dataclasses.fields(Settings):
        if item.name != "keys":
            line = f"| `--{item.name.replace('_', '-')}` | {item.metadata['help']} | `{item.default}` |"
            assert line in text, line
    assert f"{PREFIX}KEY" in text


def test_the_reference_is_what_the_service_says_of_itself(tmp_path: Path) -> None:
    made = reference(create_app(Settings(data=tmp_path)).openapi())
    assert (DOCS / "rest.md").read_text(encoding="utf-8") == made, "write it again: python -m spatterlib_serve.rest"
