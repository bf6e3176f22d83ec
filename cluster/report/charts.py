"""Small charts as inline SVG, with no script, no style sheet of their own and no outside file.

Invariant: every text is escaped, every point says its value when pointed at, and a chart of
nothing is an empty plot that says so. Colours are the page's CSS variables, so that charts
follow its light and dark looks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from markupsafe import Markup

WIDTH, HEIGHT = 420, 236
LEFT, RIGHT, TOP, BOTTOM = 58, 46, 14, 38
Points = Sequence[tuple[float, float]]
Spans = Sequence[tuple[float, float, float]]
"""Where x is, from which y to which a value may be."""
Scale = Callable[[float], float]


def lines(
    series: Mapping[str, Points],
    x_label: str,
    y_label: str,
    most: float = math.inf,
    within: Mapping[str, Spans] | None = None,
) -> Markup:
    """Lines of (x, y) points with their last values written out, and with the intervals that they are
    `within`, where known. No value can be above `most`."""
    known = {name: list(points) for name, points in series.items() if points}
    if not known:
        return _frame([_text(WIDTH / 2, HEIGHT / 2, "not measured yet", "middle", "mute")])
    xs = [x for points in known.values() for x, _ in points]
    spans = {name: each for name, each in (within or {}).items() if name in known}
    ys = [y for points in known.values() for _, y in points]
    ys += [y for each in spans.values() for _, *ends in each for y in ends]
    x_axis = _axis(min(xs), max(xs), 5, whole=True)
    y_axis = [tick for tick in _axis(*_room(ys, most), 4) if tick <= most]
    to_x = _scale(min(xs), max(xs), LEFT, WIDTH - RIGHT)
    to_y = _scale(y_axis[0], y_axis[-1], HEIGHT - BOTTOM, TOP)
    parts = [_grid(y_axis, to_y), _ticks(x_axis, to_x), _axis_names(x_label, y_label)]
    ends = _apart({name: to_y(points[-1][1]) for name, points in known.items()})
    order = list(series)
    for name, points in known.items():
        placed = [(to_x(x), to_y(y)) for x, y in points]
        bars = [(to_x(x), to_y(low), to_y(high)) for x, low, high in spans.get(name, ())]
        parts.append(_whiskers(bars, order.index(name)))
        parts.append(_line(name, points, placed, order.index(name)))
        ink = f"end i{order.index(name)}"
        parts.append(_text(WIDTH - RIGHT + 8, ends[name] + 4, number(points[-1][1]), "start", ink))
    return _frame(parts)


def slopes(
    rows: Sequence[tuple[str, float, float]],
    unit: str = "%",
    within: Mapping[str, tuple[float, float]] | None = None,
) -> Markup:
    """One row a name: a dot where it was, an arrow's head where it is, on a scale from 0 to 100, with
    from where to where that may be, where known."""
    width, left, right, step = 900, 160, 124, 27
    to_x = _scale(0, 100, left, width - right)
    parts = [
        Markup('<line class="grid" x1="{0}" x2="{0}" y1="6" y2="{1}"/>').format(
            _n(to_x(tick)), 10 + step * len(rows))
        for tick in (0, 25, 50, 75, 100)
    ]  # fmt: skip
    for i, (name, was, is_) in enumerate(rows):
        if within and name in within:
            low, high = map(to_x, within[name])
            parts.append(_reach(low, high, 22 + step * i))
        parts.append(_slope(name, was, is_, 22 + step * i, to_x, left, width - right + 14, unit))
    bottom = 26 + step * len(rows)
    parts += [_text(to_x(t), bottom, f"{t}{unit}", "middle", "tick") for t in (0, 25, 50, 75, 100)]
    return _frame(parts, width, bottom + 8)


def bars(rows: Sequence[tuple[str, int]]) -> Markup:
    """One bar a name, longest first as given, with its count."""
    longest = max([count for _, count in rows], default=1)
    parts = []
    for i, (name, count) in enumerate(rows):
        y, length = 8 + 28 * i, max(2.0, 520 * count / max(1, longest))
        parts.append(_text(272, y + 14, name, "end", "label"))
        parts.append(Markup('<rect class="bar" x="282" y="{}" width="{}" height="18" rx="3"/>')
                     .format(y, _n(length)))  # fmt: skip
        parts.append(_text(290 + length, y + 14, str(count), "start", "value"))
    return _frame(parts, 900, 14 + 28 * len(rows))


def spark(values: Sequence[float]) -> Markup:
    """A word-sized line of how a number went."""
    if len(values) < 2:
        return Markup("")
    to_x, to_y = _scale(0, len(values) - 1, 3, 97), _scale(min(values), max(values), 25, 4)
    path = " ".join(f"{_n(to_x(i))},{_n(to_y(v))}" for i, v in enumerate(values))
    return Markup(
        '<svg class="spark" viewBox="0 0 100 29" aria-hidden="true"><polyline points="{}"/>'
        '<circle cx="97" cy="{}" r="2.6"/></svg>'
    ).format(path, _n(to_y(values[-1])))


def thinned(points: Points, most: int = 120) -> list[tuple[float, float]]:
    """At most `most` points: each the mean of its neighbours."""
    size = max(1, math.ceil(len(points) / most))
    parts = [points[i : i + size] for i in range(0, len(points), size)]
    return [(part[-1][0], sum(y for _, y in part) / len(part)) for part in parts]


def number(value: float) -> str:
    """Short, for a reader: 3 digits, no needless zeros."""
    if value == 0 or 0.01 <= abs(value) < 1000:
        return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
    return f"{value:.2g}"


def _slope(
    name: str, was: float, is_: float, y: float, to_x: Scale, left: float, end: float, unit: str
) -> Markup:
    change = round(is_ - was, 1)
    kind = "up" if change > 0 else "down" if change < 0 else "level"
    a, b = to_x(was), to_x(is_)
    shape = Markup(
        '<g class="slope {kind}"><title>{name}: {was} to {is_}</title>'
        '<line x1="{a}" x2="{b}" y1="{y}" y2="{y}"/><circle class="was" cx="{a}" cy="{y}" r="4"/>'
        '<circle class="is" cx="{b}" cy="{y}" r="5.5"/></g>'
    ).format(kind=kind, name=name, was=number(was), is_=number(is_), a=_n(a), b=_n(b), y=_n(y))
    return Markup("").join([
        _text(left - 12, y + 4, name, "end", "label"), shape,
        _text(end, y + 4, f"{number(is_)}{unit}", "start", "value"),
        _text(end + 54, y + 4, f"{change:+.1f}", "start", f"change {kind}"),
    ])  # fmt: skip


def _reach(low: float, high: float, y: float) -> Markup:
    """A thin line with a stop at each end."""
    return Markup(
        '<polyline class="reach" points="{0},{2} {0},{4} {0},{3} {1},{3} {1},{2} {1},{4}"/>'
    ).format(_n(low), _n(high), _n(y - 8), _n(y), _n(y + 8))


def _line(name: str, points: Points, placed: Points, color: int) -> Markup:
    path = " ".join(f"{_n(x)},{_n(y)}" for x, y in placed)
    dots = [
        Markup('<circle cx="{}" cy="{}" r="{}"><title>{}: {} at {}</title></circle>').format(
            _n(x), _n(y), 3.2 if len(points) <= 24 else 1.2, name, number(value), number(at))
        for (x, y), (at, value) in zip(placed, points, strict=True)
    ]  # fmt: skip
    return Markup('<g class="s{}"><polyline points="{}"/>{}</g>').format(
        color, path, Markup("").join(dots)
    )


def _whiskers(placed: Spans, color: int) -> Markup:
    bars = [
        Markup('<polyline points="{0},{1} {0},{2}"/>').format(_n(x), _n(low), _n(high))
        for x, low, high in placed
    ]
    return Markup('<g class="s{} whiskers">{}</g>').format(color, Markup("").join(bars))


def _grid(ticks: Sequence[float], to_y: Scale) -> Markup:
    return Markup("").join(
        Markup('<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/>{}').format(
            LEFT, WIDTH - RIGHT, _n(to_y(t)), _n(to_y(t)),
            _text(LEFT - 7, to_y(t) + 4, number(t), "end", "tick"))
        for t in ticks
    )  # fmt: skip


def _ticks(ticks: Sequence[float], to_x: Scale) -> Markup:
    y = HEIGHT - BOTTOM + 15
    return Markup("").join(_text(to_x(t), y, number(t), "middle", "tick") for t in ticks)


def _axis_names(x_label: str, y_label: str) -> Markup:
    middle = (LEFT + WIDTH - RIGHT) / 2
    return _text(middle, HEIGHT - 5, x_label, "middle", "axis") + Markup(
        '<text class="axis" text-anchor="middle" transform="translate(11 {}) rotate(-90)">{}</text>'
    ).format((TOP + HEIGHT - BOTTOM) / 2, y_label)


def _axis(low: float, high: float, wanted: int, whole: bool = False) -> list[float]:
    """Round numbers; where `whole`, integers within [low, high], else a frame around them."""
    step = _nice((high - low) / wanted or 1.0)
    if whole:
        step = max(1.0, step)
        return [t * step for t in range(math.ceil(low / step), math.floor(high / step) + 1)]
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [t * step for t in range(first, max(last, first + 1) + 1)]


def _nice(step: float) -> float:
    power = 10.0 ** math.floor(math.log10(step))
    return next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= step * 0.999)


def _room(values: Sequence[float], most: float) -> tuple[float, float]:
    """What the y axis must hold: from 0 on if that is near, and never a magnified flat line."""
    low, high = min(values), max(values)
    least = 0.1 * most if math.isfinite(most) else 0.1 * abs(high)
    pad = max(0.06 * (high - low), (least - (high - low)) / 2) or 1.0
    return (0.0 if 0 <= low < 0.4 * high else low - pad), min(most, high + pad)


def _scale(low: float, high: float, to_low: float, to_high: float) -> Scale:
    width = (high - low) or 1.0
    middle = (to_low + to_high) / 2
    return lambda v: middle if high == low else to_low + (v - low) / width * (to_high - to_low)


def _apart(places: Mapping[str, float], gap: float = 14) -> dict[str, float]:
    """The labels' heights, moved down where two would overlap, then up from the plot's foot."""
    settled: dict[str, float] = {}
    for name, y in sorted(places.items(), key=lambda item: item[1]):
        settled[name] = max([y, *(other + gap for other in settled.values())])
    over = max(0.0, max(settled.values()) - (HEIGHT - BOTTOM + 4))
    return {name: y - over for name, y in settled.items()}


def _text(x: float, y: float, text: str, anchor: str, kind: str) -> Markup:
    return Markup('<text class="{}" x="{}" y="{}" text-anchor="{}">{}</text>').format(
        kind, _n(x), _n(y), anchor, text
    )


def _frame(parts: Sequence[Markup], width: float = WIDTH, height: float = HEIGHT) -> Markup:
    return Markup('<svg class="chart" viewBox="0 0 {} {}" role="img">{}</svg>').format(
        _n(width), _n(height), Markup("").join(parts)
    )


def _n(value: float) -> str:
    return f"{value:.1f}".rstrip("0").rstrip(".")
