"""Control charts while it builds: those of `spatterlib monitor` afterwards, and one event while layers differ."""

from __future__ import annotations

import json
import threading
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from predictions import build

import spatterlib as sp
from spatterlib.cli.main import main
from spatterlib.common.image_codec import encode
from spatterlib.control.monitoring import POINT, Point, monitor
from spatterlib.control.reference import Reference, ReferenceFacts, learn_reference
from spatterlib.detection.events import events
from spatterlib.detection.layers import layers
from spatterlib.errors import ParameterError
from spatterlib.live import alarms, control_charts
from spatterlib.live.alarms import AlarmState, Notice
from spatterlib.live.control_charts import AS_USUAL, DIFFERS, ChartedLayer, LayerCharts, observe_layer, open_charts
from spatterlib.live.messages import COMMON, FIELDS
from spatterlib.live.settings import ChartSettings
from spatterlib.measuring.calibration import Calibration
from spatterlib.measuring.camera import Camera, save_camera
from spatterlib.measuring.descriptors import DESCRIPTOR, describe, turned
from spatterlib.measuring.measurement import crop_streaks, measure_store
from spatterlib.measuring.streaks import STREAK
from spatterlib.verdicts.verdict import row_dtype

CAMERA = Camera(frame_rate=25, exposure=0.036, mm_per_px=0.4, gas_direction=180.0)
ABOUT: ReferenceFacts = {
    "simulated": True,
    "camera": CAMERA.identity(),
    "calibrated": False,
    "scan_turn": 67.0,
    "scan_start": 10.0,
}
GAP = 2.0


def rows_like(row: np.void | None = None, count: int = 60, **means: float) -> Any:
    """Rows of layers that scatter by a tenth around one layer."""
    rows, draw = np.zeros(count, DESCRIPTOR), np.random.default_rng(1)
    for name in DESCRIPTOR.names or ():
        if DESCRIPTOR[name].kind == "f":
            mean = float(row[name]) if row is not None else means.get(name, np.nan)
            rows[name] = mean * (1 + 0.1 * draw.standard_normal(count))
    rows["group"] = np.arange(1, count + 1)
    return turned(rows, 67.0, 10.0)


@cache
def kept() -> Path:
    """Where the watch keeps what it finds."""
    return Path(mkdtemp(prefix="spatterlib-charts-")) / "live.h5"


@cache
def described() -> Any:
    """The layers of the build, as its store says afterwards."""
    path = kept().with_name("afterwards.h5")
    sp.extract(build(), path, progress=False)
    with sp.open_store(path) as store:
        table = store.table
        measured = measure_store(store, CAMERA)
    group = layers(table["time"], GAP).number
    return turned(describe(measured.streaks, table, group, CAMERA, event=events(table).number), 67.0, 10.0)


@cache
def reference() -> Reference:
    """Layers like the first of the build, which has low flow."""
    names = ["rate", "length", "drift", "plume_area", "clear_time"]
    rows = rows_like(described()[0])
    rows["clear_time"] = np.random.default_rng(2).normal(0.1, 0.1, len(rows))
    return learn_reference(rows, names, builds=300, about=ABOUT)


@cache
def watched() -> tuple[Any, list[dict[str, Any]]]:
    messages: list[dict[str, Any]] = []
    path = kept().with_name("reference.json")
    reference().save(path)
    found = sp.watch(
        str(build()), "simulated", gap=GAP, idle=0.1, reference=str(path), store=str(kept()), notify=messages.append
    )
    return found, messages


def of(kind: str) -> list[dict[str, Any]]:
    return [found for found in watched()[1] if found["type"] == kind]


def test_layers_are_charted_as_monitor_charts_them_afterwards() -> None:
    expected = monitor(reference(), described())
    charts = of("chart")
    assert [found["number"] for found in charts] == [1, 2, 3, 4, 5]
    for found, point, said, row in zip(charts, expected.points, expected.alarms, described(), strict=True):
        assert found["alarms"] == list(said)
        for name in ("shewhart", "ewma", "cusum", "t2", "p"):
            assert found[name] == pytest.approx(float(point[name]), abs=2e-6)
        for name in reference().names:
            assert found["values"][name] == pytest.approx(float(row[name]), abs=2e-6)
        assert found["crops"] == found["measured"] == row["detections"]
        assert (found["start"], found["stop"]) == pytest.approx((row["start"], row["stop"]), abs=2e-6)


def test_the_change_of_flow_is_one_event_that_rests_on_a_chart() -> None:
    charts = {found["number"]: found for found in of("chart")}
    said = [found for found in of("alarm") if found["state"] in (DIFFERS, AS_USUAL)]
    assert charts[1]["alarms"] == []
    assert charts[5]["alarms"]
    assert said[0]["phase"] == "new"
    assert said[-1]["phase"] == "end"
    assert {found["event"] for found in said} == {said[0]["event"]}
    first = said[0]["chart"]
    assert first["alarms"]
    assert first == {name: charts[first["number"]][name] for name in FIELDS["chart"]}
    assert said[0]["reason"].startswith(f"layer {first['number']}: ")
    assert said[0]["since"] == first["start"]
    assert said[0]["verdict"] is None
    others = {found["event"] for found in of("alarm") if found not in said}
    assert said[0]["event"] not in others


def test_messages_with_charts_have_all_their_fields() -> None:
    for found in watched()[1]:
        assert set(found) == {*COMMON, *FIELDS[found["type"]]}
    assert of("start")[0]["settings"]["charts"]["camera"] == CAMERA.identity()
    assert of("end")[0]["charts"] == "ok"


def test_prometheus_reads_the_charts() -> None:
    pytest.importorskip("prometheus_client")
    from spatterlib.live.prometheus import _charts

    facts: Any = of("chart")[-1]
    samples = {
        (sample.name.removeprefix("spatterlib_watch_"), sample.labels.get("chart")): sample.value
        for family in _charts(facts)
        for sample in family.samples
    }
    assert samples["chart", "ewma"] == facts["ewma"]
    assert samples["chart_limit", "t2"] == facts["limits"]["t2"]
    assert samples["layer_differs", None] == 1


def test_the_command_takes_a_reference_and_says_alarms(tmp_path: Path, capsys: Any) -> None:
    reference().save(tmp_path / "good.json")
    save_camera(CAMERA, tmp_path / "camera.toml")
    options = ["--reference", str(tmp_path / "good.json"), "--camera", str(tmp_path / "camera.toml")]
    assert main(["watch", str(build()), "--model", "simulated", "--idle", "0.1", *options, "--scan-start", "3"]) == 0
    out, err = capsys.readouterr()
    first = json.loads(out.splitlines()[0])
    assert first["settings"]["charts"]["scan_start"] == 3
    assert f"new: {DIFFERS}: layer " in err


# -- what is refused


def learnt(**means: float) -> Reference:
    return learn_reference(rows_like(None, 60, **means), list(means), builds=50, harmonics=0, about=ABOUT)


@pytest.mark.parametrize(
    ("base", "camera", "calibration", "said"),
    [
        (lambda: learnt(per_mm2=2.0), CAMERA, None, "the area scanned"),
        (lambda: learnt(speed_50=5.0), CAMERA, None, None),
        (lambda: learnt(drift=0.5), Camera(25, 0.036, mm_per_px=0.4), None, "made for a camera of gas_direction 180.0"),
        (lambda: learnt(rate=5.0), CAMERA, Calibration(camera={"exposure": 1.0}), "the calibration was made for"),
        (lambda: None, CAMERA, None, "give a reference too"),
    ],
)
def test_charts_that_cannot_be_had_live_are_refused(base: Any, camera: Any, calibration: Any, said: str | None) -> None:
    if said is None:
        known = base()
        object.__setattr__(known, "about", {**known.about, "calibrated": True})
        with pytest.raises(ParameterError, match="takes a calibration"):
            open_charts(ChartSettings(known, camera), wait=True)
        return
    with pytest.raises(ParameterError, match=said):
        open_charts(ChartSettings(base(), camera, calibration), wait=True)


def test_a_reference_of_unknown_camera_or_turn_is_refused() -> None:
    base = learn_reference(rows_like(rate=5.0), ["rate"], builds=50)
    with pytest.raises(ParameterError, match="does not say which camera"):
        open_charts(ChartSettings(base), wait=True)
    with pytest.raises(ParameterError, match="--scan-turn"):
        open_charts(ChartSettings(base, CAMERA), wait=True)


# -- a machine that does not keep up, and what goes wrong


def crops(count: int) -> tuple[Any, list[bytes], Any]:
    """Rows of a layer, their crops, and the rows with events."""
    table, rows = np.zeros(count, sp.DETECTION), np.zeros(count, row_dtype(2))
    table["time"] = rows["time"] = np.arange(count) / 25
    table["frame"] = rows["frame"] = rows["event"] = np.arange(count)
    table["area"] = rows["area"] = 3000
    return table, [encode(np.zeros((20, 20, 3), np.uint8), "png", 95)] * count, rows


def test_crops_that_find_no_room_are_left_out_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on, usual = threading.Event(), crop_streaks
    monkeypatch.setattr(control_charts, "crop_streaks", lambda *given: go_on.wait(30) and usual(*given))
    monkeypatch.setattr(control_charts, "_QUEUE", 2)
    charts = LayerCharts(learnt(plume_area=3000.0), CAMERA)
    table, encoded, rows = crops(6)
    for index in range(6):
        charts.add(table[index : index + 1], encoded[index : index + 1])
    charts.end_layer(1, rows)
    go_on.set()
    charts.close()
    (found,) = charts.take()
    assert (found.crops, found.measured, found.row["detections"]) == (6, 2, 2)
    assert found.row["stop"] == rows["time"][-1]


def test_a_layer_of_which_nothing_was_measured_is_on_no_chart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_charts, "_QUEUE", 0)
    charts = LayerCharts(learnt(plume_area=3000.0), CAMERA)
    table, encoded, rows = crops(3)
    charts.add(table, encoded)
    charts.end_layer(1, rows)
    charts.close()
    (found,) = charts.take()
    assert (found.measured, found.point.alarms) == (0, ())
    assert np.isnan(found.point.row["t2"])


def test_layers_share_no_streaks_where_parts_of_the_stream_hold_two(monkeypatch: pytest.MonkeyPatch) -> None:
    def one_each(_: Any, table: Any, first: int, __: Any) -> Any:
        streaks = np.zeros(len(table), STREAK)
        streaks["row"], streaks["length"] = first + np.arange(len(table)), table["area"]
        return streaks

    monkeypatch.setattr(control_charts, "crop_streaks", one_each)
    charts = LayerCharts(learnt(length=400.0), CAMERA, wait=True)
    table, encoded, rows = crops(7)
    table["area"] = rows["area"] = [1, 1, 1, 2, 2, 3, 3]
    charts.add(table[:5], encoded[:5])
    charts.add(table[5:], encoded[5:])
    for number, own in enumerate((rows[:3], rows[3:6], rows[6:]), 1):
        charts.end_layer(number, own)
    charts.close()
    found = charts.take()
    assert [layer.row["streaks"] for layer in found] == [3, 3, 1]
    assert [float(layer.row["length"]) for layer in found] == pytest.approx([0.4, 0.8, 1.2])


def test_what_goes_wrong_is_told_and_the_watch_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    charts = LayerCharts(learnt(plume_area=3000.0), CAMERA)
    table, _, rows = crops(2)
    charts.add(table, [b"junk", b"junk"])
    charts.end_layer(1, rows)
    charts.close()
    assert charts.take() == []
    assert charts.state != "ok"
    assert "the watch goes on" in caplog.text


# -- one event while layers differ


def layer(number: int, alarms: tuple[str, ...], *, measured: bool = True) -> ChartedLayer:
    row, point = np.zeros(1, DESCRIPTOR), np.zeros(1, POINT)
    row["start"] = 10 * number
    point["t2"] = point["shewhart"] = 1.0 if measured else np.nan
    return ChartedLayer(number, row[0], Point(point[0], np.zeros((4, 1)), alarms), 9, 9)


KINDS = [(), ("ewma of drift low (-4.0, limit 3.0)",), ("ewma of drift low (-5.0, limit 3.0)", "t2 of all (9)"), None]


def after(alarm: AlarmState, one: ChartedLayer, time: float, number: int) -> tuple[AlarmState, list[Notice]]:
    alarm, notices = alarms.step(alarm, observe_layer(one), time, number, final=True)
    return alarm, list(notices)


@given(st.lists(st.tuples(st.sampled_from(KINDS), st.floats(1, 90)), max_size=40))
@settings(deadline=None)
def test_every_stretch_of_layers_that_differ_is_new_then_updated_then_ended(steps: list[Any]) -> None:
    alarm, said, moment, number = AlarmState(), "", 0.0, 0
    for index, (charts, passed) in enumerate(steps):
        moment += passed
        before, one = alarm, layer(index, charts or (), measured=charts is not None)
        alarm, notices = after(alarm, one, moment, number + 1)
        number = alarm.open.event if alarm.open else number
        said += "".join(notice.phase[0] for notice in notices)
        assert (alarm.open is None) == (charts == () or (charts is None and before.open is None))
    assert all(part.strip("u") == "n" for part in said.split("e") if part)
    assert said.count("n") == number
    assert said.count("n") - said.count("e") == (alarm.open is not None)


def test_the_same_charts_are_told_again_only_as_a_reminder() -> None:
    alarm, (notice,) = after(AlarmState(), layer(1, KINDS[1] or ()), 10.0, 4)
    assert (notice.event, notice.phase, notice.state, notice.since) == (4, "new", DIFFERS, 10.0)
    assert notice.charts == ("ewma of drift low",)
    alarm, notices = after(alarm, layer(2, KINDS[1] or ()), 20.0, 9)
    assert notices == []
    for number, time in ((3, 30.0), (4, 90.0)):
        alarm, (notice,) = after(alarm, layer(number, KINDS[2] or ()), time, 9)
        assert (notice.event, notice.phase, notice.since) == (4, "update", 10.0)
    alarm, (notice,) = after(alarm, layer(5, ()), 99.0, 9)
    assert (alarm, notice.phase, notice.state, notice.reason) == (
        AlarmState(begun=10.0),
        "end",
        AS_USUAL,
        "layer 5: as usual",
    )
