"""Write `docs/images/simulated_verdict.png`: the report of a simulated build whose gas flow falls half way.

Needs Playwright and a Chromium: `python tools/verdict_picture.py [CHROMIUM]`.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

PICTURE = Path(__file__).parents[1] / "docs" / "images" / "simulated_verdict.png"
SIZE = {"width": 1000, "height": 655}


def main(chromium: str | None) -> None:
    """Simulate, extract, predict, and photograph the head of the page."""
    from playwright.sync_api import sync_playwright

    import spatterlib as sp

    with tempfile.TemporaryDirectory() as folder:
        video, report = f"{folder}/simulated_build.mp4", f"{folder}/report.html"
        sp.simulate(video, gas_flow="high>low", change_at=50, seconds=101, seed=4, preset="easy")
        sp.predict(video, "simulated", report, expected="high")
        with sync_playwright() as play:
            browser = play.chromium.launch(executable_path=chromium)
            page = browser.new_page(viewport=SIZE, device_scale_factor=1.5)  # type: ignore[arg-type]
            page.goto(f"file://{report}")
            page.screenshot(path=str(PICTURE))
            browser.close()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
