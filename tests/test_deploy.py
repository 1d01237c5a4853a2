"""What stands in deploy/ and compose.yaml fits what the code serves: metrics, ports, options, secrets."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_type_hints

import click
import pytest

from spatterlib.cli import main
from spatterlib.live.alarms import Notice
from spatterlib.live.camera_health import FAULTS
from spatterlib.live.latency import Latencies
from spatterlib.live.messages import StatusFields
from spatterlib.live.prometheus import Snapshot, metric_families

yaml = pytest.importorskip("yaml")
HOUSE = Path(__file__).parents[1]
DEPLOY = HOUSE / "deploy"


def exported() -> dict[str, set[str]]:
    """Labels by name of all that a watch exports, histogram and counter suffixes included."""
    pytest.importorskip("prometheus_client")
    status: Any = dict.fromkeys(get_type_hints(StatusFields), 0)
    span: Any = SimpleNamespace(state="OK", leading="low", probability=0.9, votes=3)
    kinds = ("shewhart", "ewma", "cusum", "t2")
    chart: Any = {**dict.fromkeys(kinds, 1.0), "limits": dict.fromkeys(kinds, 3.0), "p": 0.5, "alarms": []}
    event = Notice(1, "new", "camera moved", None, 0.0, 0.0, "")
    snapshot = Snapshot(status, Latencies(), {"layer": span}, (event,), chart, None, "simulated")
    return {sample.name: set(sample.labels) for family in metric_families(snapshot) for sample in family.samples}


def uses(expression: str) -> list[tuple[str, set[str]]]:
    """Metrics of a watch in an expression of PromQL, and the labels that it asks for."""
    found = re.findall(r"(spatterlib_watch_\w+)(?:\{([^}]*)\})?", expression)
    return [(name, set(re.findall(r"(\w+)\s*=~?", labels)) - {"instance", "job"}) for name, labels in found]


def load(path: str) -> Any:
    return yaml.safe_load((HOUSE / path).read_text())


def rules() -> list[dict[str, Any]]:
    return [rule for group in load("deploy/alerts.yml")["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((DEPLOY / "grafana" / "watch.json").read_text())["panels"]
    return found


def expressions() -> list[str]:
    return [rule["expr"] for rule in rules()] + [target["expr"] for panel in panels() for target in panel["targets"]]


@pytest.mark.parametrize("expression", expressions())
def test_rules_and_dashboard_ask_for_what_a_watch_exports(expression: str) -> None:
    known = exported()
    for name, labels in uses(expression):
        assert name in known, name
        assert labels <= known[name], (name, labels)
    assert uses(expression) or expression == 'up{job="watch"} == 0'


def test_a_metric_that_nobody_exports_is_seen() -> None:
    [(name, labels)] = uses('rate(spatterlib_watch_nobody_total{instance="x",kind="y"}[1m])')
    assert (name in exported(), labels) == (False, {"kind"})


def test_every_fault_of_the_camera_has_an_alert() -> None:
    [rule] = [rule for rule in rules() if rule["alert"] == "CameraUnwell"]
    states = set(re.search(r'state=~"([^"]+)"', rule["expr"])[1].split("|"))  # type: ignore[index]
    assert states == {bad for bad, _ in FAULTS.values()} | {"pictures repeat", "clock jumped"}


def test_alerts_say_what_they_are() -> None:
    for rule in rules():
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["summary"]
    assert len({rule["alert"] for rule in rules()}) == len(rules())


def test_panels_do_not_lie_on_each_other() -> None:
    taken = [
        (x, y)
        for panel in panels()
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(taken)) == len(taken)
    assert max(x for x, _ in taken) < 24
    source = load("deploy/grafana/datasource.yml")["datasources"][0]
    assert {target["datasource"]["uid"] for panel in panels() for target in panel["targets"]} == {source["uid"]}


@pytest.mark.parametrize("command", [["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]])
def test_promtool_finds_no_fault(command: list[str]) -> None:
    promtool = shutil.which("promtool")
    if not promtool:
        pytest.skip("no promtool here: apt-get install prometheus")
    done = subprocess.run([promtool, *command], cwd=DEPLOY, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def options(words: list[str]) -> list[str]:
    """Names of options in a command line."""
    return [word.partition("=")[0] for word in words if word.startswith("--")]


def known_options() -> set[str]:
    main._add_commands(main.cli)
    found = main.cli.commands["watch"].params
    return {flag for option in found if isinstance(option, click.Option) for flag in option.opts}


def test_compose_runs_the_watch_with_options_and_ports_that_it_has() -> None:
    services, watch = load("compose.yaml")["services"], load("compose.yaml")["services"]["watch"]
    command = watch["command"]
    assert command[:2] == ["spatterlib", "watch"]
    assert set(options(command)) <= known_options()
    metrics, view = (command[command.index(flag) + 1].split(":")[1] for flag in ("--metrics", "--view"))
    assert f":{metrics}/metrics" in watch["healthcheck"]["test"][-1]
    assert watch["ports"] == [f"127.0.0.1:{view}:{view}"]
    [job] = [job for job in load("deploy/prometheus.yml")["scrape_configs"] if job["job_name"] == "watch"]
    assert job["static_configs"][0]["targets"] == [f"watch:{metrics}"]
    for place in re.findall(r"reverse_proxy (\S+)", (DEPLOY / "Caddyfile").read_text()):
        name, port = place.split(":")
        assert services[name]["ports"][0].split(":")[-1] == port
    assert (watch["read_only"], watch["cap_drop"]) == (True, ["ALL"])


def test_secrets_are_files_and_all_that_is_mounted_is_there() -> None:
    compose = load("compose.yaml")
    for name, service in compose["services"].items():
        for secret in service.get("secrets", []):
            assert compose["secrets"][secret]["file"].startswith("./secrets/"), name
            assert f"/run/secrets/{secret}" in json.dumps(service), name
        for volume in service["volumes"]:
            source = volume.partition(":")[0]
            if source.startswith("./"):
                assert (HOUSE / source).is_file(), source
            elif not source.startswith("$"):
                assert source in compose["volumes"], source
    rules_file = load("deploy/prometheus.yml")["rule_files"][0]
    assert any(volume.split(":")[1] == rules_file for volume in compose["services"]["prometheus"]["volumes"])
    assert "/secrets/" in (HOUSE / ".gitignore").read_text().splitlines()


def test_every_container_has_limits_and_a_version_and_the_service_a_key_from_a_file() -> None:
    services = load("compose.yaml")["services"]
    for name, service in services.items():
        assert re.fullmatch(r"\d+[gm]", service["mem_limit"]), name
        assert service["pids_limit"] >= 128, name
        assert re.fullmatch(r".+:v?\d+\.\d+\.\d+", service["image"]), name
    kept = services["spatterlib"]
    assert kept["environment"]["SPATTERLIB_SERVE_KEY_FILE"] == f"/run/secrets/{kept['secrets'][0]}"
    [base] = re.findall(r"^ARG BASE=(.*)$", (HOUSE / "Dockerfile").read_text(), re.MULTILINE)
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", base)


def unit() -> str:
    return (DEPLOY / "spatterlib-watch@.service").read_text()


def test_the_unit_names_options_that_there_are_and_does_not_start_again_what_is_refused() -> None:
    [line] = [line for line in unit().splitlines() if line.startswith("ExecStart=")]
    assert set(options(line.split())) <= known_options()
    assert "RestartPreventExitStatus=1 2" in unit()
    assert "LoadCredential=key:" in unit()


def test_systemd_finds_no_fault_in_the_unit(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if not analyze:
        pytest.skip("no systemd here")
    path = tmp_path / "spatterlib-watch@.service"
    path.write_text(unit().replace("/opt/spatterlib/bin/spatterlib", sys.executable))
    done = subprocess.run([analyze, "verify", str(path)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
