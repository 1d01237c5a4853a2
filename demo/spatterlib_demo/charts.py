"""Small charts as SVG in the page: curves of a training, reliability, bars of counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from spatterlib_demo.markup import Markup, html, joined

__all__ = ["bars", "curves", "reliability"]

_W, _H, _L, _T, _B = 380, 210, 44, 14, 30


def _x(value: float, low: float, high: float) -> float:
    return _L + (value - low) / max(high - low, 1e-9) * (_W - _L - 10)


def _y(value: float, low: float, high: float) -> float:
    return _H - _B - (value - low) / max(high - low, 1e-9) * (_H - _B - _T)


def _frame(title: str, below: str, ticks: Sequence[tuple[float, str]], low: float, high: float, inside: str) -> Markup:
    rule = (
        '<line class="rule" x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>'
        '<text x="{beside}" y="{base:.1f}" text-anchor="end">{text}</text>'
    )
    places = [(_y(value, low, high), text) for value, text in ticks]
    lines = joined(html(rule, left=_L, right=_W - 10, beside=_L - 6, y=y, base=y + 4, text=text) for y, text in places)
    foot = html('<text x="{:.0f}" y="{}" text-anchor="middle">{}</text>', (_L + _W) / 2, _H - 4, below)
    return html(
        '<figure class="chart"><figcaption>{}</figcaption><svg viewBox="0 0 {} {}" role="img" aria-label="{}">'
        "{}{}{}</svg></figure>",
        *(title, _W, _H, below, lines, inside, foot),
    )


def curves(title: str, series: Mapping[str, Sequence[float]], *, share: bool = False) -> Markup:
    """Lines over epochs from 1; `share` = from 0 to 100 %."""
    values = [value for line in series.values() for value in line if value == value]
    high = 1.0 if share else max([*values, 0.1]) * 1.05
    count = max([len(line) for line in series.values()] + [2])
    ticks = [(high * k / 4, f"{100 * high * k / 4:.0f} %" if share else f"{high * k / 4:.2f}") for k in range(5)]
    drawn = []
    for number, (name, line) in enumerate(series.items()):
        points = [(_x(i + 1, 1, count), _y(v, 0, high)) for i, v in enumerate(line) if v == v]
        style = ("one", "two")[number % 2]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        drawn.append(html('<polyline class="curve {}" points="{}"/>', style, path))
        drawn += [html('<circle class="dot {}" cx="{:.1f}" cy="{:.1f}" r="2.6"/>', style, x, y) for x, y in points]
        place = (_W - 12, _H - _B - 8 - 16 * number)
        drawn.append(html('<text class="{}" x="{}" y="{}" text-anchor="end">{}</text>', style, *place, name))
    return _frame(title, "epoch", ticks, 0, high, joined(drawn))


def reliability(title: str, confidence: Sequence[float], accuracy: Sequence[float], counts: Sequence[int]) -> Markup:
    """How often right against how sure; the size of a dot says how many crops."""
    low = min([0.5, *confidence])
    ticks = [(k / 4, f"{25 * k} %") for k in range(5)]
    most = max([*counts, 1])
    dot = (
        '<circle class="dot one" cx="{:.1f}" cy="{:.1f}" r="{:.1f}"><title>{} crops: {:.0%} sure, {:.0%} right</title>'
        "</circle>"
    )
    dots = joined(
        html(dot, _x(c, low, 1), _y(a, 0, 1), 3 + 7 * (n / most) ** 0.5, n, c, a)
        for c, a, n in zip(confidence, accuracy, counts, strict=True)
    )
    ends = (_x(low, low, 1), _y(low, 0, 1), _x(1, low, 1), _y(1, 0, 1))
    ideal = html('<path class="ideal" d="M{:.1f} {:.1f}L{:.1f} {:.1f}"/>', *ends)
    path = " ".join(f"{_x(c, low, 1):.1f},{_y(a, 0, 1):.1f}" for c, a in zip(confidence, accuracy, strict=True))
    line = html('<polyline class="curve one" points="{}"/>', path)
    below = f"how sure, from {low:.0%} to 100 % (dashed: as it should be)"
    return _frame(title, below, ticks, 0, 1, ideal + line + dots)


def bars(counts: Mapping[str, int], title: str) -> Markup:
    """Counts as bars with their names."""
    most = max([*counts.values(), 1])
    bar = '<div><span>{}</span><i style="width:{:.1f}%"></i><b>{:,}</b></div>'
    lines = joined(html(bar, name, 100 * count / most, count) for name, count in counts.items())
    return html('<figure class="bars"><figcaption>{}</figcaption>{}</figure>', title, lines)
