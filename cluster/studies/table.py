"""The table of a study in Markdown, and its plot, from its results alone.

Invariant: what is not measured yet is said, and never shown as a zero; every change stands beside how
certain it is and beside how its seeds differ.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from cluster.studies.results import MEASURES, Measure

TABLES = {
    "Drawing": ("right", "right_best"),
    "UniCycle": ("hard", "hard_best", "soft", "soft_best"),
    "Understanding": ("captions", "questions", "blind", "twins"),
}
HOW = (
    "In %. Each cell: base → last version, the change with its 95 % interval (paired by prompt, of the mean "
    "over seeds), and from the least to the most of the seeds. The interval is that of the prompts alone; "
    "how seeds differ, the spread says."
)
AGAINST = (
    "Last version less last version of {}, with the same seeds and prompts: the interval, and least to most, "
    "as above."
)
PAID = {"proposer": "proposing", "solver": "drawing", "judge": "judging", "trainer": "learning"}
COSTS = (
    "TeraFLOPs of a whole run, measuring apart, and the winners of its rounds that are truly right (accepted "
    "ones, where no oracle tells): means over seeds."
)
KEYS = {measure.key: measure for measure in MEASURES}


def table(found: dict[str, Any]) -> str:
    """The whole table.md."""
    parts = (_head, _tables, _against, _cost, _settings)
    return "\n".join(line for part in parts for line in part(found)) + "\n"


def _head(found: dict[str, Any]) -> Iterator[str]:
    arms = found["arms"]
    yield from (f"# {found['study']}", "", found["title"], "")
    seeds = ", ".join(map(str, found["seeds"]))
    changed = "".join(f", {key}={value}" for key, value in found["overrides"].items())
    measured = (
        f", {found['prompts']} prompts, fixed temperature {found['temperature']:g}"
        if "prompts" in found
        else ""
    )
    yield f"Recipe `{found['recipe']}`{changed}, seeds {seeds}{measured}."
    for arm in arms.values():
        if left := [seed for seed in found["seeds"] if seed not in arm["seeds"]]:
            yield f"**{arm['label']}: not done yet with seed {', '.join(map(str, left))}.**"
        if arm["recipe"]:
            yield f"{arm['label']}: recipe `{arm['recipe']}`."
        if arm["external"]:
            yield f"{arm['label']}: a model from outside was its {' and '.join(arm['external'])}."
        if arm["graft"]:
            yield (f"{arm['label']}: {arms[arm['graft']]['label']}, its last version with what only "
                   "understanding needs put back from the base.")  # fmt: skip
    yield from ("", HOW, "")


def _tables(found: dict[str, Any]) -> Iterator[str]:
    for title, keys in TABLES.items():
        if shown := _measured(found, keys):
            yield from (f"## {title}", "", *_rows(found, shown, _cell), "")


def _against(found: dict[str, Any]) -> Iterator[str]:
    compared = {name for name, arm in found["arms"].items()
                if any("against" in each for each in arm["measures"].values())}  # fmt: skip
    if not compared:
        return
    reference = found["arms"][found["reference"]]["label"]
    yield from (f"## Against {reference}", "", AGAINST.format(reference), "")
    for keys in (("right", "right_best", "hard_best", "soft_best"), TABLES["Understanding"]):
        if shown := _measured(found, keys):
            yield from (*_rows(found, shown, _difference, compared), "")


def _cost(found: dict[str, Any]) -> Iterator[str]:
    rows = [
        [arm["label"], *(f"{cost[who]:.2f}" for who in PAID), f"{cost['winners']:.0f}",
         f"{1000 * sum(cost[who] for who in PAID) / cost['winners']:.1f}"]
        for arm in found["arms"].values() if (cost := arm["cost"])
    ]  # fmt: skip
    if rows:
        head = ["arm", *PAID.values(), "winners", "GFLOP a winner"]
        yield from ("## Cost", "", COSTS, "", *_lines(head, rows), "")


def _settings(found: dict[str, Any]) -> Iterator[str]:
    if not any(arm["best_settings"] for arm in found["arms"].values()):
        return
    yield from (
        "## Best settings",
        "",
        "Temperature and guidance, chosen on other prompts: base → last version.",
        "",
    )
    yield from _lines(["arm", *(f"seed {seed}" for seed in found["seeds"])], [
        [arm["label"], *(_chosen(arm["best_settings"].get(seed)) for seed in found["seeds"])]
        for arm in found["arms"].values()
    ])  # fmt: skip


def _measured(found: dict[str, Any], keys: Sequence[str]) -> list[Measure]:
    return [
        KEYS[key] for key in keys if any(key in arm["measures"] for arm in found["arms"].values())
    ]


def _rows(
    found: dict[str, Any], shown: Sequence[Measure], cell: Any, only: set[str] | None = None
) -> Iterator[str]:
    arms = [arm for name, arm in found["arms"].items() if only is None or name in only]
    head = ["arm", "seeds", *(measure.label for measure in shown)]
    body = [[arm["label"], str(len(arm["seeds"])), *(cell(arm["measures"].get(m.key)) for m in shown)]
            for arm in arms]  # fmt: skip
    return _lines(head, body)


def _lines(head: Sequence[str], body: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "|---" * len(head) + "|"
    yield from (f"| {' | '.join(row)} |" for row in body)


def _cell(measured: Any) -> str:
    if not measured:
        return "not measured"
    was, now = measured["base"]["mean"], measured["last"]["mean"]
    return f"{was:.1f} → {now:.1f}, {_signed(measured['change'])}"


def _difference(measured: Any) -> str:
    return _signed(measured["against"]) if measured and "against" in measured else "not measured"


def _signed(change: Any) -> str:
    text = f"{change['mean']:+.1f} ± {change['half']:.1f}"
    if len(change["seeds"]) == 1:
        return text
    return f"{text} ({change['least']:+.1f} to {change['most']:+.1f})"


def _chosen(each: Any) -> str:
    return f"{each['base']} → {each['last']}" if each else "not measured"
