"""The dashboard's panels and their queries, as one table.

Invariant: queries tolerate series of dead workers. Ray goes on exporting a dead worker's counters,
whose rates are zero, and drops its gauges; so counters are read as summed rates and gauges as a
maximum. Metric names come from actors.metrics.catalog, so a renamed metric is renamed here too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from actors.metrics import catalog
from actors.metrics.catalog import Metric

WINDOW = "2m"
"""Ray reports every 10 s and Prometheus scrapes as often: over less, a rate is mostly noise."""
RUN = 'SessionName=~"$SessionName",run=~"$run"'


@dataclass(frozen=True)
class Query:
    expr: str
    legend: str


@dataclass(frozen=True)
class Panel:
    title: str
    unit: str
    help: str
    queries: tuple[Query, ...]
    kind: Literal["timeseries", "stat", "heatmap"] = "timeseries"


@dataclass(frozen=True)
class Row:
    title: str
    panels: tuple[Panel, ...]


def series(metric: Metric, which: str = "", suffix: str = "") -> str:
    """Returns the selector of the metric's series that the dashboard's variables choose."""
    return f"{metric.exported}{suffix}{{{RUN}{',' if which else ''}{which}}}"


def rate(metric: Metric, by: str, which: str = "", suffix: str = "") -> str:
    return f"sum by ({by}) (rate({series(metric, which, suffix)}[{WINDOW}]))"


def latest(metric: Metric, by: str, which: str = "") -> str:
    return f"max by ({by}) ({series(metric, which)})"


def panel(title: str, unit: str, help: str, *queries: tuple[str, str]) -> Panel:
    return Panel(title, unit, help, tuple(Query(*query) for query in queries))


def now(title: str, unit: str, help: str, expr: str) -> Panel:
    """Returns a panel that shows one number."""
    return Panel(title, unit, help, (Query(expr, "{{run}}"),), "stat")


def scores(title: str, unit: str, help: str, which: str, category: str = "all") -> Panel:
    """Returns a panel of scores of metrics.jsonl; `which` and `category` are patterns."""
    chosen = f'score=~"{which}",category=~"{category}"'
    legend = "{{score}}" if category == "all" else "{{category}}"
    return panel(title, unit, help, (latest(catalog.SCORE, "score, category", chosen), legend))


_ACCEPTED = 'reason="accepted"'
_ASKED, _FOUND = 'kind="asked"', 'kind="found"'

ROWS = (
    Row("The run", (
        now("Round", "none", "The round that is being sampled.", latest(catalog.ROUND, "run")),
        now("Weights", "none", "The newest published version.", latest(catalog.VERSION, "run")),
        now("Images a second", "none", "Drawings for learning and for measuring.",
            rate(catalog.IMAGES, "run")),
        now("Drawings all right", "percent", "On held-out prompts, by the oracle.",
            latest(catalog.SCORE, "run", 'score="drawing/all_right",category="all"')),
        now("Groups in the log", "none", "Prompts with all their drawings, judged.",
            latest(catalog.REPLAY_GROUPS, "run")),
        now("Optimizer steps", "none", "Steps done so far.", latest(catalog.STEP, "run")),
    )),
    Row("Speed", (
        panel("Tasks", "ops", "Tasks done per second, by role and stage.",
              (rate(catalog.TASKS, "role, stage"), "{{role}} {{stage}}")),
        panel("Images", "ops", "Drawn per second, for learning (draw) and measuring (draw_each).",
              (rate(catalog.IMAGES, "stage"), "{{stage}}")),
        panel("Time of a task", "s", "Mean seconds, by stage: where a round's time goes.",
              (f"{rate(catalog.BUSY, 'role, stage')} / {rate(catalog.TASKS, 'role, stage')}",
               "{{role}} {{stage}}")),
        panel("Busy", "percentunit", "The share of time that a replica works, 0 to 1. Roles take "
              "turns, so each is idle at times.",
              (f"{rate(catalog.BUSY, 'role')} / {latest(catalog.RUNNING, 'role')}", "{{role}}"),
              (rate(catalog.BUSY, "role", 'role="trainer"'), "{{role}}")),
        panel("Replicas", "none", "Wanted and running. Fewer run while lost ones are replaced.",
              (latest(catalog.WANTED, "role"), "{{role}} wanted"),
              (latest(catalog.RUNNING, "role"), "{{role}} running")),
        panel("Replicas lost", "none", "Since the driver started. Each was replaced.",
              (latest(catalog.LOST, "role"), "{{role}}")),
        panel("Backlog", "none", "Tasks that wait for a free replica, and tasks in flight.",
              (latest(catalog.WAITING, "role"), "{{role}} waiting"),
              (latest(catalog.IN_FLIGHT, "role"), "{{role}} in flight")),
        panel("Weights of the replicas", "none", "The version of each role's last task.",
              (latest(catalog.REPLICA_VERSION, "role"), "{{role}}")),
        panel("Tokens", "ops", "That pass forward through the model per second, by what for.",
              (rate(catalog.TOKENS, "role, stage"), "{{role}} {{stage}}")),
    )),
    Row("Engines", (
        panel("Tokens of engines", "ops", "Read and written per second, where a role has an engine.",
              (rate(catalog.ENGINE_TOKENS, "role, kind"), "{{role}} {{kind}}")),
        panel("Prefixes found", "percentunit", "The share of tokens of contexts that was read before "
              "for a row of the same task, 0 to 1.",
              (f"{rate(catalog.ENGINE_PREFIX, 'role', _FOUND)} / "
               f"{rate(catalog.ENGINE_PREFIX, 'role', _ASKED)}", "{{role}}")),
        panel("Requests of engines", "none", "At most in the last task: waiting, and running.",
              (latest(catalog.ENGINE_REQUESTS, "role, kind"), "{{role}} {{kind}}")),
        panel("Cache of engines", "percentunit", "At most taken in the last task, 0 to 1.",
              (latest(catalog.ENGINE_CACHE, "role"), "{{role}}")),
    )),
    Row("Judging", (
        panel("Groups", "ops", "Stored per second: accepted, or the reason for rejection.",
              (rate(catalog.GROUPS, "reason"), "{{reason}}")),
        panel("Accepted", "percentunit", "The share of the groups that is learned from, 0 to 1.",
              (f"{rate(catalog.GROUPS, 'category', _ACCEPTED)} / "
               f"{rate(catalog.GROUPS, 'category')}",
               "{{category}}")),
        Panel("Scores", "none", "How the Judge's scores are distributed.",
              (Query(f"sum by (le) (increase({series(catalog.JUDGE_SCORE, suffix='_bucket')}"
                     f"[{WINDOW}]))", "{{le}}"),), "heatmap"),
        panel("Scores by category", "none", "The median of the Judge's scores.",
              ("histogram_quantile(0.5, "
               f"{rate(catalog.JUDGE_SCORE, 'le, category', suffix='_bucket')})", "{{category}}")),
        panel("Drawings left out", "ops", "Stored per second, by the filter (docs/hygiene.md).",
              (rate(catalog.FILTERED, "filter"), "{{filter}}")),
        scores("Drawings and winners left out", "percent",
               "Of a round's drawings, by filter, and of its winners those that repeat another one.",
               "hygiene/.*"),
        panel("Answers given up on", "ops", "Answers per second that no attempt made readable.",
              (f"{rate(catalog.UNPARSABLE, 'role, stage')} or "
               f"0 * {rate(catalog.TASKS, 'role, stage')}",
               "{{role}} {{stage}}")),
    )),
    Row("Collapse", (
        scores("Variety of the proposals", "percentunit",
               "Distinct n-grams over all: falls as prompts repeat each other.",
               "diversity/(distinct_.|unique)"),
        scores("Self-similarity of the proposals", "percentunit",
               "Token overlap of pairs of prompts: rises as they become alike.",
               "diversity/self_similarity"),
        scores("What became of the proposals", "none", "How many are kept, repeated or unreadable.",
               "proposals/.*"),
        scores("Judge drift", "none",
               "Mean distance of the version's scores from the base's on fixed scenes, 0 to 10. "
               "With judge.weights: base it is not the Judge of the run that drifts.",
               "judge/drift"),
        scores("Judge and UniCycle", "none",
               "Correlation of the Judge's score with UniCycle Soft on held-out drawings.",
               "judge/unicycle"),
        scores("Judge and oracle", "percent", "How often they agree on a drawing of the round.",
               "audit/(agreement|precision)"),
        scores("Judge on planted pairs", "percent",
               "Accepted drawings with their own prompt (tpr) and with one of which a word is another "
               "(fpr): what its Judge accepts of both, and the difference J.",
               "judge/(tpr|fpr|j)"),
    )),
    Row("Learning", (
        panel("Loss", "none", "Nats per token, by pattern.",
              (latest(catalog.LOSS, "pattern"), "{{pattern}}")),
        panel("Gradient", "none", "Norm before clipping, and steps abandoned because it was "
              "not finite.", (latest(catalog.GRAD_NORM, "run"), "norm"),
              (f"sum by (run) ({series(catalog.DIVERGED)}) or 0 * {latest(catalog.STEP, 'run')}",
               "given up")),
        scores("Drawing", "percent", "At the fixed setting, by the oracle and by UniCycle.",
               "drawing/(all_right|soft)|unicycle/.*"),
        scores("Understanding", "percent", "Whether reading drawings is kept as a skill.",
               "understanding/.*"),
        scores("Tasks", "percent", "UniCycle Soft and Hard of the tasks that the recipe names.",
               "task[.].*/(soft|hard)"),
        scores("Tasks: counted as 0", "none",
               "Prompts without a drawing, questions without an answer, verdicts that could not be read.",
               "task[.].*/(no_drawing|no_answer|unparsable)"),
        scores("Drawings all right by category", "percent", "On held-out prompts, by the oracle.",
               "drawing/all_right", "[^a].*|a[^l].*"),
    )),
    Row("Stores", (
        panel("Replay log", "bytes", "Size of the log.",
              (latest(catalog.REPLAY_BYTES, "run"), "{{run}}")),
        panel("Replay lag", "none", "Groups that training has not read yet.",
              (latest(catalog.REPLAY_LAG, "run"), "{{run}}")),
        panel("Publishing weights", "s", "How long it took, and how long ago it was.",
              (latest(catalog.PUBLISH_SECONDS, "run"), "took"),
              (f"time() - {latest(catalog.PUBLISHED_AT, 'run')}", "ago")),
        panel("Object store", "bytes", "The sum over all nodes, by location.",
              ('sum by (Location) (ray_object_store_memory{SessionName=~"$SessionName"})',
               "{{Location}}")),
        panel("Disk", "bytes", "Free space for the run folder; paused is 1 while the run waits.",
              (latest(catalog.DISK_FREE, "run"), "free"),
              (latest(catalog.PAUSED, "run"), "paused")),
    )),
)  # fmt: skip
