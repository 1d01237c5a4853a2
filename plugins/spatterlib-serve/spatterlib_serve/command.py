"""The command `serve`; everything heavy is imported when it runs."""

from __future__ import annotations

import ipaddress
import logging
import signal
from typing import Any

import click

from spatterlib.errors import SpatterlibError
from spatterlib.plugins import given_values, options_of, with_options
from spatterlib_serve.settings import PREFIX, Settings, read_keys

__all__ = ["serve"]

log = logging.getLogger("spatterlib")

_GRACE = 10  # S that running requests have when the service ends.


@click.command()
@click.option("--host", envvar=PREFIX + "HOST", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", envvar=PREFIX + "PORT", type=click.IntRange(1, 65535), default=8000, show_default=True)
@click.option(
    "--key-file",
    envvar=PREFIX + "KEY_FILE",
    metavar="FILE",
    help=f"API keys, one a line; or one in {PREFIX}KEY. Without: anybody may ask.",
)
@with_options(options_of(Settings, variables=PREFIX))
def serve(host: str, port: int, key_file: str | None, **values: Any) -> None:
    """Answer over HTTP: verdicts on videos, probabilities of crops.

    Every option can be set by a variable too.
    """
    import uvicorn

    from spatterlib_serve.app import create_app
    from spatterlib_serve.connections import protocol
    from spatterlib_serve.jobs import Jobs

    settings = Settings(**given_values(Settings, values), keys=read_keys(key_file))
    if not settings.keys and not _only_here(host):
        log.warning("%s is open to other machines and no API key is set: anybody who reaches it may use it", host)
    # Refused here, in one line; Uvicorn would print a traceback.
    Jobs(settings.data).close()
    app = create_app(settings)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        # A terminal that closes; Uvicorn knows Ctrl-C and SIGTERM, and passes them on when it has ended.
        signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))
    try:
        uvicorn.run(
            app, host=host, port=port, http=protocol(settings.header_seconds), timeout_graceful_shutdown=_GRACE,
            server_header=False, root_path=settings.root_path, log_config=_logging(),
        )  # fmt: skip
    except KeyboardInterrupt:
        return
    except SystemExit as error:
        # Uvicorn's own codes mean something else in the table of exit codes.
        if not error.code:
            return
        raise SpatterlibError(f"the service could not start at {host}:{port}; the lines above say why") from error


def _only_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _logging() -> dict[str, Any]:
    """Uvicorn's own, with the time in front and without colours."""
    import copy

    from uvicorn.config import LOGGING_CONFIG

    found: dict[str, Any] = copy.deepcopy(LOGGING_CONFIG)
    for formatter in found["formatters"].values():
        formatter["fmt"] = "%(asctime)s " + formatter["fmt"]
        formatter["use_colors"] = False
    return found
