"""How the page looks: one theme, light and dark, system fonts, contrast AA."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

__all__ = ["head", "style", "theme"]

_ASSETS = Path(__file__).parent / "assets"
_SANS = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "Arial", "sans-serif"]


def theme() -> gr.Theme:
    """Blue on slate, flat."""
    base = gr.themes.Base(
        primary_hue=gr.themes.colors.blue,
        neutral_hue=gr.themes.colors.slate,
        font=_SANS,
        font_mono=["ui-monospace", "Menlo", "Consolas", "monospace"],
        radius_size=gr.themes.sizes.radius_md,
    )
    return base.set(
        button_primary_background_fill="#0a5f9e",
        button_primary_background_fill_hover="#084c7f",
        button_primary_background_fill_dark="#0a5f9e",
        button_primary_background_fill_hover_dark="#0c70ba",
        button_primary_text_color="#ffffff",
        button_primary_text_color_dark="#ffffff",
        block_label_text_color="#3b4754",
        block_label_text_color_dark="#c3ccd6",
        block_title_text_color="#3b4754",
        block_title_text_color_dark="#c3ccd6",
        block_info_text_color="#4d5966",
        block_info_text_color_dark="#aab5c0",
        body_text_color_subdued="#4d5966",
        body_text_color_subdued_dark="#aab5c0",
        body_background_fill="#f7f9fb",
        body_background_fill_dark="#12161a",
        block_background_fill_dark="#1a2026",
    )


def style() -> str:
    """Our style sheet."""
    return (_ASSETS / "style.css").read_text(encoding="utf-8")


def head() -> str:
    """What goes into the head: names for controls that the framework leaves nameless."""
    script = (_ASSETS / "page.js").read_text(encoding="utf-8")
    return f'<meta name="viewport" content="width=device-width, initial-scale=1"><script>{script}</script>'
