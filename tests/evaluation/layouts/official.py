"""Reads folders of pictures by the rules of each benchmark's own scripts, and of nothing else.

Written from what those scripts do, each named; none of it is the program's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

Pixels = np.ndarray
ENDINGS = (".png", ".jpg", ".jpeg", "webp")


def pixels(file: Path) -> Pixels:
    with Image.open(file) as image:
        assert image.mode == "RGB"
        return np.asarray(image)


def listed(folder: Path) -> list[str]:
    return [each.name for each in folder.iterdir()]


def geneval(root: Path) -> dict[str, list[Pixels]]:
    """evaluation/evaluate_images.py: by prompt. Folders that are no numbers are passed over, all others
    must have metadata and samples."""
    found: dict[str, list[Pixels]] = {}
    for name in listed(root):
        folder = root / name
        if not folder.is_dir() or not name.isdigit():
            continue
        metadata = json.loads((folder / "metadata.jsonl").read_text())
        assert metadata["tag"] and metadata["include"]
        names = [each for each in listed(folder / "samples") if re.match(r"\d+\.png", each)]
        found[metadata["prompt"]] = [pixels(folder / "samples" / each) for each in sorted(names)]
    return found


def compbench(category: Path) -> list[tuple[str, Pixels]]:
    """BLIP_vqa.py, CLIP_similarity.py and UniDet's Dataset: every file of samples/, in its number's order,
    with the prompt that its name begins with."""
    names = listed(category / "samples")
    by_last = sorted(names, key=lambda name: int(name.split("_")[-1].split(".")[0]))
    by_second = sorted(names, key=lambda name: int(name.split("_")[1].split(".")[0]))
    assert by_last == by_second
    numbers = [int(name.split(".png")[0].split("_")[1]) for name in by_last]
    assert numbers == list(range(len(numbers)))
    return [(name.split("_")[0], pixels(category / "samples" / name)) for name in by_last]


def srum(root: Path, categories: Sequence[str]) -> dict[str, list[tuple[int, str, Pixels]]]:
    """qwen_eval.sh's folders, and in each what qwen_eval.py makes of it: number, prompt, picture."""
    found = {}
    for category in categories:
        folder = root / f"{category.replace(' ', '_')}_50_think"
        lines = [json.loads(line) for line in (folder / "output.jsonl").read_text().splitlines()]
        prompts = {line["image_file"]: line["original_prompt"] for line in lines}
        inner = folder / "samples" if (folder / "samples").exists() else folder
        names = [name for name in listed(inner) if Path(name).suffix.lower() == ".png"]
        names.sort(key=lambda name: int(Path(name).stem))
        found[category] = [(int(Path(n).stem), prompts[n], pixels(inner / n)) for n in names]
    return found


def dpg(root: Path, resolution: int) -> dict[str, list[Pixels]]:
    """compute_dpg_bench.py with --pic-num 4: everything in the folder is a grid of four."""
    corners = ((0, 0), (resolution, 0), (0, resolution), (resolution, resolution))
    found = {}
    for name in listed(root):
        with Image.open(root / name) as image:
            found[name.split(".")[0]] = [
                np.asarray(image.crop((x, y, x + resolution, y + resolution))) for x, y in corners
            ]
    return found


def wise(root: Path, rows: Sequence[Mapping[str, object]]) -> dict[str, Pixels]:
    """gpt_eval.py: a PNG by each row's prompt_id."""
    return {str(row["Prompt"]): pixels(root / f"{row['prompt_id']}.png") for row in rows}


def oneig(root: Path, kind: str, model: str, key: str, grid: tuple[int, int]) -> list[Pixels]:
    """alignment_score.py with split_mxn_grid: the one file that begins with the id, cut into tiles,
    without those that are black."""
    (file,) = (root / kind / model).glob(f"{key}*")
    whole = pixels(file)
    across, down = whole.shape[1] // grid[0], whole.shape[0] // grid[1]
    tiles = [
        whole[row * down : (row + 1) * down, column * across : (column + 1) * across]
        for row in range(grid[1])
        for column in range(grid[0])
    ]
    return [tile for tile in tiles if tile.any()]


def tiif(root: Path, model: str, folder: Path) -> dict[tuple[str, str, int], Pixels]:
    """eval_with_vlm.py: of each file of rows, by the type of its first one, both descriptions' pictures."""
    found = {}
    for file in folder.glob("*.jsonl"):
        rows = [json.loads(line) for line in file.read_text().splitlines() if line.strip()]
        kind = rows[0]["type"]
        for description in ("long_description", "short_description"):
            for number in range(len(rows)):
                of_row = (root / kind / model / description).glob(f"{number}.*")
                (picture,) = [each for each in of_row if each.name.lower().endswith(ENDINGS)]
                found[kind, description, number] = pixels(picture)
    return found
