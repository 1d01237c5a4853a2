"""What the service does for those who ask rightly."""

from __future__ import annotations

import io
import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import spatterlib as sp
from spatterlib.plugins import decode


def figures(service: Any) -> dict[str, float]:
    lines = [line for line in service.client.get("/metrics").text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


@pytest.fixture(scope="module")
def job(service: Any, build: Path) -> dict[str, Any]:
    answer = service.client.post(
        "/predict?model=simulated&expected=high&window=2", files={"video": ("my build.mp4", build.read_bytes())}
    )
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/jobs/{answer.json()['id']}"
    done: dict[str, Any] = service.wait(answer.json()["id"])
    return done


class TestVideos:
    def test_the_verdict_is_that_of_predict(self, job: dict[str, Any], build: Path) -> None:
        own = sp.predict(build, "simulated", expected="high", window=2, progress=False).to_dict(rows=False)
        for part in ("layers", "windows", "changes", "classes", "simulated"):
            assert job["result"][part] == own[part]
        assert {**job["result"]["summary"], "seconds": 0} == {**own["summary"], "seconds": 0}
        assert job["result"]["settings"]["video"]["digest"] == own["settings"]["video"]["digest"]

    def test_it_says_how_far_it_is(self, job: dict[str, Any]) -> None:
        crops = job["result"]["summary"]["crops"]
        assert job["progress"] == {"done": 75, "expected": 75, "crops": crops, "preparing": None}
        assert (job["name"], job["video"]["frames"], job["waiting"], job["error"]) == ("my build.mp4", 75, None, None)
        assert job["created"] <= job["started"] <= job["finished"]

    def test_nothing_says_where_files_lie_in_the_service(self, service: Any, job: dict[str, Any]) -> None:
        page = service.client.get(job["links"]["report"]).text
        for text in (page, json.dumps(job)):
            assert str(service.data) not in text
            assert "site-packages" not in text
            assert str(Path(sp.__file__).parent) not in text

    def test_the_report_is_a_page_that_verify_accepts(
        self, service: Any, job: dict[str, Any], build: Path, tmp_path: Path
    ) -> None:
        answer = service.client.get(job["links"]["report"])
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "my build.mp4" in answer.text
        assert "imulated" in answer.text
        (tmp_path / "report.html").write_text(answer.text, encoding="utf-8")
        assert sp.verify(tmp_path / "report.html", source=build).holds

    def test_the_rows_are_a_table(self, service: Any, job: dict[str, Any]) -> None:
        answer = service.client.get(job["links"]["rows"])
        table = np.genfromtxt(io.StringIO(answer.text), delimiter=",", names=True)
        assert len(table) == job["result"]["summary"]["crops"]
        np.testing.assert_allclose(table["probability_high"] + table["probability_low"], 1)

    def test_the_video_is_not_kept(self, service: Any, job: dict[str, Any]) -> None:
        assert service.left() == [f"jobs/{job['id']}/{name}" for name in ("report.html", "result.json", "rows.csv")]

    def test_it_is_counted(self, service: Any, job: dict[str, Any]) -> None:
        found = figures(service)
        assert found['spatterlib_jobs_total{outcome="done"}'] == 1
        assert found["spatterlib_frames_total"] == 75
        assert found["spatterlib_events_total"] == job["result"]["summary"]["events"]
        assert found["spatterlib_queue_length"] == found["spatterlib_jobs_running"] == 0
        for stage in ("upload", "look", "wait", "predict", "report"):
            assert found[f'spatterlib_stage_seconds_count{{stage="{stage}"}}'] == 1
        assert found['spatterlib_http_requests_total{method="POST",route="/predict",status="202"}'] == 1


def test_the_bare_file_does_as_well_and_delete_leaves_nothing(service: Any, build: Path) -> None:
    before = service.left()
    answer = service.client.post("/predict?model=simulated&name=bare.mp4", content=build.read_bytes())
    job = service.wait(answer.json()["id"])
    assert job["name"] == "bare.mp4"
    assert service.client.delete(job["links"]["self"]).status_code == 204
    assert service.client.get(job["links"]["self"]).status_code == 404
    assert service.left() == before


def test_settings_of_the_detector_are_those_of_predict(service: Any, build: Path) -> None:
    detector = {"id": "frame-difference", "threshold": 60}
    asked = {"model": "simulated", "detector": json.dumps(detector), "filters": ["area", '{"id": "black"}'], "fps": 50}
    answer = service.client.post("/predict", params=asked, content=build.read_bytes())
    job = service.wait(answer.json()["id"])
    own = sp.predict(build, "simulated", detector=detector, filters=["area", "black"], fps=50, progress=False)
    assert job["result"]["settings"]["detector"]["threshold"] == 60
    assert job["result"]["summary"]["crops"] == len(own.rows)
    assert job["result"]["layers"] == own.to_dict()["layers"]


class TestCrops:
    def test_probabilities_are_those_of_the_model(self, service: Any, crops: list[bytes]) -> None:
        files = [("crops", (f"{number}.jpg", crop)) for number, crop in enumerate(crops)]
        answer = service.client.post("/classify?model=simulated", files=files).json()
        model = sp.load_model("simulated")
        own = model.probabilities([decode(crop) for crop in crops])
        found = [[crop["probabilities"][name] for name in model.classes] for crop in answer["crops"]]
        np.testing.assert_allclose(found, own, atol=1e-12)
        assert [crop["name"] for crop in answer["crops"]] == [f"{number}.jpg" for number in range(len(crops))]
        assert (answer["model"], answer["simulated"]) == ("simulated", True)
        assert [crop["label"] for crop in answer["crops"]] == [model.classes[row.argmax()] for row in own]

    def test_one_may_come_bare(self, service: Any, crops: list[bytes]) -> None:
        answer = service.client.post("/classify?model=simulated&name=a.jpg", content=crops[0])
        [crop] = answer.json()["crops"]
        assert (crop["name"], crop["width"], crop["height"]) == ("a.jpg", *decode(crops[0]).shape[1::-1])
        assert crop["far"] == (crop["distance"] > 1)

    def test_a_dark_one_gets_no_label(self, service: Any, dark: bytes) -> None:
        [crop] = service.client.post("/classify?model=simulated", content=dark).json()["crops"]
        assert (crop["label"], crop["probabilities"]) == (None, None)
        assert "too dark" in crop["reason"]


class TestModels:
    def test_the_one_that_comes_along_is_simulated_and_not_taken_unasked(self, service: Any) -> None:
        [model] = service.client.get("/models").json()
        assert (model["name"], model["simulated"], model["current"], model["usable"]) == (
            "simulated",
            True,
            False,
            True,
        )
        assert model["split"]["by"] == "recording"

    def test_a_model_of_the_folder_is_taken_when_it_is_the_only_one(
        self, serve: Any, crops: list[bytes], tmp_path: Path
    ) -> None:
        (tmp_path / "models").mkdir()
        (tmp_path / "models" / "mine").symlink_to(sp.models.SIMULATED)
        (tmp_path / "models" / "broken").mkdir()
        (tmp_path / "models" / "broken" / "model.json").write_text("{")
        near = serve()
        shown = {model["name"]: model for model in near.client.get("/models").json()}
        assert [name for name, model in shown.items() if model["current"]] == ["mine"]
        assert not shown["broken"]["usable"]
        assert near.client.post("/classify", content=crops[0]).json()["model"] == "mine"


def test_plugins_are_listed(service: Any) -> None:
    found = service.client.get("/plugins").json()
    assert found["detectors"] == sorted(sp.catalog().detectors)
    assert found["failed"] == [f"{source}: {source.error}" for source in sp.catalog().failed]


def test_it_is_healthy_and_ready(service: Any) -> None:
    assert service.client.get("/healthz").json()["status"] == "ok"
    assert service.client.get("/readyz").status_code == 200


def test_it_is_not_ready_when_the_disk_is_full(serve: Any) -> None:
    near = serve(free_mb=1e12)
    answer = near.client.get("/readyz")
    assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")


def test_finished_jobs_are_removed_in_time(serve: Any, build: Path) -> None:
    near = serve()
    answer = near.client.post("/predict?model=simulated", content=build.read_bytes())
    job = near.wait(answer.json()["id"])
    near.client.portal.call(_expired, near.service, 3600.0)
    assert near.client.get(job["links"]["self"]).status_code == 200
    near.client.portal.call(_expired, near.service, 0.0)
    assert near.client.get(job["links"]["self"]).status_code == 404
    assert near.left() == []


async def _expired(service: Any, seconds: float) -> None:
    service.jobs.expire(seconds)


def test_a_port_that_is_taken_ends_with_the_code_of_a_failure(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        options = ["--port", port, "--data", str(tmp_path / "jobs"), "--log-file", str(tmp_path / "x.log")]
        command = [sys.executable, "-m", "spatterlib", "serve", *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1
    assert f"error: the service could not start at 127.0.0.1:{port}" in done.stderr
    assert json.loads((tmp_path / "x.log").read_text().splitlines()[-1])["event"] == "end"
