"""A run folder as a run would leave it, made in a second: real scenes, real segments, no model.

A drawing of skill s shows its prompt with chance s, else a corrupted one; the Judge knows the
truth and tells it with chance 0.9.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from actors.config import ProposerConfig, SolverConfig
from actors.replay.buffer import ReplayBuffer
from actors.replay.records import JudgedGroup, Judgement, Rollout
from actors.roles.judge import rejection_reason
from cluster.recipes import recipe
from evaluation import audit, grading, passes
from evaluation.best_setting import KIND
from evaluation.config import EvaluationConfig
from evaluation.kept import version_file
from evaluation.measure import summary
from evaluation.metrics import append_metrics
from evaluation.passes import found_in
from evaluation.suites import load_suite
from policies.interface import PATTERNS, Picture, PictureSampling, learned
from policies.seeds import derive, generator
from policies.tiny.world.language import CATEGORIES, corrupt, parse, sample_prompt
from policies.tiny.world.questions import analysis, judge_score
from policies.tiny.world.render import render, sample_scene
from trainer.config import RunConfig

SUITE = load_suite("tiny_world")


def small_config(folder: Path, rounds: int = 3) -> RunConfig:
    return RunConfig(
        name="aphasia-study",
        rounds=rounds,
        folder=str(folder),
        proposer=ProposerConfig(prompts=20),
        solver=SolverConfig(rollouts=8),
        evaluation=EvaluationConfig(prompts=40, scenes=10),
    )


def build(config: RunConfig, measured: int, closed: int, begun: int | None = None) -> Path:
    """Versions 0 to `measured`, rounds 1 to `closed`, and the first slice of round `begun`."""
    folder = recipe.claim_folder(config)
    for version in range(measured + 1):
        add_version(folder, config, version)
    for round_ in range(1, closed + 1):
        add_round(folder, config, round_)
    if begun is not None:
        ReplayBuffer(folder / "replay").append(begun, 0, groups(config, begun)[:4])
    return folder


def drawing(text: str, skill: float, *key: int | str) -> Picture:
    rng = generator("synthetic", *key)
    prompt = parse(text)
    shown = prompt if rng.random() < skill else corrupt(prompt, rng)[0]
    pixels = render(sample_scene(shown, rng))
    noise = rng.normal(0, 3, pixels.shape)
    return Picture(np.clip(pixels + noise, 0, 255).astype(np.uint8), np.arange(9, dtype=np.int32))


def add_version(folder: Path, config: RunConfig, version: int) -> None:
    settings = config.evaluation
    drawn = _drawn(config, 0.35 + 0.12 * version, version)
    seen = [grading.Seen(i % 10 < 9, (1.0, float(i % 4 > 0))) for i in range(settings.scenes)]
    found = {"version": version, "settings": {}, **summary(drawn, seen)}
    _keep(version_file(folder, version), found)
    append_metrics(folder, {"kind": "evaluation", "version": version, **found["values"]}, 1.0)


def add_best(folder: Path, config: RunConfig, version: int) -> None:
    """At its best setting, which is greedy for the base and another for the later ones."""
    tried = [{"temperature": t, "guidance": 1.0, "right": r}
             for t, r in zip((1.0, 0.5, 0.0), (3, 9 + version, 10), strict=True)]  # fmt: skip
    found = {
        "version": version, "settings": {},
        **summary(_drawn(config, 0.62 + 0.02 * version, version), []),
        "prompts": 20, "tried": tried, "best": tried[1 if version else 2],
    }  # fmt: skip
    _keep(version_file(folder, version, KIND), found)


def add_passes(folder: Path, config: RunConfig, version: int) -> None:
    """Three tries, of which a later version has more prompts right."""
    right = [[i % 3 == 0, i % 5 <= version, False] for i in range(config.evaluation.prompts)]
    setting = {"temperature": 0.5 + 0.1 * version, "guidance": 1.0}
    found = {"version": version, "settings": {}, **found_in(right), "k": 3, "setting": setting}
    _keep(version_file(folder, version, passes.KIND), found)


def _drawn(config: RunConfig, skill: float, version: int) -> list[grading.Drawn]:
    settings = config.evaluation
    items = [
        grading.Item(i, prompt, category, derive(config.seed, 0, "evaluator", 0, i), i < 20)
        for i, (prompt, category) in enumerate(SUITE.prompts(settings.prompts, settings.seed))
    ]
    pictures = [drawing(item.prompt, skill, "test", item.index) for item in items]
    right = [a.answer for item in items for a in SUITE.questions(item.prompt)]
    said = [a if i % 7 > 2 - version else "no" for i, a in enumerate(right)]
    return grading.grade_drawings(SUITE, items, pictures, said)


def _keep(file: Path, found: Mapping[str, object]) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(found))


def add_round(folder: Path, config: RunConfig, round_: int) -> None:
    made, buffer = groups(config, round_), ReplayBuffer(folder / "replay")
    for index in range(0, len(made), 10):
        buffer.append(round_, index // 10, made[index : index + 10])
    buffer.close_round(round_, -(-len(made) // 10))
    tally = audit.audit_groups(made, SUITE, config.judge, config.seed)
    varied = audit.diversity([group.prompt for group in made], SUITE.held_out, round_)
    append_metrics(folder, {"kind": "round", "round": round_, **tally.values(), **varied}, 1.0)
    with (folder / "train.jsonl").open("a") as file:
        for step in range(60):
            number = 60 * (round_ - 1) + step + 1
            noise = generator("loss", number).random(4)
            losses = {p: (2.2 - 0.4 * i) * (0.4 + number**-0.3) + 0.2 * float(noise[i])
                      for i, p in enumerate(PATTERNS)}  # fmt: skip
            row = {"step": number, "round": round_, "epoch": 1, "losses": losses}
            file.write(json.dumps(row) + "\n")


def groups(config: RunConfig, round_: int) -> list[JudgedGroup]:
    return [group(config, round_, index) for index in range(config.proposer.prompts)]


def group(config: RunConfig, round_: int, index: int) -> JudgedGroup:
    rng = generator("proposal", round_, index)
    prompt = sample_prompt(rng, list(CATEGORIES)[index % 10])
    skill = float(rng.random()) * 0.5 if index % 4 else 0.0
    rollouts = tuple(_rollout(prompt.text, skill, round_, index, k)
                     for k in range(config.solver.rollouts))  # fmt: skip
    return JudgedGroup(
        round=round_, index=index, category=prompt.category, subcategory=prompt.subcategory,
        prompt=prompt.text, prompt_seed=derive(0, round_, index), weight_version=round_ - 1,
        judge_version=round_ - 1, rollouts=rollouts,
        reason=rejection_reason([r.judgement for r in rollouts], config.judge.accept_at),
    )  # fmt: skip


def _rollout(text: str, skill: float, *key: int) -> Rollout:
    picture = drawing(text, skill, *key)
    rng, prompt = generator("judge", *key), parse(text)
    right = SUITE.verdict(picture.pixels, text).right
    verdicts = [True] * len(prompt.facts)
    if not right if rng.random() < 0.9 else rng.random() < 0.3:
        verdicts[int(rng.integers(len(verdicts)))] = False
    judgement = Judgement(analysis(prompt, verdicts), float(judge_score(verdicts)), 1)
    if rng.random() < 0.04:
        judgement = Judgement("", None, 3)
    return Rollout(derive("rollout", *key), PictureSampling(), learned(picture), judgement)
