"""The roles without Ray: what they ask, what they read, and that nothing but the task decides."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from actors.category_shares import CategoryShares
from actors.config import JudgeConfig, ProposerConfig, SolverConfig
from actors.replay.records import Drawing, JudgedGroup, Judgement, Proposal, Task
from actors.roles.judge import Judge, combine, rejection_reason
from actors.roles.proposer import Proposer
from actors.roles.solver import Solver
from actors.roles.templates import load_templates
from policies.interface import Example, Part, Picture, PictureSampling, learned
from policies.seeds import generator
from policies.tiny.policy import TinyPolicy
from policies.tiny.vision import VisionConfig

torch.set_num_threads(1)
TINY = load_templates("tiny")
TOPICS = TINY.topics(140, CategoryShares())
PROMPTS = ("a red circle", "two blue stars", "a star above a circle", "three red stars")
WORDS = sorted({
    *"a two three red blue circle star stars above propose , . like rate judge describe answer ?".split(),
    *"what color good bad half and".split(),
    *(word for name, of in TINY.categories.items() for text in (name, *of.subcategories)
      for word in text.split()),
})  # fmt: skip
VISION = VisionConfig(size=16, levels=(5, 4, 3), channels=(8, 16, 16), blocks=1)
BROKEN = '{"score": '
ANALYSES = (("good", 9), ("half", 6), ("bad", 2))


def untrained(seed: int = 0) -> TinyPolicy:
    return TinyPolicy.create(
        WORDS, seed, VISION, hidden_size=32, layers=2, heads=2, kv_heads=1, head_dim=16,
        intermediate_size=64, max_positions=96,
    )  # fmt: skip


def lesson(rng: np.random.Generator) -> Example:
    """Something to say in a role; now and then it is broken off."""
    number, category, kind = TOPICS[int(rng.integers(60))][:3]
    prompt, kind_of = str(rng.choice(PROMPTS)), int(rng.integers(3))
    picture = Picture(np.zeros((0, 0, 3), np.uint8), rng.integers(60, size=4).astype(np.int32))
    if kind_of == 0:
        context = TINY.propose(category, kind, [*PROMPTS][: int(rng.integers(3))])
        said = {"major_category": category, "subcategory": kind, "prompt": prompt}
    elif kind_of == 1:
        context, said = TINY.rate(prompt), {"score": 5 + number % 5}
    else:
        analysis, score = ANALYSES[int(rng.integers(3))]
        context = TINY.judge(category, prompt, picture)
        said = {"analysis": analysis, "score": score}
    return Example(context, learned(BROKEN if rng.random() < 0.25 else json.dumps(said)), "caption")


@pytest.fixture(scope="module")
def pupil() -> TinyPolicy:
    """A real policy that has learned to answer: well, mostly, and in more than one way."""
    policy, rng = untrained(), generator("pupil")
    adam = torch.optim.AdamW(policy.module.parameters(), lr=1e-2)
    for _ in range(120):
        loss = policy.loss([lesson(rng) for _ in range(16)])["text"]
        (loss.total / loss.count).backward()
        adam.step()
        adam.zero_grad()
    policy.module.requires_grad_(False)
    return policy


def proposals(count: int = 3) -> list[Proposal]:
    return [Proposal(i, "counting", "one kind", PROMPTS[i % 4], seed=i) for i in range(count)]


def fingerprint(value: Any) -> str:
    """The same for equal records, whichever process made them."""
    return hashlib.sha256(repr(_plain(value)).encode()).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return str(value.dtype), value.shape, value.tobytes()
    if is_dataclass(value):
        return [(field.name, _plain(getattr(value, field.name))) for field in fields(value)]
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value


def everything(policy: TinyPolicy, index: int = 2) -> dict[str, str]:
    """One task of every kind, as fingerprints."""
    proposer = Proposer(policy, ProposerConfig(temperature=1.0), TINY)
    solver = Solver(
        policy, SolverConfig(rollouts=3, temperatures=(1.0, 0.7), guidance=(1.0, 2.0)), TINY
    )
    judge = Judge(policy, JudgeConfig(votes=2, temperature=1.0, max_tokens=16), TINY)
    topics = TOPICS[:12]
    drawings = solver.draw(Task(1, "solver", index, 4), 5, proposals())
    task = Task(1, "judge", index, 4)
    made = {
        "propose": proposer.propose(Task(1, "proposer", index, 4), 5, topics, {"counting": ["a"]}),
        "draw": drawings,
        "judge": judge.judge(task, 5, proposals(), drawings),
        "rate": judge.rate(task, 5, PROMPTS),
        "answer": judge.answer(task, 5, [(drawings[0][0].picture, "what color ?")]),
        "caption": judge.caption(task, 5, [drawings[0][0].picture]),
        "draw_each": solver.draw_each(task, 5, PROMPTS, PictureSampling(0.5)),
    }
    return {name: fingerprint(value) for name, value in made.items()}


def test_the_same_task_gives_the_same_records_here_and_in_another_process(
    pupil: TinyPolicy, tmp_path: Path
) -> None:
    pupil.save_pretrained(tmp_path)
    here = everything(pupil)
    assert everything(pupil) == here
    code = (
        "import json, runpy, sys; m = runpy.run_path(sys.argv[1]); "
        "print(json.dumps(m['everything'](m['TinyPolicy'].from_pretrained(sys.argv[2]))))"
    )
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-c", code, __file__, str(tmp_path)],
        cwd=root, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == here


def test_a_slice_does_not_depend_on_other_slices(pupil: TinyPolicy) -> None:
    alone = everything(pupil, index=7)
    torch.manual_seed(99)
    other = everything(pupil, index=1)
    assert everything(pupil, index=7) == alone
    assert all(other[name] != alone[name] for name in ("propose", "draw", "judge"))


def test_every_part_of_a_task_but_its_version_decides(pupil: TinyPolicy) -> None:
    solver = Solver(pupil, SolverConfig(rollouts=2), TINY)
    tasks = [Task(1, "solver", 0, 0), Task(2, "solver", 0, 0), Task(1, "solver", 1, 0),
             Task(1, "evaluator", 0, 0)]  # fmt: skip
    drawn = [solver.draw(task, seed, proposals(1)) for task in tasks for seed in (0, 1)]
    seeds = [drawing.seed for groups in drawn for group in groups for drawing in group]
    assert len(set(seeds)) == 4 * 2 * 2
    again = solver.draw(Task(1, "solver", 0, 9), 0, proposals(1))
    assert [d.seed for d in again[0]] == seeds[:2] and again[0][0].version == 9


def test_the_proposer_gives_what_was_asked_for_or_none(pupil: TinyPolicy) -> None:
    topics = TOPICS[100:140]
    task = Task(1, "proposer", 0, 0)
    once = Proposer(pupil, ProposerConfig(attempts=1), TINY).propose(task, 3, topics, {})
    more = Proposer(pupil, ProposerConfig(attempts=4), TINY).propose(task, 3, topics, {})
    assert 0 < sum(p is None for p in once) < 40
    assert sum(p is None for p in more) < sum(p is None for p in once)
    for request, first, last in zip(topics, once, more, strict=True):
        assert first is None or first == last
        if last is not None:
            assert (last.index, last.category) == request[:2]
    seeds = [p.seed for p in more if p is not None]
    assert len(set(seeds)) == len(seeds)


def test_the_proposer_shows_the_demonstrations_of_the_category(pupil: TinyPolicy) -> None:
    proposer = Proposer(pupil, ProposerConfig(demonstrations=1, temperature=0.0), TINY)
    task, topics = Task(1, "proposer", 0, 0), [TOPICS[9], TOPICS[0]]
    plain = proposer.propose(task, 0, topics, {})
    assert plain == proposer.propose(task, 0, topics, {"portrait": ["a star"]})
    shown = {"counting": ["a star", "not a known word, and not shown"]}
    assert plain[1:] == proposer.propose(task, 0, topics, shown)[1:]


def test_rollouts_take_turns_through_temperatures_and_guidance(pupil: TinyPolicy) -> None:
    config = SolverConfig(rollouts=4, temperatures=(1.0, 0.5), guidance=(1.0, 2.0, 3.0))
    groups = Solver(pupil, config, TINY).draw(Task(1, "solver", 0, 2), 0, proposals(2))
    assert [len(group) for group in groups] == [4, 4]
    for group in groups:
        assert [(d.temperature, d.guidance) for d in group] == [
            (1.0, 1.0), (0.5, 2.0), (1.0, 3.0), (0.5, 1.0)
        ]  # fmt: skip
        assert len({d.picture.pixels.tobytes() for d in group}) > 1
    pictures = Solver(pupil, config, TINY).draw_each(
        Task(0, "evaluator", 0, 2), 0, PROMPTS, PictureSampling()
    )
    assert [p.pixels.shape for p in pictures] == [(16, 16, 3)] * 4


def judged(policy: TinyPolicy, **config: Any) -> tuple[list[list[Drawing]], list[JudgedGroup]]:
    solver = Solver(policy, SolverConfig(rollouts=4), TINY)
    drawings = solver.draw(Task(1, "solver", 0, 6), 0, proposals(6))
    judge = Judge(policy, JudgeConfig(**{"temperature": 1.0, "max_tokens": 16, **config}), TINY)
    return drawings, judge.judge(Task(1, "judge", 0, 0), 0, proposals(6), drawings)


def test_judged_groups_say_who_drew_and_who_judged(pupil: TinyPolicy) -> None:
    drawings, groups = judged(pupil)
    assert [group.prompt for group in groups] == [p.prompt for p in proposals(6)]
    for proposal, group, own in zip(proposals(6), groups, drawings, strict=True):
        assert (group.round, group.index, group.prompt_seed) == (1, proposal.index, proposal.seed)
        assert (group.weight_version, group.judge_version, group.external) == (6, 0, "")
        assert [r.picture for r in group.rollouts] == [d.picture for d in own]
        assert [r.seed for r in group.rollouts] == [d.seed for d in own]


def test_a_drawing_that_failed_is_not_judged_and_has_no_score(pupil: TinyPolicy) -> None:
    drawings, plain = judged(pupil)
    failed = replace(drawings[1][2], output=(Part("red", learned=True),))
    changed = [[failed if d is drawings[1][2] else d for d in group] for group in drawings]
    judge = Judge(pupil, JudgeConfig(temperature=1.0, max_tokens=16), TINY)
    groups = judge.judge(Task(1, "judge", 0, 0), 0, proposals(6), changed)
    assert groups[1].rollouts[2].judgement == Judgement("", None, 0)
    assert groups[1].rollouts[2].picture is None and 2 not in groups[1].ranked()
    assert all(len(group.rollouts) == 4 for group in groups)
    assert groups[0].rollouts == plain[0].rollouts


def test_a_group_is_accepted_for_its_best_score(pupil: TinyPolicy) -> None:
    _, groups = judged(pupil, accept_at=9.0)
    for group in groups:
        best = max(r.judgement.score for r in group.rollouts if r.judgement.score is not None)
        assert group.accepted == (best >= 9)
        assert group.reason == ("" if best >= 9 else f"best score {best:g} is under 9")
    assert any(group.accepted for group in groups)


def test_unparsable_judgements_are_asked_again_and_then_recorded(pupil: TinyPolicy) -> None:
    def judgements(groups: list[JudgedGroup]) -> list[Judgement]:
        return [r.judgement for group in groups for r in group.rollouts]

    once = judgements(judged(pupil, attempts=1)[1])
    more = judgements(judged(pupil, attempts=6)[1])
    lost = [j for j in once if j.score is None]
    assert lost and all(j == Judgement("", None, 1) for j in lost)
    assert sum(j.score is None for j in more) < len(lost)
    for first, last in zip(once, more, strict=True):
        assert first.score is None or first == last
        assert (last.attempts > 1) == (first.score is None)
    hopeless = judged(untrained(), attempts=2, votes=3)[1]
    assert {g.reason for g in hopeless} == {"no judgement could be parsed"}
    assert {j.attempts for j in judgements(hopeless)} == {6}


def test_votes_are_averaged_over_what_was_read(pupil: TinyPolicy) -> None:
    scores = [r.judgement.score for g in judged(pupil, votes=4)[1] for r in g.rollouts]
    assert any(score is not None and score != int(score) for score in scores)
    first, second, third = Judgement("a", 4.0, 1), Judgement("b", 8.0, 1), Judgement("c", 6.0, 1)
    assert combine([(first, 1), (second, 2), (None, 3)]) == Judgement("a", 6.0, 6)
    assert combine([(first, 1), (third, 1), (second, 1)]) == Judgement("c", 6.0, 3)
    assert combine([(None, 3), (None, 3)]) == Judgement("", None, 6)


def test_the_reason_of_a_rejection_is_a_short_sentence() -> None:
    scored = [Judgement("x", 4.0, 1), Judgement("", None, 3), Judgement("y", 3.5, 1)]
    assert rejection_reason(scored, 7.0) == "best score 4 is under 7"
    assert rejection_reason(scored, 4.0) == ""
    assert rejection_reason(scored[2:], 7.0) == "best score 3.5 is under 7"
    assert rejection_reason(scored[1:2], 0.0) == "no judgement could be parsed"


def test_ratings_answers_and_captions_come_one_a_row(pupil: TinyPolicy) -> None:
    judge = Judge(pupil, JudgeConfig(temperature=0.0, attempts=4, max_tokens=16), TINY)
    task = Task(1, "judge", 0, 0)
    ratings = judge.rate(task, 0, PROMPTS)
    assert len(ratings) == 4 and any(r is not None and 5 <= r <= 9 for r in ratings)
    picture = Solver(pupil, SolverConfig(), TINY).draw_each(
        task, 0, PROMPTS[:1], PictureSampling()
    )[0]
    assert len(judge.answer(task, 0, [(picture, "what color ?"), (picture, "a star ?")])) == 2
    assert len(judge.caption(task, 0, [picture] * 3)) == 3
    assert judge.rate(task, 0, []) == [] and judge.caption(task, 0, []) == []
    assert judge.judge(task, 0, [], []) == []
