"""A round of a model that calls tools, without Ray: its Solver draws, the log keeps it, all patterns are
learned from it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from actors.config import SolverConfig
from actors.replay.records import JudgedGroup, Judgement, Proposal, Rollout, Task
from actors.replay.segments import read_segment, write_segment
from actors.roles.solver import Solver
from actors.roles.templates import load_templates
from policies.interface import PATTERNS, Part
from policies.tools.calls import Call
from tests.policies.taught import TEMPLATES
from tests.policies.tools.small import SmallTools, write_folder
from tests.policies.vision_language.small import picture
from tests.trainer.small import TRAINER
from trainer.batches import Share
from trainer.config import RunConfig
from trainer.learner import Learner
from trainer.patterns import reconstruct


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> SmallTools:
    folder = tmp_path_factory.mktemp("round")
    write_folder(folder / "base", 0)
    tool = f"draw=python:tests.policies.tools.painting:fickle?mark={folder / 'calls'}"
    return SmallTools.from_pretrained(folder / "base", tools=(tool,))


def judged(policy: SmallTools, templates: Path) -> JudgedGroup:
    """Eight drawings of a prompt, of which some failed; the first that did not is the best."""
    solver = Solver(policy, SolverConfig(rollouts=8), load_templates(str(templates)))
    proposal = Proposal(0, "counting", "one kind", "two cats", 3)
    (drawings,) = solver.draw(Task(1, "solver", 0, 0), 0, [proposal])
    scores: list[float | None] = []
    for drawing in drawings:
        found = drawing.picture is not None
        scores.append((2.0 if any(scores) else 9.0) if found else None)
    assert {*scores} == {9.0, 2.0, None}
    rollouts = tuple(
        Rollout(d.seed, d.sampling, d.output, Judgement("seen" if s else "", s, 1 if s else 0))
        for d, s in zip(drawings, scores, strict=True)
    )
    return JudgedGroup(1, 0, "counting", "one kind", "two cats", 3, 0, 0, rollouts, "")


def test_what_was_drawn_by_calls_comes_out_of_the_log_and_is_learned(
    policy: SmallTools, tmp_path: Path
) -> None:
    templates = tmp_path / "templates.yaml"
    templates.write_text(TEMPLATES)
    group = judged(policy, templates)
    written = write_segment(str(tmp_path), 1, 0, [group])
    (read,) = read_segment(written)
    for ours, theirs in zip(group.rollouts, read.rollouts, strict=True):
        for one, other in zip(ours.output, theirs.output, strict=True):
            assert one.learned == other.learned
            if isinstance(one.segment, str):
                assert one == other
            else:
                assert not isinstance(other.segment, str)
                assert np.array_equal(one.segment.pixels, other.segment.pixels)
    examples = reconstruct(read, RunConfig(), load_templates(str(templates)))
    assert set(examples) == set(PATTERNS)
    best = next(r for r in group.rollouts if r.judgement.score == 9.0)
    for pattern in ("generation", "reflection"):
        parts = examples[pattern].target
        assert [p.learned for p in parts] == [p.learned for p in best.output]
    shown = examples["reflection"].context
    assert any(isinstance(s, str) and policy.layout.is_call(s) for s in shown)
    learner = Learner(policy, TRAINER)
    before = {name: array.copy() for name, array in policy.weights().items()}
    learned = learner.step({pattern: [Share((each,), 1.0)] for pattern, each in examples.items()})
    assert set(learned.losses) == set(PATTERNS) and all(map(np.isfinite, learned.losses.values()))
    assert any((before[name] != array).any() for name, array in policy.weights().items())


def test_the_losing_call_can_be_shown_beside_its_picture(policy: SmallTools) -> None:
    """And then the winner depends on it."""
    one, other = (Call("draw", prompt, 1).text() for prompt in ("a dog", "two cats"))
    winner = (Part(Call("draw", "two cats, side by side", 2).text()),)
    contexts = [("two cats", call, picture(0)) for call in (one, other)]
    first, second = policy.call_log_probs(contexts, [winner, winner])
    assert np.abs(first - second).max() > 1e-4
