"""The demo: see spatter in the browser. Everything it knows of spatterlib is `import spatterlib as sp`.

A module per tab (`verdict_tab`, `tune_tab`, `dataset_tab`, `train_tab`, `model_tab`), and below them: `sessions`
(what belongs to one page), `projects` (what stays on disk), `access` (who may send what), `samples` and `practice`
(simulated recordings), `models`, `jobs` (long work with progress and cancel), `words` (errors and terms in plain
words), `markup` (the one way to make HTML), `pictures`, `player` and `timeline` (what is seen).
"""

from __future__ import annotations

from typing import Any

__all__ = ["build", "launch"]


def build() -> Any:
    """The app as ``gradio.Blocks``, not started."""
    from spatterlib_demo.app import build as make

    return make()


def launch(
    host: str = "127.0.0.1",
    port: int = 7860,
    *,
    browser: bool = True,
    max_size: str = "2gb",
    users: str | None = None,
    open_to_all: bool = False,
    folder: str | None = None,
) -> None:
    """Start the app and serve it until it is interrupted.

    Parameters
    ----------
    host : str
        Address to listen on; "0.0.0.0" for the network, which needs `users`.
    port : int
        Port.
    browser : bool
        Open it in the browser of this machine.
    max_size : str
        Largest upload, such as "500mb".
    users : str, optional
        File with lines of USER:PASSWORD, or ``env:NAME`` for those in a variable: who may log in.
    open_to_all : bool
        Let others than this machine in without a login.
    folder : str, optional
        Where projects are kept; by default where programs of this user keep their data.
    """
    from spatterlib_demo.app import launch as start

    start(host, port, browser=browser, max_size=max_size, users=users, open_to_all=open_to_all, folder=folder)
