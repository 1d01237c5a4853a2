"""Jobs: a table in SQLite, and a folder for the files of each. What the table says is what holds."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import sqlite3
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from spatterlib.errors import StoreError

__all__ = ["ATTEMPTS", "RESULTS", "VIDEO", "Job", "Jobs"]

ATTEMPTS = 3
VIDEO = "video"
RESULTS = ("result.json", "report.html", "rows.csv")

_TABLE = """
create table if not exists jobs (
    id text primary key, state text not null, name text not null, options text not null, video text not null,
    created real not null, started real, finished real, attempts integer not null default 0, error text, caller text
) strict
"""


@dataclass(frozen=True)
class Job:
    """A video to be judged.

    Parameters
    ----------
    id : str
        Cannot be guessed.
    state : str
        "queued", "running", "done" or "failed".
    name : str
        What the client calls the video; never a path here.
    options : dict
        What `spatterlib.predict` is called with, and the model.
    video : dict
        Facts that were read when it came: seconds, frames, width, height, bytes.
    created, started, finished : float
        S since 1970; None: not yet.
    attempts : int
        How often it was started.
    error : str or None
        Why it failed.
    caller : str or None
        Name of the key that it came with, or the address; None: not recorded.
    """

    id: str
    state: str
    name: str
    options: dict[str, Any]
    video: dict[str, Any]
    created: float
    started: float | None
    finished: float | None
    attempts: int
    error: str | None
    caller: str | None


class Jobs:
    """The jobs in a folder; used by one thread of one process.

    Parameters
    ----------
    folder : Path
        Made if it is not there.

    Raises
    ------
    StoreError
        If another service uses the folder, or it cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.incoming = folder, folder / "incoming"
        self._check_ours()
        try:
            (folder / "jobs").mkdir(parents=True, exist_ok=True, mode=0o700)
            shutil.rmtree(self.incoming, ignore_errors=True) if self._claim() else None
            self.incoming.mkdir(mode=0o700, exist_ok=True)
            # SQLite gives its further files the mode of this one.
            os.close(os.open(folder / "jobs.sqlite3", os.O_CREAT | os.O_RDWR, 0o600))
            (folder / "jobs.sqlite3").chmod(0o600)
            self._base = sqlite3.connect(folder / "jobs.sqlite3", isolation_level=None)
            self._base.row_factory = sqlite3.Row
            self._base.execute("pragma journal_mode=wal")
            self._base.execute(_TABLE)
            if "caller" not in {row["name"] for row in self._base.execute("pragma table_info(jobs)")}:
                self._base.execute("alter table jobs add column caller text")
        except (OSError, sqlite3.Error) as error:
            if isinstance(error, StoreError):
                raise
            raise StoreError(f"jobs cannot be kept in {folder}: {error}") from error
        self._recover()

    def _check_ours(self) -> None:
        """A folder with jobs of something else is not taken: what no job knows is removed from ours."""
        if (self.folder / "jobs.sqlite3").exists():
            return
        for place in (self.folder / "jobs", self.incoming):
            if place.exists() and any(place.iterdir()):
                raise StoreError(f"{place} is there already and not of this service; name another folder with --data")

    def _claim(self) -> bool:
        self._lock = (self.folder / ".lock").open("a")
        try:
            import fcntl
        except ImportError:  # Windows
            return True
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            raise StoreError(
                f"another service uses {self.folder}; end it, or name another folder with --data"
            ) from error
        return True

    def _recover(self) -> None:
        """What was running when the service was killed waits again; what belongs to no job is removed."""
        self._base.execute(
            "update jobs set state = 'failed', finished = ?, error = ? where state = 'running' and attempts >= ?",
            (time.time(), f"the service ended {ATTEMPTS} times while it was at work on this video", ATTEMPTS),
        )
        self._base.execute("update jobs set state = 'queued', started = null where state = 'running'")
        known = {job.id: job for job in self._select("1")}
        for folder in (self.folder / "jobs").iterdir():
            if folder.name not in known:
                shutil.rmtree(folder, ignore_errors=True)
            elif known[folder.name].finished is not None:
                self._keep(folder, RESULTS if known[folder.name].state == "done" else ())
            else:
                self._keep(folder, (VIDEO,))

    def _keep(self, folder: Path, names: tuple[str, ...]) -> None:
        for file in folder.iterdir():
            if file.name not in names:
                file.unlink()

    def where(self, job: Job | str) -> Path:
        """Folder of a job."""
        return self.folder / "jobs" / (job if isinstance(job, str) else job.id)

    def add(self, upload: Path, name: str, options: Mapping[str, Any], video: Mapping[str, Any], caller: str) -> Job:
        """A folder with an upload becomes a job; it counts once it stands in the table."""
        id_ = secrets.token_hex(16)
        upload.rename(self.where(id_))
        values = (id_, "queued", name, json.dumps(dict(options)), json.dumps(dict(video)), time.time(), caller)
        columns = "id, state, name, options, video, created, caller"
        self._base.execute(f"insert into jobs ({columns}) values (?,?,?,?,?,?,?)", values)  # noqa: S608 - ours
        return self[id_]

    def __getitem__(self, id_: str) -> Job:
        """One job; KeyError if there is none."""
        for job in self._select("id = ?", id_):
            return job
        raise KeyError(id_)

    def count(self, state: str, caller: str | None = None) -> int:
        """How many are in a state, of one caller or of all."""
        wanted = "select count(*) from jobs where state = ? and (? is null or caller = ?)"
        return int(self._base.execute(wanted, (state, caller, caller)).fetchone()[0])

    def listed(self, caller: str | None, limit: int) -> list[Job]:
        """The newest first; of one caller, or of all."""
        return self._select("? is null or caller = ? order by created desc, rowid desc limit ?", caller, caller, limit)

    def before(self, job: Job) -> int:
        """How many wait in front of one that waits."""
        return sum(other.id != job.id for other in self._select("state = 'queued' and created <= ?", job.created))

    def take(self) -> Job | None:
        """The one that waits longest; it runs from now on."""
        for job in self._select("state = 'queued' order by created, rowid limit 1"):
            self._set(job.id, state="running", started=time.time(), attempts=job.attempts + 1)
            return self[job.id]
        return None

    def put_back(self, job: Job) -> None:
        """It waits again, as if it had not been started."""
        self._set(job.id, state="queued", started=None, attempts=job.attempts - 1)
        self._keep(self.where(job), (VIDEO,))

    def finish(self, job: Job, error: str | None = None) -> None:
        """It is done, or failed; its video is removed."""
        self._set(job.id, state="failed" if error else "done", finished=time.time(), error=error)
        self._keep(self.where(job), () if error else RESULTS)

    def remove(self, job: Job) -> None:
        """Take it out of the table; its files are gone once `sweep` or the caller removes the folder."""
        self._base.execute("delete from jobs where id = ?", (job.id,))

    def expire(self, seconds: float) -> None:
        """Remove those that were finished longer ago."""
        for job in self._select("finished < ?", time.time() - seconds):
            self.remove(job)
            shutil.rmtree(self.where(job), ignore_errors=True)

    def close(self) -> None:
        """Let go of the folder."""
        self._base.close()
        self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _select(self, condition: str, *values: Any) -> list[Job]:
        rows = self._base.execute(f"select * from jobs where {condition}", values)  # noqa: S608 - conditions are ours
        return [Job(**dict(row) | {key: json.loads(row[key]) for key in ("options", "video")}) for row in rows]

    def _set(self, id_: str, **values: Any) -> None:
        names = ", ".join(f"{name} = ?" for name in values)
        self._base.execute(f"update jobs set {names} where id = ?", (*values.values(), id_))  # noqa: S608 - names are ours
