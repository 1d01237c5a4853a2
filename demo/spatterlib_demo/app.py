"""The app: one page, six tabs."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

# Nothing is sent to anybody: no telemetry, no fonts or scripts from elsewhere.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import gradio as gr
from starlette.middleware import Middleware

import spatterlib as sp
from spatterlib_demo import (
    dataset_tab,
    layers_tab,
    model_tab,
    projects,
    samples,
    sessions,
    train_tab,
    tune_tab,
    verdict_tab,
    words,
)
from spatterlib_demo.access import Guard, is_loopback, users_of
from spatterlib_demo.look import head, style, theme
from spatterlib_demo.markup import area, html

__all__ = ["build", "launch"]

log = logging.getLogger("spatterlib_demo")

_TITLE = html(
    '<header class="title"><div><h1>spatterlib</h1><p>See spatter in the browser: from video of laser powder-bed '
    "fusion to a verdict on the gas flow.</p></div></header>"
)


def build() -> gr.Blocks:
    """The page, not yet served."""
    with gr.Blocks(
        title="spatterlib: see spatter", analytics_enabled=False, fill_width=True, delete_cache=(600, 7200)
    ) as page:
        area(_TITLE, elem_id="title")
        with gr.Tab("Verdict", id="verdict") as at_verdict:
            verdict = verdict_tab.tab()
        with gr.Tab("Tune", id="tune") as at_tune:
            tune = tune_tab.tab()
        with gr.Tab("Dataset", id="dataset") as at_dataset:
            dataset = dataset_tab.tab()
        with gr.Tab("Layers", id="layers") as at_layers:
            layers = layers_tab.tab()
        with gr.Tab("Train", id="train") as at_train:
            train = train_tab.tab()
        with gr.Tab("Model", id="model") as at_model:
            model = model_tab.tab()
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        at_verdict.select(train_tab.available, None, verdict["model"], **quiet)
        at_tune.select(tune_tab.coming, None, tune["video"], **quiet).then(
            tune["look"], tune["inputs"], tune["outputs"], **quiet
        )
        at_dataset.select(dataset_tab.refreshed, dataset["choice"], [dataset["choice"], dataset["note"]], **quiet)
        compared = [layers["good"], layers["store"]]
        at_layers.select(layers_tab.refreshed, compared, [*compared, layers["note"]], **quiet)
        at_train.select(train_tab.refreshed, train["stores"], [train["stores"], train["note"]], **quiet)
        inside = [model["model"], model["store"]]
        at_model.select(model_tab.refreshed, inside, [*inside, model["note"]], **quiet)
        area(words.glossary(), elem_id="glossary")
        page.load(verdict_tab.restored, None, [*verdict["shown"], *verdict["options"]], **quiet)
        page.unload(sessions.close)
    made: gr.Blocks = page
    return made


def launch(
    host: str,
    port: int,
    *,
    browser: bool = True,
    max_size: str = "2gb",
    users: str | None = None,
    open_to_all: bool = False,
    folder: str | None = None,
) -> None:
    """Serve the page until interrupted; see `spatterlib_demo.launch`."""
    auth, local = users_of(users), is_loopback(host)
    if not (auth or local or open_to_all):
        raise sp.errors.ParameterError(
            f"whoever reaches {host} could use the demo: name a file of USER:PASSWORD with --users, "
            "or say --open-to-all if that is right"
        )
    if not (auth or local):
        log.warning("no login: whoever reaches port %d can use the demo and fill this machine's disk", port)
    if not local:
        log.warning("passwords and pictures travel unencrypted: put a proxy with TLS before port %d", port)
    projects.place_projects(folder)
    sessions.sweep()
    projects.sweep()
    os.environ.setdefault("GRADIO_TEMP_DIR", str(sessions.root() / "uploads"))
    samples.prepare()
    page = build()
    page.queue(default_concurrency_limit=4)
    page.launch(
        server_name=host,
        server_port=port,
        auth=auth,
        inbrowser=browser,
        max_file_size=max_size,
        quiet=True,
        prevent_thread_lock=True,
        theme=theme(),
        css=style(),
        head=head(),
        footer_links=[],
        ssr_mode=False,
        share=False,
        app_kwargs={"middleware": [Middleware(Guard, local=local)]},
        favicon_path=Path(__file__).parent / "assets" / "icon.svg",
    )
    print(f"spatterlib demo: http://{host}:{port}", flush=True)  # noqa: T201
    # Files of the sessions go at the end of the process, however it is asked to end.
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) is not signal.SIG_IGN:
            signal.signal(getattr(signal, name), lambda *_: sys.exit(0))
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            # Windows looks for Ctrl-C between two waits only.
            time.sleep(1)
