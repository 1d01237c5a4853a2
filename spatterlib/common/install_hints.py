"""How what is missing is installed: the command that works for this installation of spatterlib."""

from __future__ import annotations

import json
import os
import shlex
from functools import cache
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

__all__ = ["EXAMPLES", "example_package", "extra", "missing"]

EDITABLE = " (editable)"
EXAMPLES = MappingProxyType(
    {
        ("command", "serve"): "spatterlib-serve",
        ("command", "photron"): "spatterlib-mraw",
        ("suffix", ".cih"): "spatterlib-mraw",
        ("suffix", ".cihx"): "spatterlib-mraw",
        ("suffix", ".mraw"): "spatterlib-mraw",
        ("suffix", ".npz"): "spatterlib-npz",
        ("store", "npz"): "spatterlib-npz",
        ("detector", "background"): "spatterlib-background",
        ("filter", "filled"): "spatterlib-background",
        ("detector", "mog2"): "spatterlib-mog2",
        ("classifier", "resnet18"): "spatterlib-torchvision",
        ("classifier", "mobilenet-v3"): "spatterlib-torchvision",
    }
)
"""What the example packages under ``plugins/`` bring, by kind and name, and whose it is."""


def missing(what: str, package: str, name: str, error: ImportError) -> str:
    """What to say where an optional package cannot be imported.

    Parameters
    ----------
    what, package : str
        What needs which package, such as "training" and "PyTorch".
    name : str
        The extra of spatterlib that brings it.
    error : ImportError
        What the import said: a package that is not there is told from one that is broken.
    """
    from importlib.util import find_spec

    top = (error.name or "").partition(".")[0]
    absent = isinstance(error, ModuleNotFoundError) and not (top and find_spec(top))
    state = "is not installed" if absent else f"cannot be imported: {error}"
    return f"{what} needs {package}, which {state}; install it with: {extra(name)}"


def extra(name: str) -> str:
    """The command that installs an extra of spatterlib, as spatterlib itself was installed.

    Parameters
    ----------
    name : str
        Such as "demo"; several with commas between.
    """
    tool, source, further = _installation()
    if not source:
        return f"{tool} {_quoted(f'.[{name}]')} in a checkout of spatterlib"
    return f"{tool} {'-e ' * (further == EDITABLE)}{_quoted(f'{source}[{name}]{further.removeprefix(EDITABLE)}')}"


def example_package(kind: str, name: str) -> str:
    """Which example package brings a plugin, and how it is installed; "" if none does, or it is installed.

    Parameters
    ----------
    kind : str
        "command", "detector", "filter", "store", "classifier", or "suffix" of a file.
    name : str
        Of the command or plugin; a suffix with its dot.
    """
    package = EXAMPLES.get((kind, name), "")
    whose = f"{f'what reads {name} files' if kind == 'suffix' else 'it'} comes with {package}, which"
    if not package:
        return ""
    if _is_installed(package):
        left_out = "SPATTERLIB_PLUGINS" in os.environ
        return f"{whose} SPATTERLIB_PLUGINS leaves out" if left_out else ""
    tool, source, _ = _installation()
    here = Path(source, "plugins", package)
    if here.is_absolute() and here.is_dir():
        return f"{whose} is not installed; install it with: {tool} {_quoted(str(here))}"
    return (
        f"{whose} is not installed; in a checkout of spatterlib install it with: "
        f"{tool} ./plugins/{package} (from an index, once it is released there: {tool} {package})"
    )


def _is_installed(package: str) -> bool:
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        distribution(package)
    except PackageNotFoundError:
        return False
    return True


@cache
def _installation() -> tuple[str, str, str]:
    """Of this spatterlib: the installer, what it was given ("" = not known), what stands behind the extras."""
    from importlib.metadata import PackageNotFoundError, distribution
    from urllib.request import url2pathname

    try:
        installed = distribution("spatterlib")
    except PackageNotFoundError:
        return "pip install", "", ""
    tool = "uv pip install" if (installed.read_text("INSTALLER") or "").strip() == "uv" else "pip install"
    facts = json.loads(installed.read_text("direct_url.json") or "{}")
    url = str(facts.get("url", ""))
    if "vcs_info" in facts:
        return tool, "spatterlib", f" @ {facts['vcs_info']['vcs']}+{url}@{facts['vcs_info']['commit_id']}"
    if not url.startswith("file:"):
        return tool, "spatterlib", f" @ {url}" if url else ""
    path = url2pathname(urlsplit(url).path)
    if not Path(path).exists():
        return tool, "", ""
    return tool, path, EDITABLE if facts.get("dir_info", {}).get("editable") else ""


def _quoted(text: str) -> str:
    """As a shell takes it; the one of Windows knows double quotes only."""
    return f'"{text}"' if os.name == "nt" else shlex.quote(text)
