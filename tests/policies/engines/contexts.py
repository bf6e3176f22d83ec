"""What the roles of a run would ask the base model."""

from __future__ import annotations

import numpy as np

from actors.roles.templates import load_templates
from evaluation.suites import load_suite
from policies.interface import Context, Picture, PictureSampling, Policy, last_picture

TEMPLATES = load_templates("tiny")
PROMPTS = tuple(load_suite("tiny_world").prompts(40, 3))


def proposing() -> list[Context]:
    shown = [prompt for prompt, _ in PROMPTS]
    topics = [
        (category, kind)
        for category, of in TEMPLATES.categories.items()
        for kind in of.subcategories
    ]
    return [
        TEMPLATES.propose(category, kind, shown[i : i + 2])
        for i, (category, kind) in enumerate(topics)
    ]


def drawing(count: int = 40) -> list[Context]:
    return [TEMPLATES.draw(prompt) for prompt, _ in PROMPTS[:count]]


def judging(policy: Policy) -> list[Context]:
    made = pictures(policy)
    return [
        TEMPLATES.judge(category, prompt, picture)
        for (prompt, category), picture in zip(PROMPTS, made, strict=True)
    ]


def pictures(policy: Policy) -> list[Picture]:
    how = [PictureSampling(temperature=0.6, guidance=2.0)] * len(PROMPTS)
    outputs = policy.draw(drawing(), how, range(len(PROMPTS)))
    return [picture for each in outputs if (picture := last_picture(each))]


def codes(policy: Policy, contexts: list[Context], how: PictureSampling) -> np.ndarray:
    """Of a drawing of each context."""
    outputs = policy.draw(contexts, [how] * len(contexts), range(len(contexts)))
    return np.stack([picture.codes for each in outputs if (picture := last_picture(each))])
