"""Who may ask, what each sees, and that nobody keeps others out."""

from __future__ import annotations

import base64
import os
import re
import socket
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from spatterlib_serve.access import Shares
from spatterlib_serve.jobs import Jobs
from spatterlib_serve.problems import ProblemError
from spatterlib_serve.settings import Settings, named_key
from spatterlib_serve.uploads import Pace

from spatterlib.errors import ParameterError

KEYS = ALICE, BOB = "alice:0123456789abcdef-a", "bob:0123456789abcdef-b"
BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


def bearer(line: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {named_key(line)[1]}"}


def basic(line: str) -> dict[str, str]:
    return BROWSER | {"Authorization": "Basic " + base64.b64encode(f"me:{named_key(line)[1]}".encode()).decode()}


@pytest.fixture(scope="module")
def job(keyed: Any, build: Path) -> dict[str, Any]:
    answer = keyed.client.post("/predict?model=simulated", content=build.read_bytes(), headers=bearer(ALICE))
    found: dict[str, Any] = answer.json()
    return found


class TestOwnJobs:
    @pytest.mark.parametrize(
        ("method", "rest"),
        [("GET", ""), ("GET", "/report"), ("GET", "/rows"), ("DELETE", ""), ("POST", "/delete")],
    )
    def test_the_job_of_another_key_is_not_there(self, keyed: Any, job: dict[str, Any], method: str, rest: str) -> None:
        for headers in (bearer(BOB), basic(BOB)):
            answer = keyed.client.request(method, f"/jobs/{job['id']}{rest}", headers=headers)
            assert answer.status_code == 404
            assert job["name"] not in answer.text
        assert keyed.client.get(f"/jobs/{job['id']}", headers=bearer(ALICE)).status_code == 200

    def test_each_key_lists_its_own(self, keyed: Any, job: dict[str, Any]) -> None:
        own = keyed.client.get("/jobs", headers=bearer(ALICE)).json()
        assert [(item["id"], item["caller"], item["result"]) for item in own] == [(job["id"], "alice", None)]
        assert keyed.client.get("/jobs", headers=bearer(BOB)).json() == []
        assert job["id"] in keyed.client.get("/", headers=basic(ALICE)).text
        assert job["id"] not in keyed.client.get("/", headers=basic(BOB)).text

    def test_a_browser_is_asked_for_the_key_as_a_password(self, keyed: Any) -> None:
        answer = keyed.client.get("/", headers=BROWSER)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Basic ")
        assert keyed.client.get("/", headers=basic("x:wrong-wrong-wrong-wrong")).status_code == 401
        for nonsense in ("Basic", "Basic %%%", "Basic " + base64.b64encode(b"\xff\xfe").decode()):
            assert keyed.client.get("/", headers={"Authorization": nonsense}).status_code == 401


def test_a_new_key_of_the_same_name_sees_the_jobs_of_the_old_one() -> None:
    assert named_key("alice:0123456789abcdef-a")[0] == named_key("alice:fedcba9876543210")[0]
    assert named_key("0123456789abcdef")[0] != named_key("fedcba9876543210")[0]
    with pytest.raises(ParameterError, match="16 or more"):
        Settings(keys=("alice:short",))


def test_jobs_of_an_older_service_are_kept_and_files_are_nobody_elses(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "jobs.sqlite3") as base:
        base.execute(
            "create table jobs (id text primary key, state text not null, name text not null, options text not null, "
            "video text not null, created real not null, started real, finished real, "
            "attempts integer not null default 0, error text) strict"
        )
        base.execute("insert into jobs values ('a', 'failed', 'b.mp4', '{}', '{}', 1, 1, 2, 1, 'why')")
    base.close()
    with Jobs(tmp_path) as jobs:
        assert (jobs["a"].name, jobs["a"].caller) == ("b.mp4", None)
        assert [job.id for job in jobs.listed(None, 10)] == ["a"]
        assert jobs.listed("somebody", 10) == []
        modes = [stat.S_IMODE(file.stat().st_mode) for file in tmp_path.glob("jobs.sqlite3*")]
        assert modes
        assert not any(mode & 0o077 for mode in modes)


def test_a_second_service_on_one_folder_is_refused_in_one_line(tmp_path: Path) -> None:
    with Jobs(tmp_path):
        command = [sys.executable, "-m", "spatterlib", "serve", "--port", "1", "--data", str(tmp_path)]
        own = os.environ | {"SPATTERLIB_PLUGINS": "spatterlib-serve"}
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=own)
    assert done.stderr.splitlines()[-1].startswith(f"error: another service uses {tmp_path}")
    assert "Traceback" not in done.stderr


class TestOtherSites:
    @pytest.mark.parametrize(
        "host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "", "localhost.evil"]
    )
    def test_a_name_that_is_not_known_is_not_answered(self, service: Any, host: str) -> None:
        """DNS rebinding: a page gives its own name the address of this machine."""
        for path in ("/", "/jobs", "/models", "/openapi.json", "/docs"):
            answer = service.client.get(path, headers={"Host": host})
            assert answer.status_code == 421, path
            assert "--allow-host" in answer.json()["detail"]

    @pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1:8000", "192.168.1.7", "[::1]:8000"])
    def test_addresses_are_answered(self, service: Any, host: str) -> None:
        assert service.client.get("/models", headers={"Host": host}).status_code == 200

    def test_a_name_may_be_allowed_and_who_watches_the_service_needs_none(self, serve: Callable[..., Any]) -> None:
        near = serve(allow_host=("spatter.plant",))
        assert near.client.get("/models", headers={"Host": "spatter.plant"}).status_code == 200
        assert near.client.get("/models", headers={"Host": "other.plant"}).status_code == 421
        for path in ("/healthz", "/readyz", "/metrics"):
            assert near.client.get(path, headers={"Host": "serve:8000"}).status_code == 200

    @pytest.mark.parametrize(
        "headers",
        [
            {"Origin": "http://evil.example"},
            {"Origin": "null"},
            {"Origin": "http://127.0.0.1:9999"},
            {"Origin": "http://[bad"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
        ],
    )
    def test_a_page_of_another_site_changes_nothing(self, service: Any, build: Path, headers: dict[str, str]) -> None:
        before = service.left()
        job = f"/jobs/{'0' * 32}"
        posts = ["/predict?model=simulated", "/classify?model=simulated", f"{job}/delete"]
        for method, path in (*(("POST", path) for path in posts), ("DELETE", job)):
            answer = service.client.request(method, path, content=build.read_bytes(), headers=headers)
            assert answer.status_code == 403, path
        assert service.left() == before

    def test_the_own_page_may(self, service: Any, crops: list[bytes]) -> None:
        headers = {"Origin": "http://127.0.0.1", "Sec-Fetch-Site": "same-origin"}
        answer = service.client.post("/classify?model=simulated", content=crops[0], headers=headers)
        assert answer.status_code == 200


class TestPages:
    def test_a_video_can_be_sent_and_its_verdict_read_without_javascript(self, serve: Any, build: Path) -> None:
        near = serve(root_path="/spatter")
        front = near.client.get("/", headers=BROWSER).text
        [action] = re.findall(r'action="([^"]+)" enctype', front)
        assert action == "/spatter/predict?model=simulated"
        assert "simulated recordings only" in front
        name = '<img src=x onerror="alert(1)">.mp4'
        answer = near.client.post(
            action.removeprefix("/spatter"), files={"video": (name, build.read_bytes())}, headers=BROWSER,
            follow_redirects=False,
        )  # fmt: skip
        assert answer.status_code == 303
        here = answer.headers["location"]
        assert here.startswith("/spatter/jobs/")
        page = near.client.get(here.removeprefix("/spatter"), headers=BROWSER).text
        assert ("http-equiv" in page) == ("Report" not in page)
        near.wait(here.rsplit("/", 1)[-1])
        page = near.client.get(here.removeprefix("/spatter"), headers=BROWSER)
        assert f'href="{here}/report"' in page.text
        front = near.client.get("/", headers=BROWSER).text
        for text in (page.text, front):
            assert "<img" not in text
            assert "<script" not in text
        assert "default-src 'none'" in page.headers["content-security-policy"]
        answer = near.client.post(f"{here.removeprefix('/spatter')}/delete", headers=BROWSER, follow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (303, "/spatter/")
        assert near.left() == []

    def test_a_refusal_is_a_page_too(self, service: Any) -> None:
        answer = service.client.get(f"/jobs/{'0' * 32}", headers=BROWSER)
        assert (answer.status_code, answer.headers["content-type"]) == (404, "text/html; charset=utf-8")
        assert "there is no job" in answer.text
        assert "http" not in re.sub(r"charset|http-equiv", "", answer.text)

    def test_every_route_of_the_description_stands_on_its_page(self, service: Any) -> None:
        page = service.client.get("/docs", headers=BROWSER).text
        for path, methods in service.client.get("/openapi.json").json()["paths"].items():
            for method in methods:
                assert f"{method.upper()} {path}" in page

    @pytest.mark.parametrize("root", ["spatter", "/spatter/", "/a b", '/"><script>'])
    def test_a_root_path_is_a_path(self, root: str) -> None:
        with pytest.raises(ParameterError, match="root_path"):
            Settings(root_path=root)


class TestShares:
    def test_so_many_in_all_and_of_one_caller(self) -> None:
        shares = Shares(3, 2, "busy", "videos come", {})
        with ExitStack() as stack:
            for caller in ("a", "a", "b"):
                stack.enter_context(shares.one(caller))
            with pytest.raises(ProblemError, match="3 videos come already"), shares.one("b"):
                pass
        with shares.one("a"), shares.one("a"), pytest.raises(ProblemError, match="that you sent"), shares.one("a"):
            pass
        assert not shares.held

    def test_a_caller_whose_jobs_wait_leaves_room_for_others(self, serve: Callable[..., Any], build: Path) -> None:
        near = serve(keys=KEYS, queue=5, queue_each=2)
        near.service.jobs.take = lambda: None  # Nobody works.

        def sent(line: str) -> int:
            answer = near.client.post("/predict?model=simulated", content=build.read_bytes(), headers=bearer(line))
            return int(answer.status_code)

        assert [sent(ALICE), sent(ALICE), sent(ALICE), sent(BOB)] == [202, 202, 429, 202]


class TestPace:
    @pytest.mark.parametrize(
        ("elapsed", "total", "refused"),
        [
            (1, 1, ""),
            (31, 31 * 999, "at least 1000 a second"),
            (31, 31 * 1000, ""),
            (101, 1 << 30, "longer than 100 s"),
        ],
    )
    def test_a_body_is_given_up_when_it_is_too_slow(self, elapsed: float, total: int, refused: str) -> None:
        pace = Pace(stall=30, slowest=1000, seconds=100)
        if refused:
            with pytest.raises(ProblemError, match=refused):
                pace.check(elapsed, total)
        else:
            pace.check(elapsed, total)

    def test_a_trickle_is_ended_and_a_head_that_does_not_end_too(self, start: Callable[..., Any]) -> None:
        apart = start("--stall-seconds", "1", "--header-seconds", "1")
        address = (apart.client.base_url.host, apart.client.base_url.port)
        head = b"POST /predict?model=simulated HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        head += b"Content-Length: 100000\r\n\r\n"
        with socket.create_connection(address, timeout=30) as trickle:
            trickle.sendall(head)
            answered = threading.Event()
            sender = threading.Thread(target=_trickle, args=(trickle, answered))
            sender.start()
            answer = b"".join(iter(lambda: trickle.recv(65536), b""))
            answered.set()
            sender.join()
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"a second are asked for" in answer
        for first in (b"", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"):
            with socket.create_connection(address, timeout=30) as line:
                line.sendall(first)
                if first:
                    assert line.recv(65536).startswith(b"HTTP/1.1 200")
                line.sendall(b"GET /healthz HTTP/1.1\r\nHost: local")
                began = time.monotonic()
                while line.recv(65536):
                    assert time.monotonic() - began < 20
        assert apart.client.get("/healthz").status_code == 200


def _trickle(line: socket.socket, answered: threading.Event) -> None:
    while not answered.wait(0.1):
        try:
            line.sendall(b"x")
        except OSError:
            return


@pytest.mark.slow
def test_forty_trickles_and_five_hundred_half_open_heads_keep_nobody_out(
    start: Callable[..., Any], crops: list[bytes], tmp_path: Path
) -> None:
    (tmp_path / "keys").write_text(f"{ALICE}\n{BOB}\n")
    apart = start("--key-file", str(tmp_path / "keys"))
    address = (apart.client.base_url.host, apart.client.base_url.port)
    key = bearer(BOB)["Authorization"].encode()
    head = b"POST /%s?model=simulated HTTP/1.1\r\nHost: localhost\r\nAuthorization: " + key
    answered, refused = threading.Event(), 0
    with ExitStack() as stack:
        for number in range(540):
            line = stack.enter_context(socket.create_connection(address, timeout=30))
            if number >= 40:
                line.sendall(b"GET /jobs HTTP/1.1\r\nHost: local")
                continue
            line.sendall(head % (b"predict" if number % 2 else b"classify") + b"\r\nContent-Length: 100000\r\n\r\nx")
            sender = threading.Thread(target=_trickle, args=(line, answered))
            sender.start()
            stack.callback(sender.join)
        stack.callback(answered.set)
        for number in range(100):
            if number % 2:
                answer = apart.client.post("/classify?model=simulated", content=crops[0], headers=bearer(ALICE))
            else:
                answer = apart.client.get("/jobs", headers=bearer(ALICE))
            refused += answer.status_code != 200
    assert refused == 0
