"""Models of a project: the built-in one, those that were trained here, and those that somebody brings."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import spatterlib as sp
from spatterlib_demo import sessions

__all__ = ["BY_FILE", "SHIPPED", "load", "names_of", "packed", "path_of", "taken"]

SHIPPED = "simulated (built in)"
BY_FILE = "as the file says"
# A zip with a model holds at most so many files and bytes.
_FILES, _BYTES = 40, 2 << 30


def names_of(session: sessions.Session) -> list[str]:
    """Models that a session can use."""
    return [SHIPPED, *session.runs]


def path_of(session: sessions.Session, name: str) -> Path:
    """Folder or file of the model of that name."""
    return Path(sp.load_model("simulated").path) if name == SHIPPED else session.runs[name]


def load(session: sessions.Session, name: str) -> Any:
    """The model of that name."""
    return sp.load_model(path_of(session, name))


def taken(session: sessions.Session, name: str, network: str, classes: Sequence[str]) -> Any:
    """An uploaded model; one that does not say its classes is kept as a file that says those that were typed."""
    path = session.runs[name]
    if path.suffix.lower() == ".zip":
        path = session.runs[name] = _unpacked(path)
        session.project.save()
    run = sp.load_model(path, None if network == BY_FILE else network, classes=classes)
    if run.classifier and path.suffix.lower() in (".pt", ".pth", ".mdl"):
        folder = path.with_name(f"{path.name}.named")
        folder.mkdir()
        run.save(folder)
        [session.runs[name]] = folder.iterdir()
        session.project.save()
    return run


def packed(session: sessions.Session, name: str) -> Path:
    """The run folder, or the file, in a zip that `taken` takes back."""
    path = path_of(session, name)
    title = re.sub(r"[^\w.-]+", "-", name).strip("-.") or "model"
    target = session.downloads() / f"{title}.zip"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in [path] if path.is_file() else sorted(path.iterdir()):
            if file.is_file() and file.name != "checkpoint.safetensors":
                archive.write(file, file.name)
    return target


def _unpacked(archive: Path) -> Path:
    """What was zipped: a run folder's files or one file of weights, nothing in folders, not more than is sensible."""
    folder = archive.with_name(f"{archive.name}.run")
    folder.mkdir()
    try:
        with zipfile.ZipFile(archive) as given:
            files = [item for item in given.infolist() if Path(item.filename).name == item.filename]
            if len(files) > _FILES or sum(item.file_size for item in files) > _BYTES:
                raise sp.errors.StoreError(
                    f"{archive.name} holds more than a model has; zip the files of one run folder"
                )
            for item in files:
                given.extract(item, folder)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise sp.errors.StoreError(f"{archive.name} cannot be unpacked: {error}") from error
    archive.unlink()
    found = sorted(folder.iterdir())
    return found[0] if len(found) == 1 and found[0].suffix != ".json" else folder
