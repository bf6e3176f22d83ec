"""A list of instances, drawn at random, for a person to check.

    python -m evaluation.tasks.listing own.md                              # of the set that ships
    python -m evaluation.tasks.listing mine.md --samples FOLDER/by-rules/samples.jsonl

With samples, what was drawn stands numbered in a sheet beside the list, and what was answered in it.

Invariant: what is listed follows from the instances, the seed and the count alone.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from actors.storage import storage
from evaluation.tasks.folder import read_samples
from evaluation.unicycle import OWN
from evaluation.unicycle.asking import reference
from evaluation.unicycle.instances import read
from policies.errors import UserError
from policies.seeds import generator

REFUSED = 2
COLUMNS, SIDE, GAP, LABEL = 10, 96, 4, 14
"""Of the sheet: drawings in a row, and in pixels the side of each, the gap beside it and the height of its
number."""

Row = Mapping[str, Any]


def chosen(rows: Sequence[Row], count: int, seed: int) -> list[Row]:
    """Returns `count` of the rows, or all if there are fewer, in their order."""
    places = generator("listing", seed).choice(len(rows), size=min(count, len(rows)), replace=False)
    return [rows[place] for place in sorted(places)]


def listed(rows: Sequence[Row]) -> str:
    """Returns a Markdown table: number, kind, prompt, and each question with its right answer and, where
    there is one, what was answered and its mark."""
    lines = ["| | kind | prompt | questions, right answers |", "|---|---|---|---|"]
    for number, row in enumerate(rows, 1):
        asked = "<br>".join(map(_asked, row["questions"]))
        cells = (str(number), row["kind"], row["prompt"], asked)
        lines.append(
            "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"
        )
    return "\n".join(lines) + "\n"


def sheet(rows: Sequence[Row], folder: Path) -> bytes:
    """Returns a PNG of the rows' drawings, whose paths are relative to `folder`, each under its number."""
    across, down = SIDE + GAP, SIDE + GAP + LABEL
    made = Image.new("RGB", (COLUMNS * across, -(-len(rows) // COLUMNS) * down), "white")
    pen = ImageDraw.Draw(made)
    for number, row in enumerate(rows):
        x, y = number % COLUMNS * across, number // COLUMNS * down
        with Image.open(folder / row["drawing"]) as image:
            # A small drawing is to be seen pixel by pixel.
            how = Image.Resampling.NEAREST if max(image.size) < SIDE else Image.Resampling.LANCZOS
            made.paste(image.convert("RGB").resize((SIDE, SIDE), how), (x, y + LABEL))
        pen.text((x + 1, y + 1), str(number + 1), "black")
    data = io.BytesIO()
    made.quantize(256).save(data, "PNG", optimize=True)
    return data.getvalue()


def _asked(question: Row) -> str:
    options = f" ({', '.join(question['options'])})" if question["options"] else ""
    said = f"{question['text']}{options} **{question['reference']}**"
    if "mark" not in question:
        return said
    return f"{said}, answered {question['answer']}: {question['mark']:.3g}"


def _own() -> list[Row]:
    return [
        {"kind": each.kind, "prompt": each.prompt,
         "questions": [{"text": q.text, "options": q.options, "reference": reference(q)}
                       for q in each.questions]}
        for each in read(OWN)
    ]  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m evaluation.tasks.listing")
    parser.add_argument("to", type=Path, metavar="FILE.md")
    parser.add_argument("--samples", type=Path, metavar="SAMPLES.jsonl")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    try:
        rows = chosen(read_samples(args.samples) if args.samples else _own(), args.count, args.seed)
    except UserError as error:
        print(f"listing: {error}", file=sys.stderr)
        return REFUSED
    text = f"# {len(rows)} instances, drawn at random\n\n"
    if args.samples:
        picture = args.to.with_suffix(".png")
        storage.write(picture, sheet(rows, args.samples.parent))
        text += f"![the drawings, by number]({picture.name})\n\n"
    storage.write(args.to, (text + listed(rows)).encode())
    print(args.to)
    return 0


if __name__ == "__main__":
    sys.exit(main())
