"""The container: its files are in order, and what its instructions build serves."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from dockerfile import HOUSE, Built, build, ignored, steps
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")


def named(name: str) -> list[Any]:
    return [step for step in steps() if step.name == name]


def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((HOUSE / "compose.yaml").read_text()))


class TestFiles:
    """What can be read off the files."""

    def test_hadolint_finds_no_fault(self) -> None:
        hadolint = shutil.which("hadolint", path=Path(sys.executable).parent) or shutil.which("hadolint")
        if not hadolint:
            pytest.skip("hadolint is not installed")
        done = subprocess.run([hadolint, HOUSE / "Dockerfile"], capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (0, "")

    def test_every_base_has_a_version(self) -> None:
        [base] = [step.rest.split("=")[1] for step in named("ARG") if step.rest.startswith("BASE=")]
        bases = [base, *(service["image"] for service in compose()["services"].values())]
        for image in bases:
            assert re.fullmatch(r"[\w./-]+:v?\d+(\.\d+)+(-[\w.]+)*", image), image
        assert {step.rest.split()[0] for step in named("FROM")} == {"${BASE}"}

    def test_nobody_runs_as_root(self) -> None:
        last = max(number for number, step in enumerate(steps()) if step.name == "FROM")
        [user] = [step.rest for step in steps()[last:] if step.name == "USER"]
        assert int(user) > 0
        behind = steps()[next(n for n, step in enumerate(steps()) if step.name == "USER") :]
        assert not [step for step in behind if step.name in ("RUN", "COPY")]

    def test_it_holds_the_demo_and_no_pytorch_by_default_and_says_when_it_is_well(self) -> None:
        [extras] = [step.rest for step in named("ARG") if step.rest.startswith("EXTRAS=")]
        assert extras == "EXTRAS=demo,live,onnx"
        assert compose()["services"]["spatterlib"]["build"]["args"]["EXTRAS"] == "${EXTRAS:-demo,live,onnx}"
        [health] = named("HEALTHCHECK")
        assert "/healthz" in health.rest
        assert named("CMD")[0].form[:2] == ["spatterlib", "serve"]

    def test_what_is_copied_is_there_and_nothing_else_is_sent(self) -> None:
        sources = [word for step in named("COPY") if "--from" not in step.rest for word in step.rest.split()[:-1]]
        for source in sources:
            assert (HOUSE / source).exists(), source
            assert not ignored(source), source
        for path in (
            ".git/config",
            ".venv/bin/python",
            "tests/test_image.py",
            "spatterlib/__pycache__/cli.pyc",
            "runs",
        ):
            assert ignored(path), path
        assert not ignored("spatterlib/learning/lenet5/classifier.py")

    def test_prometheus_reads_the_service(self) -> None:
        services = compose()["services"]
        job, _ = yaml.safe_load((HOUSE / "deploy" / "prometheus.yml").read_text())["scrape_configs"]
        [target] = job["static_configs"][0]["targets"]
        name, port = target.split(":")
        assert services[name]["ports"][0].split(":")[-1] == port
        assert port in named("EXPOSE")[0].rest.split()
        assert "./deploy/prometheus.yml:/etc/prometheus/prometheus.yml:ro" in services["prometheus"]["volumes"]

    def test_the_demo_is_a_service_that_is_started_when_it_is_asked_for(self) -> None:
        demo = compose()["services"]["demo"]
        assert demo["profiles"] == ["demo"]
        assert demo["command"][:2] == ["spatterlib", "demo"]
        port = demo["command"][demo["command"].index("--port") + 1]
        assert demo["ports"] == [f"127.0.0.1:{port}:{port}"]
        assert f":{port}/" in demo["healthcheck"]["test"][-1]
        assert port in named("EXPOSE")[0].rest.split()

    def test_dependencies_are_installed_before_any_source_is_copied(self) -> None:
        [first, second] = [n for n, step in enumerate(steps()) if step.name == "RUN" and "/pip install" in step.rest]
        before = [word for step in steps()[:first] if step.name == "COPY" for word in step.rest.split()[:-1]]
        assert before == [
            "deploy/dependencies.py",
            "deploy/constraints.txt",
            "pyproject.toml",
            "plugins/spatterlib-serve/pyproject.toml",
        ]
        assert "-c deploy/constraints.txt" in steps()[first].rest
        assert "--no-deps ." in steps()[second].rest

    def test_constraints_are_names_and_versions_of_all_that_is_installed(self) -> None:
        lines = (HOUSE / "deploy" / "constraints.txt").read_text().splitlines()
        held: dict[str, list[tuple[Any, Version]]] = {}
        for line in lines:
            assert re.fullmatch(r"[a-z0-9][a-z0-9-]*==[\w.!+]+( ; [\w .<>=!'()-]+)?", line), line
            found = Requirement(line)
            held.setdefault(found.name, []).append((found.marker, Version(str(found.specifier).removeprefix("=="))))
        files = ["pyproject.toml", "plugins/spatterlib-serve/pyproject.toml"]
        command = [sys.executable, "deploy/dependencies.py", "demo,live,onnx", *files]
        wanted = subprocess.run(command, cwd=HOUSE, capture_output=True, text=True, check=True).stdout.splitlines()
        assert len(wanted) > 15
        for minor in ("11", "12", "13"):
            place = {"python_version": f"3.{minor}", "python_full_version": f"3.{minor}.0", "extra": ""}
            for asked in map(Requirement, wanted):
                if asked.marker and not asked.marker.evaluate(place):
                    continue
                [version] = [
                    v for marker, v in held[canonicalize_name(asked.name)] if not marker or marker.evaluate(place)
                ]
                assert version in asked.specifier, asked

    def test_an_extra_that_nobody_has_is_refused(self) -> None:
        command = [sys.executable, "deploy/dependencies.py", "demo,onxx", "pyproject.toml"]
        done = subprocess.run(command, cwd=HOUSE, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (1, "no extra onxx in pyproject.toml\n")

    def test_only_this_machine_reaches_the_services(self) -> None:
        ports = [port for service in compose()["services"].values() for port in service["ports"]]
        assert all(port.startswith("127.0.0.1:") for port in ports)

    def test_compose_accepts_its_file(self) -> None:
        docker = shutil.which("docker")
        if not docker or subprocess.run([docker, "compose", "version"], capture_output=True).returncode:
            pytest.skip("docker compose is not installed")
        done = subprocess.run([docker, "compose", "config", "-q"], cwd=HOUSE, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return build(tmp_path_factory.mktemp("image"))


def ask(image: Built, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [image.here(part) for part in command], cwd=image.at("."), env=image.env(), capture_output=True, text=True
    )


@pytest.mark.torture
class TestInstructions:
    """The same commands in a clean environment, for want of an engine."""

    def test_only_the_user_was_left_out(self, image: Built) -> None:
        assert [command.split()[0] for command in image.left_out] == ["useradd"]

    def test_versions_are_those_of_the_constraints(self, image: Built) -> None:
        found = ask(image, "/opt/spatterlib/bin/python", "-m", "pip", "list", "--format", "freeze").stdout.split()
        held = {line.partition(" ;")[0] for line in (HOUSE / "deploy" / "constraints.txt").read_text().splitlines()}
        ours = {
            line for line in found if line.partition("==")[0] in ("pip", "setuptools", "spatterlib", "spatterlib-serve")
        }
        assert {canonicalize_name(line.partition("==")[0]) + line[line.index("==") :] for line in found} - held == ours

    def test_the_demo_starts(self, image: Built) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        program = str(image.at("/opt/spatterlib/bin") / "spatterlib")
        environment = image.env() | {"TMPDIR": str(image.at("/data"))}
        command = [program, "demo", "--port", port, "--no-browser"]
        with subprocess.Popen(
            command, cwd=image.at("."), env=environment, stdout=subprocess.PIPE, text=True
        ) as process:
            try:
                assert process.stdout
                assert port in process.stdout.readline()
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60) as answer:
                    assert answer.status == 200
            finally:
                process.send_signal(signal.SIGTERM)
                process.communicate(timeout=60)

    def test_it_is_spatterlib_with_the_service_and_without_pytorch(self, image: Built) -> None:
        found = ask(image, "/opt/spatterlib/bin/python", "-m", "pip", "list", "--format", "freeze").stdout
        assert "spatterlib==" in found
        assert "spatterlib-serve==" in found
        assert "\ntorch==" not in found
        for command in (["plugins"], ["predict", "--help"], ["serve", "--help"]):
            done = ask(image, "/opt/spatterlib/bin/spatterlib", *command)
            assert done.returncode == 0, done.stderr

    def test_it_serves_says_that_it_is_well_and_stops(self, image: Built) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        [start], [health] = named("CMD"), named("HEALTHCHECK")
        command = [part.replace("8000", port).replace("0.0.0.0", "127.0.0.1") for part in start.form]
        check = [part.replace("8000", port) for part in health.form]
        program = str(image.at("/opt/spatterlib/bin") / command[0])
        assert ask(image, "/opt/spatterlib/bin/python", *check[1:]).returncode != 0
        process = subprocess.Popen([program, *command[1:]], cwd=image.at("."), env=image.env())
        try:
            until = time.monotonic() + 120
            while ask(image, "/opt/spatterlib/bin/python", *check[1:]).returncode and time.monotonic() < until:
                assert process.poll() is None, "the service ended"
                time.sleep(0.5)
            assert ask(image, "/opt/spatterlib/bin/python", *check[1:]).returncode == 0
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) in (0, -signal.SIGTERM)
