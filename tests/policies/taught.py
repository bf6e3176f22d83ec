"""A tiny model that can play its roles: taught by heart to propose, to rate and to judge.

What it says of a drawing follows from the prompt and chance, not from the drawing: it is here to
send a whole round through real processes, not to draw well.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from actors.roles.templates import Templates
from policies.config import PolicyConfig
from policies.interface import Example, Picture, Policy, learned
from policies.registry import policy_class
from policies.seeds import generator
from tests.policies import janus, showo
from tests.policies.bagel import small as bagel
from tests.policies.chameleon import small as chameleon
from tests.policies.emu3 import small as emu3
from tests.policies.external import small as external
from tests.policies.showo2 import small as showo2
from tests.policies.tools import small as tools

TEMPLATES = """\
propose: [["propose $category, $subcategory$demonstrations"]]
rate: [["rate $prompt"]]
judge: [["judge $prompt", $picture]]
caption: [[$picture, describe]]
answer: [[$picture, $question]]
draw: [[$prompt]]
reflection: [[$prompt, $picture, $judgement]]
demonstrations: {before: " like ", between: ", "}
"""
JUDGEMENTS = tuple(
    json.dumps({"analysis": analysis, "score": score})
    for analysis, score in (("all is right", 9), ("all is wrong", 2))
)
MOST_STEPS = 400
SIZE = 32
WRITERS: dict[str, Callable[[Path], object]] = {
    "janus": janus.tiny_folder,
    "bagel": lambda folder: bagel.write_folder(folder, 0),
    "chameleon": lambda folder: chameleon.write_folder(folder, 0),
    "showo": showo.write_folder,
    "emu3": lambda folder: emu3.write_folder(folder, 0),
    "external": lambda folder: external.write_roomy_folder(folder, 0),
    "showo2": lambda folder: showo2.write_folder(folder, 0),
    "tools": lambda folder: tools.write_folder(folder, 0),
}
"""What writes a folder of each family with random weights."""
OPTIONS: dict[str, dict[str, Any]] = {
    "tools": {"tools": tools.TOOLS, "call_tokens": tools.CALL_TOKENS}
}
"""What a family must be told beside its folder."""


def lessons(templates: Templates, categories: int) -> tuple[list[Example], list[Example]]:
    """A proposal of each of the first categories, and two judgements of each of these prompts:
    which it is to be, is a coin."""
    proposals, judgements = [], []
    chance = generator("lessons")
    for category, of in list(templates.categories.items())[:categories]:
        kind, prompt = of.subcategories[0], f"a {category}"
        told = {"major_category": category, "subcategory": kind, "prompt": prompt}
        context = templates.propose(category, kind, ())
        proposals.append(Example(context, learned(json.dumps(told)), "caption"))
        pixels = chance.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
        question = templates.judge(category, prompt, Picture(pixels))
        judgements += [Example(question, learned(told), "judgement") for told in JUDGEMENTS]
    return proposals, judgements


def own_policy(family: str, folder: Path) -> Policy:
    found: Any = policy_class(PolicyConfig(family=family))
    policy: Policy = found.from_pretrained(folder, **OPTIONS.get(family, {}))
    return policy


def taught_folder(family: str, folder: Path, templates: Templates, categories: int) -> Path:
    """Writes the checkpoint."""
    WRITERS[family](folder)
    policy = own_policy(family, folder)
    optimizer = torch.optim.AdamW(policy.module.parameters(), lr=3e-3, weight_decay=0.0)
    for _ in range(MOST_STEPS):
        means = []
        for examples in lessons(templates, categories):
            (part,) = policy.loss(examples).values()
            means.append(part.total / part.count)
        # A judgement is a coin of two: 0.7 nats of its 42 tokens cannot be known.
        if means[0].item() < 0.005 and means[1].item() < 0.03:
            policy.save_pretrained(folder)
            return folder
        optimizer.zero_grad()
        sum(means).backward()
        optimizer.step()
    raise AssertionError(f"not learned by heart within {MOST_STEPS} steps: {means}")
