"""It proposes, draws and judges by the instructions of a real model, and learns all four patterns."""

from __future__ import annotations

import pytest

from actors.replay.records import JudgedGroup, Judgement, Rollout
from actors.roles.templates import load_templates
from policies.external.policy import ExternalPolicy
from policies.interface import (
    PATTERNS,
    Example,
    Pattern,
    PictureSampling,
    TextSampling,
    last_picture,
)
from tests.policies.external.small import write_roomy_folder
from trainer.config import ReconstructionConfig, RunConfig
from trainer.patterns import reconstruct

PROMPT = "Three red circles above a blue square"


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> ExternalPolicy:
    folder = tmp_path_factory.mktemp("external")
    write_roomy_folder(folder, 0)
    return ExternalPolicy.from_pretrained(folder)


@pytest.fixture(scope="module")
def lessons(policy: ExternalPolicy) -> dict[Pattern, Example]:
    """Of two drawings of its own."""
    templates = load_templates("json")
    how = [PictureSampling(guidance=g) for g in (1.0, 3.0)]
    drawn = policy.draw([templates.draw(PROMPT)] * 2, how, [0, 1])
    judged = (Judgement("as asked", 9.0, 1), Judgement("two are green", 2.0, 1))
    rollouts = tuple(
        Rollout(k, *each) for k, each in enumerate(zip(how, drawn, judged, strict=True))
    )
    group = JudgedGroup(1, 0, "counting", "one kind", PROMPT, 0, 0, 0, rollouts, "")
    rules = ReconstructionConfig(reflection_judgement=True)
    return reconstruct(group, RunConfig(reconstruction=rules), templates)


def test_every_role_reads_its_instructions_and_answers(policy: ExternalPolicy) -> None:
    templates = load_templates("json")
    category = next(iter(templates.categories))
    (drawing,) = policy.draw([templates.draw(PROMPT)], [PictureSampling()], [3])
    picture = last_picture(drawing)
    assert picture is not None
    asked = [
        templates.propose(category, "one kind", ["A red circle"] * 3),
        templates.judge(category, PROMPT, picture),
        templates.caption(picture),
    ]
    texts = policy.write(asked, [TextSampling(max_tokens=4)] * 3, range(3))
    assert [type(text) for text in texts] == [str] * 3
    said = '{"prompt": "A cat, näive & \'quoted\' — 猫 → ≈ 2", "score": 7}\n'
    assert policy.text_of(policy.chat.answer(said)) == said


def test_all_four_patterns_become_examples(
    policy: ExternalPolicy, lessons: dict[Pattern, Example]
) -> None:
    assert lessons.keys() == set(PATTERNS)
    for pattern, example in lessons.items():
        (kind,) = policy.target_counts([example])
        assert kind == ("latents" if pattern in ("generation", "reflection") else "text")
        term = policy.loss([example])[kind]
        assert term.total.isfinite() and term.total > 0
        assert policy.lengths([example])[0] > term.count * (kind == "text")
    (shown,) = (part.segment for part in lessons["generation"].target)
    assert not isinstance(shown, str) and shown.latents is not None
