"""Who may use the demo, what a browser may send to it, and what a killed one leaves: without a browser."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import spatterlib as sp

pytest.importorskip("gradio", reason="the extra demo is not installed")

from spatterlib_demo import projects, sessions
from spatterlib_demo.access import Guard, is_loopback, token_of, users_of
from spatterlib_demo.app import launch


def asked(local: bool = True, path: str = "/", **headers: str) -> tuple[int, dict[str, str], str]:
    """Status, headers and text of what a browser gets that sends these headers."""
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"the page"})

    async def send(message: Any) -> None:
        sent.append(message)

    given = {"host": "127.0.0.1:7860", **headers}
    raw = [(name.encode(), value.encode()) for name, value in given.items()]
    call = Guard(app, local)({"type": "http", "path": path, "headers": raw}, None, send)
    # In a thread of its own: this one may have the loop of a browser.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, call).result()
    kept = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], kept, sent[1]["body"].decode()


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:7860", "127.0.0.1.evil.example", "10.0.0.1", "[::2]", ""]
)
def test_a_local_demo_is_not_asked_by_another_name(host: str) -> None:
    assert asked(host=host)[0] == 421


@pytest.mark.parametrize("host", ["localhost:7860", "127.0.0.1", "127.0.0.9:1", "[::1]:7860", "[::1]"])
def test_it_is_asked_by_its_own(host: str) -> None:
    assert asked(host=host)[0] == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:7861", "http://127.0.0.1"])
@pytest.mark.parametrize("local", [True, False])
def test_what_a_page_of_another_server_sends_is_refused(origin: str, local: bool) -> None:
    assert asked(local, origin=origin)[0] == 403
    assert asked(local, origin="http://127.0.0.1:7860")[0] == 200


def test_a_browser_gets_a_cookie_once_that_no_script_reads_and_that_a_link_from_elsewhere_does_not_replace() -> None:
    _, headers, _ = asked()
    cookie = headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    token = token_of(cookie.partition(";")[0])
    assert token
    assert "set-cookie" not in asked(cookie=f"a=b; spatterlib-demo={token}")[1]
    assert token not in asked()[1]["set-cookie"]
    assert "set-cookie" not in asked(path="/assets/picture.png")[1]


@pytest.mark.parametrize("cookie", ["", "spatterlib-demo=short", "spatterlib-demo=" + "x" * 44, "\x00;;=", "other=1"])
def test_a_cookie_that_is_not_ours_counts_as_none(cookie: str) -> None:
    assert token_of(cookie) is None


def test_every_answer_forbids_frames_and_scripts_of_others() -> None:
    policy = asked()[1]["content-security-policy"]
    for part in ("frame-ancestors 'none'", "script-src-attr 'none'", "default-src 'self'"):
        assert part in policy


def test_whether_it_is_alive_is_told_without_a_login_and_says_which_start_it_was() -> None:
    assert asked(path="/alive")[2] == asked(path="/alive")[2] != "the page"


def test_beyond_this_machine_there_is_a_login_or_a_refusal(tmp_path: Path) -> None:
    assert not is_loopback("0.0.0.0")
    with pytest.raises(sp.errors.ParameterError, match="could use the demo"):
        launch("0.0.0.0", 1, folder=str(tmp_path))


def test_users_come_from_a_file_or_a_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "users").write_text("ann:long:enough\n\nbob:password1\n")
    monkeypatch.setenv("DEMO_USERS", "eve:password2")
    assert users_of(str(tmp_path / "users")) == [("ann", "long:enough"), ("bob", "password1")]
    assert users_of("env:DEMO_USERS") == [("eve", "password2")]
    assert users_of(None) is None


@pytest.mark.parametrize("text", ["", "ann", "ann:", ":password1", "ann:short"])
def test_users_without_a_password_are_refused_in_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "users").write_text(text)
    with pytest.raises(sp.errors.ParameterError, match="USER:PASSWORD") as found:
        users_of(str(tmp_path / "users"))
    assert "short" not in str(found.value).replace("users", "")


def test_what_a_killed_server_left_goes_and_what_a_living_one_holds_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = (
        "from spatterlib_demo import sessions; import os, sys, time; print(sessions.root(), flush=True); "
        "os._exit(0) if sys.argv[1] == 'killed' else time.sleep(60)"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    started = [
        subprocess.Popen([sys.executable, "-c", code, how], env=environment, stdout=subprocess.PIPE, text=True)
        for how in ("killed", "living")
    ]
    dead, alive = (Path(process.stdout.readline().strip()) for process in started if process.stdout)
    started[0].wait(60)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    sessions.sweep()
    assert (dead.exists(), alive.exists()) == (False, True)
    started[1].kill()
    for process in started:
        process.communicate(timeout=60)


class TestProjects:
    """Folders of users and browsers."""

    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path) -> None:
        projects.place_projects(tmp_path)
        projects._projects.clear()

    def again(self, owner: str) -> projects.Project:
        """As another process finds it."""
        projects._projects.clear()
        return projects.opened(owner)

    def test_a_project_is_found_again_with_everything_in_it(self, tmp_path: Path) -> None:
        upload = tmp_path / "up" / "a.mp4"
        upload.parent.mkdir()
        upload.write_bytes(b"video")
        project = projects.opened("user ann")
        project.take(upload, "videos")
        project.choose(video="a.mp4", expected="high")
        found = self.again("user ann")
        assert found.videos["a.mp4"].read_bytes() == b"video"
        assert found.chosen == {"video": "a.mp4", "expected": "high"}
        assert not upload.exists()

    def test_two_people_with_a_file_of_one_name_do_not_meet(self, tmp_path: Path) -> None:
        for name in ("ann", "bob"):
            upload = tmp_path / "up" / "same.mp4"
            upload.parent.mkdir(exist_ok=True)
            upload.write_bytes(name.encode())
            projects.opened(f"user {name}").take(upload, "videos")
        assert [self.again(f"user {name}").videos["same.mp4"].read_bytes() for name in ("ann", "bob")] == [
            b"ann",
            b"bob",
        ]

    def test_a_name_of_an_owner_is_in_no_path(self, tmp_path: Path) -> None:
        folder = projects.opened("user ../../ann").folder
        assert folder.parent == tmp_path
        assert "ann" not in folder.name

    @pytest.mark.parametrize("place", ["../other", "/etc/passwd", "x/../../other", "missing.h5"])
    def test_an_index_that_names_files_elsewhere_names_nothing(self, tmp_path: Path, place: str) -> None:
        (tmp_path / "other").write_text("of somebody else")
        project = projects.opened("user ann")
        (project.folder / "project.json").write_text(json.dumps({"videos": {"a": place}}))
        assert self.again("user ann").videos == {}

    @pytest.mark.parametrize("text", ["", "[", "[]", '{"videos": []}', '{"chosen": 3}', "null", "[" * 100_000])
    def test_a_damaged_index_is_an_empty_project_and_no_file_of_it_is_ever_swept(self, text: str) -> None:
        folder = projects.opened("user ann").folder
        (folder / "build.h5").write_bytes(b"crops")
        (folder / "project.json").write_text(text)
        past = time.time() - 3 * 24 * 3600
        os.utime(folder / "build.h5", (past, past))
        projects.sweep()
        assert self.again("user ann").videos == {}
        projects.sweep()
        assert (folder / "build.h5").exists()
        assert (folder / "project.damaged.json").read_text() == text

    def test_an_index_that_cannot_be_read_now_is_an_error_and_not_an_empty_project(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = projects.opened("user ann").folder
        (folder / "build.h5").write_bytes(b"crops")
        past = time.time() - 3 * 24 * 3600
        os.utime(folder / "build.h5", (past, past))

        def stale(*_: object, **__: object) -> str:
            raise OSError(errno.ESTALE, "stale file handle")

        monkeypatch.setattr(Path, "read_text", stale)
        projects.sweep()
        with pytest.raises(OSError, match="stale"):
            self.again("user ann")
        assert (folder / "build.h5").exists()

    def test_files_that_nobody_names_go_after_a_day_and_projects_that_nobody_opens_after_months(self) -> None:
        project = projects.opened("user ann")
        for name in ("half.h5", "new.h5", "kept.h5"):
            (project.folder / name).write_bytes(b"")
        project.add("stores", "kept.h5", project.folder / "kept.h5")
        past = time.time() - 3 * 24 * 3600
        for name in ("half.h5", "kept.h5"):
            os.utime(project.folder / name, (past, past))
        projects.sweep()
        assert {path.name for path in project.folder.iterdir()} == {"new.h5", "kept.h5", "project.json"}
        long_ago = time.time() - 90 * 24 * 3600
        os.utime(project.folder / "project.json", (long_ago, long_ago))
        projects.sweep()
        assert not project.folder.exists()

    def test_a_sweep_is_no_use_of_a_project(self) -> None:
        project = projects.opened("user ann")
        past = time.time() - 50 * 24 * 3600
        os.utime(project.folder / "project.json", (past, past))
        projects.sweep()
        assert (project.folder / "project.json").stat().st_mtime == pytest.approx(past)
