"""A tiny model that can play its roles: taught by heart to propose, to rate and to judge.

What it says of a drawing follows from the prompt and chance, not from the drawing: it is here to
send a whole round through real processes, not to draw well.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from actors.roles.templates import Templates
from policies.config import PolicyConfig
from policies.interface import Example, Picture, PictureSampling, Policy, last_picture, learned
from policies.registry import policy_class
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


def lessons(
    templates: Templates, categories: int, drawings: Sequence[Picture], step: int
) -> tuple[list[Example], list[Example]]:
    """A proposal of each of the first categories, and two judgements of each of these prompts, each time
    of another drawing: which it is to be, is a coin."""
    proposals, judgements = [], []
    for place, (category, of) in enumerate(list(templates.categories.items())[:categories]):
        kind, prompt = of.subcategories[0], f"a {category}"
        told = {"major_category": category, "subcategory": kind, "prompt": prompt}
        context = templates.propose(category, kind, ())
        proposals.append(Example(context, learned(json.dumps(told)), "caption"))
        shown = drawings[(step * categories + place) % len(drawings)]
        question = templates.judge(category, prompt, shown)
        judgements += [Example(question, learned(told), "judgement") for told in JUDGEMENTS]
    return proposals, judgements


def drawn(policy: Policy, templates: Templates) -> list[Picture]:
    """What it draws before it learns, for what it writes must not follow from a drawing's every point."""
    prompts = [f"a {category}" for category in templates.categories] * 4
    outputs = policy.draw([(each,) for each in prompts], [PictureSampling()] * len(prompts),
                          range(len(prompts)))  # fmt: skip
    return [picture for each in outputs if (picture := last_picture(each)) is not None]


def own_policy(family: str, folder: Path) -> Policy:
    found: Any = policy_class(PolicyConfig(family=family))
    policy: Policy = found.from_pretrained(folder, **OPTIONS.get(family, {}))
    return policy


def taught_folder(family: str, folder: Path, templates: Templates, categories: int) -> Path:
    """Writes the checkpoint."""
    WRITERS[family](folder)
    policy = own_policy(family, folder)
    optimizer = torch.optim.AdamW(policy.module.parameters(), lr=3e-3, weight_decay=0.0)
    drawings = drawn(policy, templates)
    for step in range(MOST_STEPS):
        means = []
        for examples in lessons(templates, categories, drawings, step):
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
