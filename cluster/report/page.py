"""The report of a run: one page that shows what happened, made from the run folder alone.

Invariant: the page is self-contained (no outside script, style, font or picture), every text on
it is escaped, and it can be made at any time of a run, again and again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from actors.storage import storage
from actors.storage.paths import StoragePath, parse_path
from cluster.recipes import recipe
from cluster.report import charts, gains, task_section
from cluster.report import view as report_view
from cluster.report.data import REFUSED_SHOWN, Round, Run, read_run
from cluster.report.groups import Card, card
from cluster.report.template import filled
from cluster.report.troubles import troubles
from evaluation.suites import Suite, load_suite

FILE = "report.html"
EMPTY: Mapping[str, Mapping[str, float]] = {"values": {}}
"""Of what was not measured."""


@dataclass(frozen=True)
class RoundView:
    number: int
    summary: str
    groups: list[Card]


def write(folder: str | StoragePath) -> StoragePath:
    """Makes `report.html` in the run folder, and the pages of its tasks that it leads to. Raises ConfigError for a folder without a run."""
    run = read_run(parse_path(folder))
    suite = load_suite(run.config.evaluation.suite)
    task_section.write_pages(run)
    path = parse_path(folder) / FILE
    storage.write(path, render(run, suite).encode())
    return path


def render(run: Run, suite: Suite) -> str:
    return filled(FILE, _page(run, suite))


def _page(run: Run, suite: Suite) -> dict[str, Any]:
    strips, more_strips = report_view.strips(run)
    lost = troubles(run.folder)
    measured = [(version, each["values"] | run.twins.get(version, EMPTY)["values"])
                for version, each in run.evaluations.items()]  # fmt: skip
    audited = [(row["round"], row) for row in run.audits]
    rejected = sum((each.rejected for each in run.rounds), Counter[str]())
    return {
        "title": run.config.name,
        "lead": _lead(run, suite),
        "facts": _facts(run, suite),
        "numbers": report_view.numbers(run),
        "fixed_setting": gains.fixed_setting(run),
        "tried": gains.tried(run),
        "tried_of": [f"v{each['version']}" for each in gains.at_best(run)],
        "new_prompts": gains.new_prompts(run),
        "plots": report_view.at_best(run) + report_view.plots(measured, audited),
        "tasks": task_section.sections(run),
        "categories": report_view.categories(run),
        "span": report_view.span(run),
        "losses": report_view.losses(run),
        "strips": strips,
        "more_strips": more_strips,
        "rounds": [
            _round(each, run.fates.get(each.number, {}), suite) for each in run.rounds if each.shown
        ],
        "reasons": charts.bars(rejected.most_common(12)) if rejected else None,
        "refused": _refused(run, suite),
        "troubles": lost,
        "trouble_bars": charts.bars(lost.counts) if lost.counts else None,
        "glossary": GLOSSARY,
        "config": recipe.dump(run.config),
    }


def _lead(run: Run, suite: Suite) -> str:
    """The whole run in two or three sentences."""
    if not suite.categories:
        told = f"measured by {', '.join(run.tasks)}" if run.tasks else "not measured"
        return f"No evaluation suite was set for this run: what it draws is {told}."
    if not run.evaluations:
        return "This run has just begun: nothing has been measured yet."
    if len(run.evaluations) == 1:
        return gains.only(run)
    newest = max(run.evaluations)
    rounds = [each for each in run.rounds if each.number <= newest]
    groups = sum(each.groups for each in rounds)
    helpers = sorted({name for each in rounds for name in each.helpers})
    help_ = f"the outside help of {', '.join(helpers)}" if helpers else "no outside help"
    return gains.sentences(
        run,
        f"After {newest} {_plural(newest, 'round')} of teaching itself, from {groups} prompts of "
        f"its own and {help_}",
    )


def _facts(run: Run, suite: Suite) -> list[tuple[str, str]]:
    config, newest = run.config, max(run.evaluations, default=0)
    own = config.evaluation
    measured_by = f"{own.suite}, {own.prompts} prompts, seed {own.seed}"
    return [
        ("measured", f"v{newest} of v{config.rounds}" if run.evaluations else "nothing yet"),
        ("policy", f"{config.policy.family}, {config.policy.path}"),
        ("seed", str(config.seed)),
        ("lag", str(config.lag)),
        ("rollouts a prompt", str(config.solver.rollouts)),
        ("accepted at", f"{config.judge.accept_at:g} of 10"),
        ("suite", measured_by if suite.categories else own.suite),
        *([("tasks", ", ".join(run.tasks))] if run.tasks else []),
    ]  # fmt: skip


def _round(each: Round, fates: Mapping[str, float], suite: Suite) -> RoundView:
    facts = [f"{each.accepted} of {each.groups} groups accepted"]
    if fates:
        told = ", ".join(f"{count:g} {fate}" for fate, count in sorted(fates.items()))
        facts.insert(0, f"{sum(fates.values()):g} prompts written ({told})")
    if each.filtered:
        told = ", ".join(f"{count} by {name}" for name, count in sorted(each.filtered.items()))
        facts.append(f"drawings left out: {told}")
    if each.repeated:
        facts.append(f"{each.repeated} {_plural(each.repeated, 'winner')} left out as repeated")
    if each.taught is None:
        facts.append("in progress")
    else:
        facts.append(f"{each.taught.total()} examples learned")
    cards = [card(shown.group, shown.examples, each.taught, suite) for shown in each.shown]
    return RoundView(each.number, " · ".join(facts), cards)


def _refused(run: Run, suite: Suite) -> list[Card]:
    """One group a reason, from the latest round that has it."""
    latest = {kind: group for each in run.rounds for kind, group in each.refused.items()}
    return [card(group, {}, None, suite) for group in list(latest.values())[:REFUSED_SHOWN]]


def _plural(count: int, noun: str) -> str:
    return noun if count == 1 else f"{noun}s"


GLOSSARY = (
    ("all right", "everything that the prompt asks for is in the drawing, by the oracle"),
    ("soft", "the share of what the prompt asks for that is in the drawing"),
    ("UniCycle", "the model draws a prompt, then answers questions about its own drawing: Soft is "
                 "the mean mark of a prompt's questions, Hard is 1 where all marks are 1"),
    ("captions, questions right", "the model reads scenes that are right by construction"),
    ("agreement", "drawings on which the Judge (score at or above the bar) and the oracle (all "
                  "right) say the same, of all that were scored"),
    ("accepted winners right", "best drawings of accepted groups that the oracle finds all right: "
                               "the quality of what is learned from"),
    ("distinct-n", "different n-grams over all n-grams of a round's prompts"),
    ("self-similarity", "mean overlap of the words of two prompts of a round"),
    ("held-out prompts", "proposals that the base model's pretraining never showed"),
    ("best setting", "the temperature (and guidance) at which most drawings of the selection prompts "
                     "are right; the selection prompts are held out, and none of them is measured"),
    ("sharpening", "drawing better only because a lower temperature leaves out what is less likely: "
                   "it needs no learning, and the base model has it too"),
    ("pass@k", "prompts of which at least one of k drawings, with k seeds, is all right; pass@1 is the "
               "mean over the same drawings. A version that is only sharper gains at 1 and not at k"),
    ("twins", "the same question about a scene and about a second one in which one thing is another: "
              "right only if both answers are, so that nobody is right without looking"),
    ("FLOPs", "2 for each parameter that a token passes and each token that passes forward, 6 where it "
              "passes back too; not those of encoders, decoders and attention to other tokens"),
    ("± after a change", "95 % interval of the paired difference on the same prompts and seeds"),
    ("oracle", "a program that reads the pixels alone; it measures, and nothing learns from it"),
)  # fmt: skip
