"""Small charts as SVG in the page: curves of a training, reliability, bars of counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

__all__ = ["bars", "curves", "reliability"]

_W, _H, _L, _T, _B = 380, 210, 44, 14, 30


def _x(value: float, low: float, high: float) -> float:
    return _L + (value - low) / max(high - low, 1e-9) * (_W - _L - 10)


def _y(value: float, low: float, high: float) -> float:
    return _H - _B - (value - low) / max(high - low, 1e-9) * (_H - _B - _T)


def _frame(title: str, below: str, ticks: Sequence[tuple[float, str]], low: float, high: float, inside: str) -> str:
    lines = "".join(
        f'<line class="rule" x1="{_L}" x2="{_W - 10}" y1="{_y(v, low, high):.1f}" y2="{_y(v, low, high):.1f}"/>'
        f'<text x="{_L - 6}" y="{_y(v, low, high) + 4:.1f}" text-anchor="end">{escape(text)}</text>'
        for v, text in ticks
    )
    foot = f'<text x="{(_L + _W) / 2:.0f}" y="{_H - 4}" text-anchor="middle">{escape(below)}</text>'
    return (
        f'<figure class="chart"><figcaption>{title}</figcaption><svg viewBox="0 0 {_W} {_H}" role="img" '
        f'aria-label="{escape(below)}">{lines}{inside}{foot}</svg></figure>'
    )


def curves(title: str, series: Mapping[str, Sequence[float]], *, share: bool = False) -> str:
    """Lines over epochs from 1; `title` is HTML; `share` = from 0 to 100 %."""
    values = [value for line in series.values() for value in line if value == value]
    high = 1.0 if share else max([*values, 0.1]) * 1.05
    count = max([len(line) for line in series.values()] + [2])
    ticks = [(high * k / 4, f"{100 * high * k / 4:.0f} %" if share else f"{high * k / 4:.2f}") for k in range(5)]
    drawn = []
    for number, (name, line) in enumerate(series.items()):
        points = [(_x(i + 1, 1, count), _y(v, 0, high)) for i, v in enumerate(line) if v == v]
        style = ("first", "last")[number % 2]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        drawn.append(f'<polyline class="curve {style}" points="{path}"/>')
        drawn += [f'<circle class="dot {style}" cx="{x:.1f}" cy="{y:.1f}" r="2.6"/>' for x, y in points]
        drawn.append(
            f'<text class="{style}" x="{_W - 12}" y="{_H - _B - 8 - 16 * number}" text-anchor="end">'
            f"{escape(name)}</text>"
        )
    return _frame(title, "epoch", ticks, 0, high, "".join(drawn))


def reliability(title: str, confidence: Sequence[float], accuracy: Sequence[float], counts: Sequence[int]) -> str:
    """How often right against how sure; the size of a dot says how many crops."""
    low = min([0.5, *confidence])
    ticks = [(k / 4, f"{25 * k} %") for k in range(5)]
    most = max([*counts, 1])
    dots = "".join(
        f'<circle class="dot last" cx="{_x(c, low, 1):.1f}" cy="{_y(a, 0, 1):.1f}" r="{3 + 7 * (n / most) ** 0.5:.1f}">'
        f"<title>{n} crops: {c:.0%} sure, {a:.0%} right</title></circle>"
        for c, a, n in zip(confidence, accuracy, counts, strict=True)
    )
    ideal = (
        f'<path class="ideal" d="M{_x(low, low, 1):.1f} {_y(low, 0, 1):.1f}L{_x(1, low, 1):.1f} {_y(1, 0, 1):.1f}"/>'
    )
    path = " ".join(f"{_x(c, low, 1):.1f},{_y(a, 0, 1):.1f}" for c, a in zip(confidence, accuracy, strict=True))
    line = f'<polyline class="curve last" points="{path}"/>'
    return _frame(
        title, f"how sure, from {low:.0%} to 100 % (dashed: as it should be)", ticks, 0, 1, ideal + line + dots
    )


def bars(counts: Mapping[str, int], title: str) -> str:
    """Counts as bars with their names; `title` is HTML."""
    most = max([*counts.values(), 1])
    lines = "".join(
        f'<div><span>{escape(name)}</span><i style="width:{100 * count / most:.1f}%"></i><b>{count:,}</b></div>'
        for name, count in counts.items()
    )
    return f'<figure class="bars"><figcaption>{title}</figcaption>{lines}</figure>'
