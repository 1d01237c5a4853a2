"""Processes that do the work: started, listened to, killed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["Failed", "ask"]


class Failed(Exception):  # noqa: N818 - the answer of a process, not a fault of this one
    """The process said why it could not do it, or ended without a word."""

    def __init__(self, text: str, type: str = "") -> None:  # noqa: A002
        super().__init__(text)
        self.type = type


async def ask(
    request: dict[str, Any],
    seconds: float,
    scratch: Path,
    notify: Callable[[dict[str, Any]], None] = lambda _: None,
) -> dict[str, Any]:
    """Let a process of its own do a task of `spatterlib_serve.work`; neither it nor its files outlive this call.

    Parameters
    ----------
    request : dict
        The task and its arguments, JSON.
    seconds : float
        S that it may take.
    scratch : Path
        Where its temporary files may lie.
    notify : callable
        Gets its words on the progress.

    Raises
    ------
    Failed
        With the reason.
    """
    command = (sys.executable, "-m", "spatterlib_serve.work")
    pipe = asyncio.subprocess.PIPE
    # A process that is killed removes nothing itself.
    own = tempfile.mkdtemp(dir=scratch)
    process = await asyncio.create_subprocess_exec(
        *command, stdin=pipe, stdout=pipe, start_new_session=True, env=os.environ | {"TMPDIR": own}
    )
    try:
        async with asyncio.timeout(seconds):
            return await _listen(process, request, notify)
    except TimeoutError as error:
        raise Failed(f"it took longer than {seconds:g} s") from error
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        shutil.rmtree(own, ignore_errors=True)


async def _listen(process: Any, request: dict[str, Any], notify: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    process.stdin.write(json.dumps(request).encode() + b"\n")
    with contextlib.suppress(ConnectionError):
        await process.stdin.drain()
    async for line in process.stdout:
        said: dict[str, Any] = json.loads(line)
        if "progress" in said:
            notify(said["progress"])
        elif "error" in said:
            raise Failed(said["error"], said["type"])
        else:
            done: dict[str, Any] = said["done"]
            return done
    code = await process.wait()
    how = f"by signal {-code}" if code < 0 else f"with code {code}"
    raise Failed(f"the process at work ended {how}: it lacked memory (--job-mb), or see the log of the service")
