"""The app: one page, six tabs."""

from __future__ import annotations

import contextlib
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

from spatterlib_demo import (
    dataset_tab,
    layers_tab,
    model_tab,
    samples,
    sessions,
    train_tab,
    tune_tab,
    verdict_tab,
    words,
)
from spatterlib_demo.look import head, style, theme
from spatterlib_demo.markup import area, html

__all__ = ["build", "launch"]

# Gradio's scripts are built at run time; attributes such as onerror and other hosts are nobody's.
_POLICY = (
    "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval'; script-src-attr 'none'; "
    "style-src 'self' 'unsafe-inline'; object-src 'none'; base-uri 'self'; form-action 'self'"
)

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
        at_verdict.select(train_tab.models, None, verdict["model"], **quiet)
        at_tune.select(*tune, **quiet)
        at_dataset.select(dataset_tab.refreshed, dataset["choice"], [dataset["choice"], dataset["note"]], **quiet)
        compared = [layers["good"], layers["store"]]
        at_layers.select(layers_tab.refreshed, compared, [*compared, layers["note"]], **quiet)
        at_train.select(train_tab.refreshed, train["stores"], [train["stores"], train["note"]], **quiet)
        inside = [model["model"], model["store"]]
        at_model.select(model_tab.refreshed, inside, [*inside, model["note"]], **quiet)
        area(words.glossary(), elem_id="glossary")
        page.unload(sessions.close)
    made: gr.Blocks = page
    return made


class _Guard:
    """ASGI: every answer forbids the browser what the page never does."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def answer(message: Any) -> None:
            if message["type"] == "http.response.start":
                own = [(b"content-security-policy", _POLICY.encode()), (b"x-content-type-options", b"nosniff")]
                message["headers"] = [*message.get("headers", ()), *own]
            await send(message)

        await self._app(scope, receive, answer)


def launch(host: str, port: int, *, browser: bool = True, max_size: str = "2gb") -> None:
    """Serve the page until interrupted; see `spatterlib_demo.launch`."""
    os.environ.setdefault("GRADIO_TEMP_DIR", str(sessions.root() / "uploads"))
    samples.prepare()
    page = build()
    page.queue(default_concurrency_limit=4)
    page.launch(
        server_name=host,
        server_port=port,
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
        app_kwargs={"middleware": [Middleware(_Guard)]},
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
