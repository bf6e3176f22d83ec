"""What a run gained at each inference setting: its base and its last version, measured alone.

Invariant: prompts, seeds, slices and roles are those of the run's own measurements, so that the
scores at the run's own setting must equal those that it kept; the program ends where they do not.
`python -m benchmarks.settings runs/a runs/b [--save DIR]` takes three minutes of one core a run.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from actors.replay.records import Task
from actors.roles.judge import Judge
from actors.roles.solver import Solver
from actors.roles.templates import load_templates
from actors.weights.version_folder import VERSIONS
from cluster.recipes import recipe
from evaluation import grading
from evaluation.kept import read_all
from evaluation.paired import gain, over_seeds
from evaluation.selection import (
    FIRST_TASK,
    best,
    fixed_sampling,
    inference_settings,
    selection_prompts,
)  # fmt: skip
from evaluation.suites import load_suite
from policies.config import changed
from policies.interface import Picture, PictureSampling
from policies.registry import load_policy
from trainer.config import RunConfig

Found = dict[str, Any]
Outcomes = dict[str, list[float]]
KEY = "unicycle/hard"
SHOWN = {"drawing/all_right": "drawing all right", KEY: "UniCycle Hard"}


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--save", type=Path, default=Path("settings"), help="found so far, and new")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.save.mkdir(exist_ok=True)
    found = [kept(run, options.save / f"{run.name}.json") for run in options.runs]
    for key, name in SHOWN.items():
        print(f"\n{name}, %\n")
        print("\n".join(table(found, key)))
    print("\nselection prompts all right: base, last\n")
    print("\n".join(chosen(found)))


def kept(run: Path, file: Path) -> Found:
    """What was measured of `run`; what `file` does not hold yet is measured and written there."""
    config, own = recipe.load_folder(run), read_all(run)
    settings = inference_settings(config)
    found: Found = {"run": run.name, "settings": list(map(_named, settings)), "sides": {}}
    if file.exists():
        found = json.loads(file.read_text())
    for side, number in (("base", 0), ("last", max(own))):
        cells = found["sides"].setdefault(side, [])
        if len(cells) == len(settings) and KEY in cells[best(_right(cells))]["outcomes"]:
            continue
        version = Version(config, number, run)
        for how in settings[len(cells) :]:
            known = own[number]["outcomes"] if how == version.fixed else None
            cells.append(
                {"right": version.selection(how), "outcomes": version.measured(how, known)}
            )
            file.write_text(json.dumps(found))
        place = best(_right(cells))
        cells[place]["outcomes"] = version.outcomes(settings[place], asked=True)
        file.write_text(json.dumps(found))
    return found


class Version:
    """One weight version in the Solver's and the Judge's role."""

    def __init__(self, config: RunConfig, number: int, run: Path) -> None:
        self.config, self.number = config, number
        self.fixed = fixed_sampling(config)
        self.suite = load_suite(config.evaluation.suite)
        path = str(run / VERSIONS / f"{number:05d}") if number else config.policy.path
        policy = load_policy(changed(config.policy, path=path))
        policy.sample_on("cpu", "float32")
        templates = load_templates(config.actors.templates)
        self.solver = Solver(policy, config.solver, templates)
        self.judge = Judge(policy, config.judge, templates)
        own = config.evaluation
        self.prompts = [text for text, _ in self.suite.prompts(own.prompts, own.seed)]
        self.others = selection_prompts(self.suite, own)

    def selection(self, how: PictureSampling) -> int:
        """How many drawings of the selection prompts are right."""
        slices = self.drawn(self.others, how, FIRST_TASK)
        return sum(self.suite.verdict(p.pixels, text).right for _, texts, pictures in slices
                   for p, text in zip(pictures, texts, strict=True))  # fmt: skip

    def measured(self, how: PictureSampling, known: Outcomes | None) -> Outcomes:
        """The outcomes on the measured prompts, which must be those that the run found, if it did."""
        found = self.outcomes(how, asked=known is not None)
        if known and any(found[key] != known[key] for key in found):
            raise SystemExit(f"v{self.number} at {_named(how)} is not as the run measured it")
        print(
            f"v{self.number} at {_named(how)}: {_mean(found['drawing/all_right']):.1f}", flush=True
        )
        return found

    def outcomes(self, how: PictureSampling, asked: bool) -> Outcomes:
        """With UniCycle's if `asked`, which costs as much again."""
        drawn = []
        for task, texts, pictures in self.drawn(self.prompts, how, 0):
            items = [grading.Item(0, text, "", 0, False) for text in texts]
            questions = grading.asked_about(self.suite, texts, pictures)
            answers = [""] * len(questions)
            if asked:
                answers = self.judge.answer(task, self.config.seed, questions)
            drawn += grading.grade_drawings(self.suite, items, pictures, answers)
        found = grading.outcomes(drawn, []).items()
        return {key: [round(x, 4) for x in each] for key, each in found
                if each and (asked or key.startswith("drawing/"))}  # fmt: skip

    def drawn(
        self, prompts: Sequence[str], how: PictureSampling, first: int
    ) -> Iterator[tuple[Task, list[str], list[Picture]]]:
        """Slice by slice, as the run's own tasks."""
        size = self.config.evaluation.prompts_per_task
        for at in range(0, len(prompts), size):
            task = Task(0, "evaluator", first + at // size, self.number)
            texts = list(prompts[at : at + size])
            yield task, texts, self.solver.draw_each(task, self.config.seed, texts, how)


def table(found: Sequence[Found], key: str) -> Iterator[str]:
    """One row a setting, and one for each version's best. The mean over the runs is paired by
    prompt: its interval is that of the prompts alone, and the gains' spread is that of the runs."""
    yield _cells(["temperature", *(each["run"] for each in found), "mean", "least to most"])
    yield "|---" * (len(found) + 3) + "|"
    for i, name in enumerate(found[0]["settings"]):
        ends = [(each["sides"]["base"][i], each["sides"]["last"][i]) for each in found]
        if all(key in end["outcomes"] for pair in ends for end in pair):
            yield _row(name, ends, key)
    yield _row("**best of each**", [(_best(e["sides"]["base"]), _best(e["sides"]["last"]))
                                    for e in found], key)  # fmt: skip


def _row(name: str, ends: Sequence[tuple[Found, Found]], key: str) -> str:
    pairs = [(was["outcomes"][key], now["outcomes"][key]) for was, now in ends]
    gains = [100 * gain(was, now)[0] for was, now in pairs]
    whole = [over_seeds(side) for side in zip(*pairs, strict=True)]
    return _cells([name, *(_change(*pair) for pair in pairs), _change(*whole),
                   f"{min(gains):+.1f} to {max(gains):+.1f}"])  # fmt: skip


def chosen(found: Sequence[Found]) -> Iterator[str]:
    yield _cells(["temperature", *(each["run"] for each in found)])
    yield "|---" * (len(found) + 1) + "|"
    for i, name in enumerate(found[0]["settings"]):
        sides = [[each["sides"][side][i]["right"] for side in ("base", "last")] for each in found]
        yield _cells([name, *(f"{was}, {now}" for was, now in sides)])


def _best(cells: list[Found]) -> Found:
    return cells[best(_right(cells))]


def _right(cells: list[Found]) -> list[int]:
    return [cell["right"] for cell in cells]


def _named(how: PictureSampling) -> str:
    return f"{how.temperature:g}" + (f", guidance {how.guidance:g}" if how.guidance != 1 else "")


def _cells(texts: Sequence[str]) -> str:
    return f"| {' | '.join(texts)} |"


def _mean(values: Sequence[float]) -> float:
    return 100 * sum(values) / len(values)


def _change(was: Sequence[float], now: Sequence[float]) -> str:
    change, half = gain(was, now)
    return f"{_mean(was):.1f} → {_mean(now):.1f}, {100 * change:+.1f} ± {100 * half:.1f}"


if __name__ == "__main__":
    main()
