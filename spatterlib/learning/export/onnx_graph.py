"""A model as one ONNX graph: uint8 RGB crops in, probabilities out, preprocessing inside.

Resizing is two products with matrices of weights which the graph makes from the size of the crops: ONNX's own
``Resize`` rounds otherwise than `spatterlib.kernels.learning.augment.resize`. The weights are whole numbers of parts,
2^22 to one, and the products are float64, so every sum is exact, and the samples are those of `Preprocessing`, bit by
bit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from spatterlib.common.origin import learned
from spatterlib.learning.runs import Run
from spatterlib.plugins.classifier import Preprocessing

__all__ = ["IR_VERSION", "OPSET", "build"]

OPSET, IR_VERSION = 18, 8


def build(run: Run, facts: Mapping[str, Any]) -> Any:
    """The model with everything around it.

    Parameters
    ----------
    run : Run
        Of an `Exportable` model.
    facts : dict
        JSON-able; goes into the metadata under the key ``spatterlib``.

    Returns
    -------
    onnx.ModelProto
        Input ``crops`` ``(n, h, w, 3)`` uint8; outputs ``probability`` and ``scores``, ``(n, classes)`` float32.
    """
    from onnx import compose, helper, parser

    model: Any = run.model
    graph = parser.parse_graph(_around(run.preprocessing, len(run.classes), run.temperature))
    network = compose.add_prefix_graph(model.onnx_network(), "network_", rename_inputs=False, rename_outputs=False)
    behind = [graph.node.pop(), graph.node.pop()][::-1]
    graph.node.extend([*network.node, *behind])
    asked = {name for node in graph.node for name in node.input}
    needed = [value for value in (*graph.initializer, *network.initializer) if value.name in asked]
    del graph.initializer[:]
    graph.initializer.extend(needed)
    built = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="spatterlib"
    )
    built.doc_string = _describe(facts)
    helper.set_model_props(built, {"spatterlib": json.dumps(facts, sort_keys=True)})
    return built


def _describe(facts: Mapping[str, Any]) -> str:
    said = learned(facts.get("origin", ""))
    mark = f"{said.capitalize()}. " if said else ""
    return (
        f"{mark}crops: (n, h, w, 3) uint8 RGB of any one size; "
        f"probability: (n, {len(facts['classes'])}) of {', '.join(facts['classes'])}."
    )


def _around(how: Preprocessing, classes: int, temperature: float) -> str:
    """The graph but for the network, which goes in front of the last two nodes."""
    return f"""
spatterlib (uint8[n, h, w, 3] crops) => (float[n, {classes}] probability, float[n, {classes}] scores)
<
  double size = {{{how.size}}}, double edge = {{{round((how.size - how.cut) / 2)}}}, double parts = {{4194304}},
  double zero = {{0}}, double half = {{0.5}}, double one = {{1}}, double two = {{2}},
  int64 at = {{1}}, int64 begin = {{0}}, int64 step = {{1}}, int64 cut = {{{how.cut}}}, int64[1] lasts = {{-1}},
  float[3, 1] grey_weights = {{{19595 / 65536}, {38470 / 65536}, {7471 / 65536}}}, float grey_half = {{0.5}},
  float white = {{255}}, float temperature = {{{temperature!r}}}
>
{{
{_pixels(how)}
  counted = Range (begin, cut, step)
  numbers = Cast <to = 11> (counted)
  shifted = Add (numbers, edge)
  lines = Unsqueeze (shifted, at)
  height_known = Shape <start = 1, end = 2> (crops)
  height_length = Squeeze (height_known)
  height = Cast <to = 11> (height_length)
  width_known = Shape <start = 2, end = 3> (crops)
  width_length = Squeeze (width_known)
  width = Cast <to = 11> (width_length)
  longer = Max (height, width)
  scale = Div (size, longer)
{_weights("height", how.letterbox)}
{_weights("width", how.letterbox)}
  rows_sum = MatMul (height_weights, pixels)
  rows_rounded = Add (rows_sum, half)
  rows = Floor (rows_rounded)
  width_across = Transpose <perm = [1, 0]> (width_weights)
  samples_sum = MatMul (rows, width_across)
  samples_rounded = Add (samples_sum, half)
  samples_levels = Floor (samples_rounded)
  levels = Cast <to = 1> (samples_levels)
  samples = Div (levels, white)
  scaled = Div (scores, temperature)
  probability = Softmax <axis = 1> (scaled)
}}"""


def _pixels(how: Preprocessing) -> str:
    """``pixels (n, channels, h, w)`` double of the crops; grey as `to_grey` rounds it, exact in float32."""
    if how.colour == "rgb":
        return "  first = Transpose <perm = [0, 3, 1, 2]> (crops)\n  pixels = Cast <to = 11> (first)"
    return """  colours = Cast <to = 1> (crops)
  mixed_apart = MatMul (colours, grey_weights)
  mixed = Squeeze (mixed_apart, lasts)
  mixed_rounded = Add (mixed, grey_half)
  grey = Floor (mixed_rounded)
  grey_first = Unsqueeze (grey, at)
  pixels = Cast <to = 11> (grey_first)"""


def _weights(a: str, letterbox: bool) -> str:
    """``{a}_weights (cut, length)``: whole parts, by the arithmetic of the kernel, operation for operation."""
    target = f"""  {a}_exact = Mul ({a}, scale)
  {a}_round = Round ({a}_exact)
  {a}_target = Max ({a}_round, one)
  {a}_free = Sub (size, {a}_target)
  {a}_sides = Div ({a}_free, two)
  {a}_offset = Floor ({a}_sides)
  {a}_line = Sub (lines, {a}_offset)"""
    stretched = f"  {a}_target = Identity (size)\n  {a}_line = Identity (lines)"
    return f"""{target if letterbox else stretched}
  {a}_scale = Div ({a}, {a}_target)
  {a}_support = Max ({a}_scale, one)
  {a}_middle = Add ({a}_line, half)
  {a}_centre = Mul ({a}_middle, {a}_scale)
  {a}_from = Sub ({a}_centre, {a}_support)
  {a}_from_half = Add ({a}_from, half)
  {a}_from_whole = Floor ({a}_from_half)
  {a}_low = Max ({a}_from_whole, zero)
  {a}_to = Add ({a}_centre, {a}_support)
  {a}_to_half = Add ({a}_to, half)
  {a}_high = Floor ({a}_to_half)
  {a}_counted = Range (begin, {a}_length, step)
  {a}_k = Cast <to = 11> ({a}_counted)
  {a}_away = Sub ({a}_k, {a}_centre)
  {a}_away_half = Add ({a}_away, half)
  {a}_relative = Div ({a}_away_half, {a}_support)
  {a}_distance = Abs ({a}_relative)
  {a}_slope = Sub (one, {a}_distance)
  {a}_triangle = Max ({a}_slope, zero)
  {a}_behind = GreaterOrEqual ({a}_k, {a}_low)
  {a}_before = Less ({a}_k, {a}_high)
  {a}_within = And ({a}_behind, {a}_before)
  {a}_taps = Where ({a}_within, {a}_triangle, zero)
  {a}_running = CumSum ({a}_taps, at)
  {a}_total = Gather <axis = 1> ({a}_running, lasts)
  {a}_after_first = GreaterOrEqual ({a}_line, zero)
  {a}_before_last = Less ({a}_line, {a}_target)
  {a}_inside = And ({a}_after_first, {a}_before_last)
  {a}_divisor = Where ({a}_inside, {a}_total, one)
  {a}_share = Div ({a}_taps, {a}_divisor)
  {a}_shares = Mul ({a}_share, parts)
  {a}_shares_half = Add ({a}_shares, half)
  {a}_whole = Floor ({a}_shares_half)
  {a}_parts = Where ({a}_inside, {a}_whole, zero)
  {a}_weights = Div ({a}_parts, parts)"""
