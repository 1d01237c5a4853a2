"""What holds wherever pytest begins: at the root, or with one folder of tests, benchmarks or a plugin."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import hypothesis
import pytest

EXAMPLES = Path(__file__).with_name("plugins")


# An example that compiles a kernel first takes its time.
hypothesis.settings.register_profile("house", deadline=None)
hypothesis.settings.load_profile("house")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Take times only where they are asked for: other runs test that the benchmarks work, on short inputs."""
    option = config.option
    if hasattr(option, "benchmark_disable") and not (option.benchmark_enable or option.benchmark_only):
        option.benchmark_disable = True


def installed(folder: Path) -> bool:
    """Whether the package of a folder of `plugins/` can be imported."""
    return find_spec(folder.name.replace("-", "_")) is not None


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave out the tests of an example that is not installed; what needs PyTorch mostly is not."""
    return True if collection_path.parent == EXAMPLES and not installed(collection_path) else None


def pytest_report_header() -> str | None:
    """Name them; not with -q."""
    missing = [path.name for path in sorted(EXAMPLES.glob("spatterlib-*")) if not installed(path)]
    return f"not installed, so not tested: {', '.join(missing)}" if missing else None
