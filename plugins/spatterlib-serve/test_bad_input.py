"""What is refused: a clear answer below 500 as a problem document, and nothing left on the disk."""

from __future__ import annotations

import asyncio
import dataclasses
import io
import json
import socket
import struct
import threading
import time
import wave
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from spatterlib_serve.jobs import Jobs
from spatterlib_serve.uploads import Parts, cleaned, receive
from starlette.requests import Request

import spatterlib as sp
from spatterlib.errors import ParameterError, StoreError

PROBLEM = "application/problem+json"
KEYS = ("a key that only tests know", "another key that tests know")


def refused(near: Any, answer: Any, status: int, said: str) -> None:
    """It is a problem document that says why, and the service has no file more than before."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM), answer.text
    problem = answer.json()
    assert problem["status"] == status
    assert said in problem["detail"]
    assert problem["type"].startswith("urn:spatterlib:problem:")
    assert "\n" not in problem["detail"]
    assert str(near.data) not in answer.text
    assert near.left() == []
    assert list((near.data / "incoming").iterdir()) == []


def sound() -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setparams((1, 2, 8000, 0, "NONE", ""))
        out.writeframes(bytes(16000))
    return file.getvalue()


def png(width: int, height: int) -> bytes:
    """A whole PNG whose header promises that size; black, so that its data are few."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes(min((width + 1) * height, 1 << 20)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


class TestVideos:
    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (b"<!doctype html><html><body>Not found</body></html>" * 50, "no video"),
            (b"", "is empty"),
            (b"\0" * 5000, "no video"),
            (b"layer 1\nlayer 2\n" * 100, "video"),
            (b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n/BUILD\n#EXT-X-ENDLIST\n", "no video"),
            (b"ffconcat version 1.0\nfile BUILD\n", "of a kind that is taken"),
            (sound(), "kind that is taken"),
        ],
        ids=["html", "empty", "zeros", "text", "playlist", "list of files", "sound"],
    )
    def test_what_is_no_video(self, service: Any, build: Path, content: bytes, said: str) -> None:
        content = content.replace(b"BUILD", str(build).encode())
        answer = service.client.post("/predict?model=simulated", files={"video": ("build.mp4", content, "video/mp4")})
        refused(service, answer, 415, said)
        assert "build.mp4" in answer.json()["detail"]

    def test_one_that_was_cut_off(self, service: Any, build: Path) -> None:
        content = build.read_bytes()[:20000]
        answer = service.client.post("/predict?model=simulated&name=cut.mp4", content=content)
        refused(service, answer, 415, "its index (moov) is missing or damaged")

    def test_a_picture(self, service: Any, crops: list[bytes]) -> None:
        refused(service, service.client.post("/predict?model=simulated", content=crops[0]), 415, "kind that is taken")

    @pytest.mark.parametrize(
        ("query", "said"),
        [
            ("", "name a model"),
            ("model=resnet", "there is no model of that name"),
            ("model=../../etc", "there is no model of that name"),
            ("model=simulated&expected=blue", "tells high, low apart"),
            ("model=simulated&window=0", "query.window"),
            ("model=simulated&window=nan", "query.window"),
            ("model=simulated&gap=-1", "query.gap"),
            ("model=simulated&detector=magic", "no detector 'magic'"),
            ("model=simulated&detector={", "no JSON"),
            ('model=simulated&detector={"id":"frame-difference","threshold":"x"}', "frame-difference"),
            ('model=simulated&detector={"id":"frame-difference","threshold":NaN}', "no JSON"),
            ('model=simulated&detector={"id":3}', "no id that is text"),
            ("model=simulated&filters=magic", "no filter 'magic'"),
            ("model=simulated&windw=3", "windw"),
            ("model=simulated&layers=9-3", 'layers must be such as "100-200"'),
            ("model=simulated&alarms_only=true", "alarms only needs an expected class"),
            ("model=simulated&machine=a%0Ab", "machine must be one line"),
        ],
    )
    def test_parameters_that_do_not_fit(self, service: Any, build: Path, query: str, said: str) -> None:
        refused(service, service.client.post(f"/predict?{query}", content=build.read_bytes()), 422, said)

    def test_a_model_for_other_classes(self, serve: Callable[..., Any], build: Path, tmp_path: Path) -> None:
        other = tmp_path / "models" / "porosity"
        other.mkdir(parents=True)
        for file in sp.models.SIMULATED.iterdir():
            (other / file.name).write_bytes(file.read_bytes())
        model = dataclasses.replace(sp.load_model("simulated").model, classes=("dense", "porous"))  # type: ignore[type-var]
        model.save(other, {})
        facts = json.loads((other / "model.json").read_text())
        (other / "model.json").write_text(json.dumps(facts | {"classes": ["dense", "porous"]}))
        near = serve()
        assert near.client.get("/models").json()[1]["classes"] == ["dense", "porous"]
        answer = near.client.post("/predict?expected=high", content=build.read_bytes())
        refused(near, answer, 422, "'high' cannot be expected")

    @pytest.mark.parametrize(
        ("settings", "status", "said"),
        [
            ({"max_mb": 0.01}, 413, "at most 10485 bytes are taken"),
            ({"max_seconds": 2.0}, 422, "lasts 3 s; at most 2 s are taken"),
            ({"max_pixels": 10000}, 422, "frames of 640x360 px; at most 10000 px"),
            ({"free_mb": 1e12}, 507, "not enough room"),
        ],
    )
    def test_more_than_is_allowed(
        self, serve: Callable[..., Any], build: Path, settings: dict[str, Any], status: int, said: str
    ) -> None:
        near = serve(**settings)
        refused(near, near.client.post("/predict?model=simulated", content=build.read_bytes()), status, said)

    def test_more_than_is_allowed_without_saying_so(self, serve: Callable[..., Any]) -> None:
        def body() -> Iterator[bytes]:
            for _ in range(40):
                yield bytes(4096)

        near = serve(max_mb=0.05)
        refused(near, near.client.post("/predict?model=simulated", content=body()), 413, "more came")
        form = near.client.post("/predict?model=simulated", files={"video": ("a", bytes(400_000))})
        refused(near, form, 413, "the request says that it has")


class TestForms:
    @pytest.mark.parametrize(
        ("kind", "body", "said"),
        [
            ("multipart/form-data; boundary=x", b"", "cut short"),
            ("multipart/form-data; boundary=x", b"hello", "no form"),
            ("multipart/form-data", b"hello", "no form"),
            ("multipart/form-data; boundary=x", b"--x--\r\n", "no file named 'video'"),
            (
                "multipart/form-data; boundary=x",
                b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n--x--',
                "'a'",
            ),
            (
                "multipart/form-data; boundary=x",
                b'--x\r\nContent-Disposition: form-data; name="video"; filename="a.mp4"\r\n\r\nhalf',
                "cut short",
            ),
            ("multipart/form-data; boundary=x", b"--x\r\nA: " + b"b" * 9999 + b"\r\n\r\nb\r\n--x--", "header"),
        ],
    )
    def test_broken_ones(self, service: Any, kind: str, body: bytes, said: str) -> None:
        answer = service.client.post("/predict?model=simulated", content=body, headers={"content-type": kind})
        refused(service, answer, 422, said)

    def test_two_videos(self, service: Any, build: Path) -> None:
        files = [("video", ("a.mp4", build.read_bytes())), ("video", ("b.mp4", build.read_bytes()))]
        refused(service, service.client.post("/predict?model=simulated", files=files), 413, "at most 1")

    @pytest.mark.parametrize(
        ("name", "shown"),
        [
            ("../../../etc/passwd", "passwd"),
            ("..\\..\\boot.ini", "boot.ini"),
            ("/etc/shadow", "shadow"),
            ("..", "video"),
            ("a\0b\nc\x1b[31m.mp4", "abc[31m.mp4"),
            ("\u202egpj.exe", "gpj.exe"),
            ("x" * 5000, "x" * 120),
            ("", "video"),
        ],
    )
    def test_a_name_is_shown_but_never_a_path(self, name: str, shown: str) -> None:
        assert cleaned(name) == shown

    def test_path_tricks_write_nowhere_else(self, service: Any, build: Path) -> None:
        around = {path for path in service.data.parent.rglob("*") if service.data not in path.parents}
        files = {"video": ("../../../escaped.mp4", build.read_bytes())}
        job = service.client.post("/predict?model=simulated", files=files).json()
        assert job["name"] == "escaped.mp4"
        assert service.client.delete(f"/jobs/{job['id']}").status_code == 204
        assert service.left() == []
        assert {path for path in service.data.parent.rglob("*") if service.data not in path.parents} == around

    @pytest.mark.parametrize("path", ["/jobs/..%2f..%2fjobs.sqlite3", "/jobs/" + "0" * 31, "/jobs/%00/report"])
    def test_path_tricks_in_addresses(self, service: Any, path: str) -> None:
        answer = service.client.get(path)
        assert answer.status_code in (404, 422)
        assert answer.headers["content-type"] == PROBLEM


class TestCrops:
    def test_an_image_bomb(self, service: Any) -> None:
        began = time.process_time()
        answer = service.client.post("/classify?model=simulated&name=bomb.png", content=png(60000, 60000))
        refused(service, answer, 413, "bomb.png says that it is 60000x60000 px")
        assert time.process_time() - began < 5

    def test_many_large_ones(self, service: Any) -> None:
        files = [("crops", ("big.png", png(2048, 2048))) for _ in range(17)]
        refused(service, service.client.post("/classify?model=simulated", files=files), 413, "together")

    @pytest.mark.parametrize("content", [b"", b"<html></html>", b"GIF89a" + bytes(50), b"\xff\xd8\xff", png(0, 4)])
    def test_what_is_no_image(self, service: Any, content: bytes) -> None:
        answer = service.client.post("/classify?model=simulated", content=content)
        assert answer.status_code in (413, 415)
        refused(service, answer, answer.status_code, "crop")

    def test_one_damaged_among_whole_ones_is_named(self, service: Any, crops: list[bytes]) -> None:
        files = [("crops", ("whole.jpg", crops[0])), ("crops", ("half.jpg", crops[1][: len(crops[1]) // 2]))]
        refused(service, service.client.post("/classify?model=simulated", files=files), 415, "half.jpg does not decode")

    def test_too_many_and_too_much(self, serve: Callable[..., Any], crops: list[bytes]) -> None:
        near = serve(crops=2, crops_mb=0.01)
        files = [("crops", ("a.jpg", crops[0]))] * 3
        refused(near, near.client.post("/classify?model=simulated", files=files), 413, "at most 2")
        refused(near, near.client.post("/classify?model=simulated", content=bytes(100_000)), 413, "at most 10485")

    def test_more_than_may_wait(self, serve: Callable[..., Any], crops: list[bytes]) -> None:
        near = serve(asking=1)
        with near.service.asking.one("somebody else"):
            answer = near.client.post("/classify?model=simulated", content=crops[0])
        refused(near, answer, 429, "wait already")
        assert int(answer.headers["retry-after"]) > 0


class TestKeys:
    ROUTES = (("POST", "/predict"), ("POST", "/classify"), ("GET", "/models"), ("GET", "/plugins"))
    JOBS = tuple(
        (method, f"/jobs/{'0' * 32}{rest}") for method, rest in (("GET", ""), ("DELETE", ""), ("GET", "/report"))
    )

    def test_a_wrong_one(self, serve: Callable[..., Any], build: Path) -> None:
        near = serve(keys=KEYS)
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {KEYS[0]}"}):
            for method, path in self.ROUTES + self.JOBS:
                answer = near.client.request(method, path, headers=headers, content=build.read_bytes())
                refused(near, answer, 401, "Authorization: Bearer KEY")
                assert answer.headers["www-authenticate"] == "Bearer"
        for key in KEYS:
            assert near.client.get("/models", headers={"Authorization": f"Bearer {key}"}).status_code == 200
        assert near.client.get("/healthz").status_code == near.client.get("/readyz").status_code == 200

    def test_where_it_comes_from(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from spatterlib_serve.settings import Settings, read_keys

        assert read_keys(None) == ()
        monkeypatch.setenv("SPATTERLIB_SERVE_KEY", KEYS[0].replace(" ", "-"))
        assert read_keys(None) == (KEYS[0].replace(" ", "-"),)
        (tmp_path / "keys").write_text("first-key-of-two-there\nsecond-key-of-two-there\n")
        assert read_keys(tmp_path / "keys") == ("first-key-of-two-there", "second-key-of-two-there")
        (tmp_path / "none").write_text("\n")
        with pytest.raises(ParameterError, match="holds no key"):
            read_keys(tmp_path / "none")
        with pytest.raises(FileNotFoundError, match="cannot be read"):
            read_keys(tmp_path / "nowhere")
        with pytest.raises(ParameterError, match="16 or more"):
            Settings(keys=("short",))
        assert KEYS[0] not in repr(Settings(keys=KEYS))


class TestQueue:
    def test_one_that_is_full(self, serve: Callable[..., Any], build: Path) -> None:
        near = serve(queue=2)
        near.service.jobs.take = lambda: None  # Nobody works.
        ids = [near.client.post("/predict?model=simulated", content=build.read_bytes()).json()["id"] for _ in range(2)]
        assert [near.client.get(f"/jobs/{id_}").json()["waiting"] for id_ in ids] == [0, 1]
        files = near.left()
        answer = near.client.post("/predict?model=simulated", content=build.read_bytes())
        assert (answer.status_code, answer.headers["content-type"]) == (429, PROBLEM)
        assert int(answer.headers["retry-after"]) > 0
        assert near.left() == files
        assert near.client.get(f"/jobs/{ids[0]}/report").status_code == 409
        assert near.client.delete(f"/jobs/{ids[0]}").status_code == 204
        assert near.client.post("/predict?model=simulated", content=build.read_bytes()).status_code == 202

    def test_a_folder_that_another_service_uses(self, tmp_path: Path) -> None:
        with Jobs(tmp_path), pytest.raises(StoreError, match="another service uses"):
            Jobs(tmp_path)
        Jobs(tmp_path).close()

    def test_a_folder_that_cannot_be(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(StoreError, match="jobs cannot be kept"):
            Jobs(tmp_path / "file")


class TestWire:
    """What only a real connection shows."""

    def test_a_claim_of_ten_gigabytes_is_refused_before_any_comes(self, start: Callable[..., Any]) -> None:
        apart = start()
        head = "POST /predict?model=simulated HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10737418240\r\n\r\n"
        with socket.create_connection((apart.client.base_url.host, apart.client.base_url.port), timeout=30) as line:
            line.sendall(head.encode())
            answer = line.recv(65536).decode()
        assert answer.startswith("HTTP/1.1 413 ")
        assert PROBLEM in answer
        assert list((apart.data / "incoming").iterdir()) == []

    def test_a_client_that_goes_away_or_stalls(self, start: Callable[..., Any]) -> None:
        apart = start("--stall-seconds", "1")
        head = b"POST /predict?model=simulated HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n" + bytes(
            5000
        )
        address = (apart.client.base_url.host, apart.client.base_url.port)
        incoming = apart.data / "incoming"
        with socket.create_connection(address, timeout=30) as line:
            line.sendall(head)
            until(lambda: len(list(incoming.iterdir())) == 1)
        until(lambda: not list(incoming.iterdir()))
        with socket.create_connection(address, timeout=30) as line:
            line.sendall(head)
            assert line.recv(65536).startswith(b"HTTP/1.1 408 ")
        assert not list(incoming.iterdir())
        assert apart.client.get("/healthz").status_code == 200
        assert "Traceback" not in apart.log.read_text()


def until(holds: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_form_in_any_pieces_gives_the_same_files() -> None:
    body = b"".join(
        b'--b\r\nContent-Disposition: form-data; name="crops"; filename="%d"\r\n\r\n%s\r\n' % (number, data)
        for number, data in enumerate([b"", b"\r\n--", b"a" * 70])
    )
    for size in (1, 2, 7, 1000):
        pieces = [body[start : start + size] for start in range(0, len(body), size)] + [b"--b--\r\n"]
        assert asyncio.run(_files(pieces)) == [b"", b"\r\n--", b"a" * 70]
    assert threading.active_count() < 20


async def _files(pieces: list[bytes]) -> list[bytes]:
    from spatterlib_serve.uploads import Memory, Pace

    waiting = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    waiting.append({"type": "http.request", "body": b"", "more_body": False})

    async def come() -> Any:
        return waiting.pop(0)

    scope = {"type": "http", "headers": [(b"content-type", b"multipart/form-data; boundary=b")], "method": "POST"}
    kept = Memory()
    await receive(Request(scope, come), Parts("crops", 9, kept.open), 10_000, Pace(5, 0, 60))
    return kept.files
