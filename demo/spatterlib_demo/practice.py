"""Practice recordings: simulated, of both flows, extracted and labelled; made once per machine, copied to a project.

How many: a model is believed if its test on whole recordings held out shows it to be better than chance. A fifth of the
recordings tests; fewer than three of each flow could not show it, however often it is right.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

import spatterlib as sp
from spatterlib_demo import labels, samples, sessions, words
from spatterlib_demo.jobs import Job, Stopped

__all__ = ["EACH", "cancel", "follow", "make"]

EACH = 14
"""Recordings of each flow."""
# Two layers and the pause between them; the rest as in the samples, so that what is learned suits them.
_COMMON = {"preset": "easy", "seconds": 15.0, "layer_seconds": 6.8, "recoat_seconds": 1.4}
_SEEDS = {"low": 20100, "high": 20300}
_GAS = 180.0
_making = threading.Lock()


def make(folder: Path, tell: Callable[[tuple[int, int]], None]) -> list[tuple[str, Path]]:
    """Names and stores, in a folder of the project; what this machine has made before is copied."""
    found = []
    for number in range(EACH):
        for flow in ("low", "high"):
            tell((len(found), 2 * EACH))
            name = f"practice-{flow}-{number + 1:02}.h5"
            own = folder / name
            shutil.copy(_made(flow, _SEEDS[flow] + number), own)
            found.append((name, own))
    return found


def _made(flow: str, seed: int) -> Path:
    """A labelled store, made now if it is not there yet."""
    where = samples.cache_folder() / "practice"
    where.mkdir(exist_ok=True)
    path = where / f"{flow}-{seed}.h5"
    with _making:
        if not path.is_file():
            video, part = where / f"{flow}-{seed}.mp4", where / f"{flow}-{seed}.part.h5"
            sp.simulate(video, gas_flow=flow, gas_direction=_GAS, seed=seed, overwrite=True, **_COMMON)
            sp.extract(video, part, gas_direction=_GAS, overwrite=True, progress=False)
            with sp.open_store(part, "a") as store:
                store.set_column("label", np.full(len(store), flow))
            video.unlink()
            part.replace(path)
    return path


def cancel(request: gr.Request) -> str:
    """End the making."""
    return words.cancelled(sessions.of(request).stop)


def follow(request: gr.Request) -> Iterator[tuple[Any, Any, Any]]:
    """Recordings of low and of high flow, extracted and labelled, to train on."""
    session = sessions.of(request)
    try:
        session.stop.clear()
        job = Job(lambda tell: _make(session, tell), session.stop)
        for done, count in job.follow():
            text = f"Simulating and extracting recording {done + 1} of {count}, once on this machine: a minute or two …"
            yield words.note(text, "wait"), gr.skip(), gr.skip()
        names = job.result()
        said = (
            f"{len(names)} simulated stores are here, labelled: so many, because a model must show on whole recordings "
            "held out that it is better than chance. Look at them, then open the tab Train."
        )
        update = gr.update(choices=list(session.stores), value=names[0])
        yield words.note(said), update, labels.warnings_of(session.stores)
    except (Stopped, Exception) as error:
        yield words.problem(error), gr.skip(), gr.skip()


def _make(session: sessions.Session, tell: Any) -> list[str]:
    found = make(session.project.folder, tell)
    return [session.add("stores", name, path) for name, path in found]
