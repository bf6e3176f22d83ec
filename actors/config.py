"""The settings of the roles and of what carries them between processes.

Invariant: `cpus` and `gpus` are what Ray reserves for one replica. A replica that has a part of a
GPU samples on it, one that has none on its CPUs. `node` names a custom resource: only nodes that
offer it get replicas, as many as their CPUs and GPUs allow.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from actors.category_shares import CategoryShares
from actors.hygiene.config import HygieneConfig
from policies.config import Section, require
from policies.constraints import (
    Count,
    Cpus,
    Gpus,
    Natural,
    Node,
    NotNegative,
    Number,
    Positive,
    ServedModel,
    Server,
    Temperature,
    Text,
    Whole,
)

LEAST = 0.0001
"""The least that Ray counts: it chooses a node, and does not bound how many share it."""


def node_resources(node: str) -> dict[str, float]:
    """What an actor asks Ray for so that it comes to such a node."""
    return {node: LEAST} if node else {}


Engine = Annotated[
    Literal["own", "vllm"],
    Field(description="What runs the model's transformer: the family's own sampler, or vLLM, an option (docs/engines.md)."),
]  # fmt: skip
Replicas = Annotated[Count, Field(description="How many processes play the role.")]
Fraction = Annotated[Number, Field(ge=0, le=1)]
Attempts = Annotated[Whole, Field(ge=1, le=1000)]
Score = Annotated[Number, Field(ge=0, le=10)]


class ReplicaConfig(Section):
    """The processes of a role."""

    replicas: Replicas = 1
    cpus: Cpus = 0.4
    gpus: Gpus = 0.0
    node: Node = ""
    engine: Engine = "own"


def external_player(role: str, server: str, model: str) -> str:
    """What a record says of a role that a server plays; empty for the run's own model."""
    return f"{role} {model} at {server}" if server else ""


def named_together(*external: str) -> str:
    """All of those that there are, as a record names them."""
    return ", ".join(filter(None, external))


def _require_server(section: str, server: str, model: str, engine: str) -> None:
    require(bool(server) == bool(model), f"{section}.server_model", model,
            f"the name of a model with {section}.server, and empty without")  # fmt: skip
    require(not server or engine == "own", f"{section}.engine", engine,
            f"own where {section}.server plays the role")  # fmt: skip


class ElasticReplicaConfig(ReplicaConfig):
    """The processes of a role of which there may be more while there is work for them."""

    max_replicas: Natural = 0
    """As many as there may be while there is work for them: `replicas` or more; 0: never more."""

    @model_validator(mode="after")
    def _require_most(self) -> Self:
        require(self.max_replicas == 0 or self.max_replicas >= self.replicas,
                f"{self.section}.max_replicas", self.max_replicas,
                f"0, or {self.section}.replicas ({self.replicas}) or more")  # fmt: skip
        return self


class ProposerConfig(ReplicaConfig):
    """How prompts are made (paper, section 3.3.1; the numbers are ours: the paper gives none)."""

    section = "proposer"
    cpus: Cpus = 0.2
    prompts: Count = 320
    """Prompts of a round."""
    prompts_per_task: Count = 16
    """Prompts that a replica is asked for at once."""
    demonstrations: Natural = 2
    """Example prompts that it is shown."""
    reseed_every: Count = 80
    """After so many prompts the Judge picks new demonstrations."""
    reseed_candidates: Natural = 4
    """Prompts of a category, chosen at random, among which it picks."""
    temperature: Temperature = 1.0
    """Of sampling an answer; 0 is greedy."""
    attempts: Attempts = 4
    """How often it is asked for a prompt until an answer can be read."""
    similarity: Annotated[Number, Field(gt=0, le=1)] = 0.9
    """A prompt that is this similar to one of the round (Jaccard, of word pairs) is dropped."""
    max_tokens: Count = 40
    """The longest answer."""
    memory: Natural = 0
    """So many rounds before are remembered: a prompt that is similar to one of theirs is dropped as well."""
    again: Annotated[Number, Field(ge=0, lt=1)] = 0.0
    """The part of a round's prompts that are rejected ones of earlier rounds, chosen by key, as far as there are any."""
    follow: Literal["shares", "weakness"] = "shares"
    """"weakness" multiplies each subcategory's share by (1 - a)(1 - (1 - a)^rollouts), and by 1/10 at least, where a is the part of its drawings in the round before that the Judge accepted: most prompts are of what fails, but can succeed."""
    category_shares: CategoryShares = CategoryShares()
    personas: Text = ""
    """A JSONL file from outside with a text `persona` on every line: each prompt is written as one of them, chosen by key, and its records say so; empty: none."""
    seed_prompts: Text = ""
    """A CSV file from outside with the columns Major Category, Subcategory and Seed: each prompt is shown 1 to `demonstrations` of one subcategory, chosen by key, in place of prompts that the Judge picked, and its records say so; empty: none."""
    server: Server = ""
    server_model: ServedModel = ""

    @model_validator(mode="after")
    def _require_demonstrations_and_server(self) -> Self:
        _require_server(self.section, self.server, self.server_model, self.engine)
        require(not self.seed_prompts or self.demonstrations > 0, "proposer.demonstrations",
                self.demonstrations, "1 or more with proposer.seed_prompts")  # fmt: skip
        return self


class SolverConfig(ElasticReplicaConfig):
    """How prompts are drawn (paper, appendix A: 8 rollouts with different seeds and guidance; the
    ranges are ours)."""

    section = "solver"
    replicas: Replicas = 2
    rollouts: Count = 8
    """Drawings of a prompt, at most."""
    waves: Annotated[tuple[Count, ...], Field(strict=False)] = ()
    """In which portions they are drawn, such as [2, 2, 4]: a prompt that has a winner and a loser after one of them gets no more; []: all at once."""
    loser_by: Annotated[Number, Field(ge=0, le=10)] = 3.0
    """By how much lower than the winner's the score of a loser must be so that drawing ends; 0: a winner is enough, and a prompt whose first drawings are all good gets no more."""
    prompts_per_task: Count = 16
    """Prompts that a replica draws at once."""
    temperatures: Annotated[tuple[Temperature, ...], Field(strict=False, min_length=1)] = (1.0,)
    """Rollout k samples with temperatures[k % length]; 0 is greedy."""
    guidance: Annotated[tuple[NotNegative, ...], Field(strict=False, min_length=1)] = (1.0,)
    """Rollout k is drawn with classifier-free guidance[k % length]; 1 is none."""
    guidance_range: Annotated[tuple[NotNegative, NotNegative], Field(strict=False)] | None = None
    """[a, b] in place of `guidance`: spread evenly over the rollouts, from a for the first to b for the last (released code: [3, 8]); null: `guidance`."""
    image_guidance: Annotated[tuple[NotNegative, ...], Field(strict=False, min_length=1)] = (1.0,)
    """Likewise the guidance by the pictures of a context, where the family has it."""
    interval: Annotated[tuple[Fraction, Fraction], Field(strict=False)] = (0.0, 1.0)
    """The part of a flow's time in which drawings are guided."""
    renorm: Text = "none"
    """How guidance restores the norm of what it guides: the family's word for it."""
    steps: Natural = 0
    """Steps of a flow's solver; 0: the family's own."""
    shift: NotNegative = 0.0
    """Shift of a flow's timesteps; 0: the family's own."""
    size: Annotated[tuple[Natural, Natural], Field(strict=False)] = (0, 0)
    """Height and width of drawings in pixels; [0, 0]: the family's own."""

    @model_validator(mode="after")
    def _require_interval_size_waves_and_guidance(self) -> Self:
        require(self.interval[0] < self.interval[1], "solver.interval", self.interval,
                "two rising numbers in [0, 1]")  # fmt: skip
        require(min(self.size) > 0 or self.size == (0, 0), "solver.size", self.size,
                "height and width, or [0, 0] for the family's own")  # fmt: skip
        require(sum(self.waves) in (0, self.rollouts), "solver.waves", self.waves,
                f"[], or portions of solver.rollouts ({self.rollouts}) together")  # fmt: skip
        require(self.guidance_range is None or self.guidance == (1.0,), "solver.guidance",
                self.guidance, "at its default, [1.0], where solver.guidance_range is set")  # fmt: skip
        return self


Signal = Literal["votes", "read_back", "worst", "cycle"]
"""What can tell whether a drawing is right."""


class JudgeConfig(ElasticReplicaConfig):
    """How drawings are judged."""

    section = "judge"
    by: Literal["votes", "read_back"] = "votes"
    """What scores a drawing: "votes", the score that the Judge writes after its analysis (paper); "read_back", 10 times the geometric mean of the probabilities of its prompt's tokens as the Judge's description of it, which is one pass and no writing (arXiv 2607.11886): then only a prompt's best and worst drawing are analysed in writing."""
    accept_probability: Annotated[Number, Field(ge=0, lt=1)] = 0.0
    """Above 0, `signals` are combined to the probability that a drawing is right, fitted before each round on planted pairs of those before: winners with their prompt, and with the same prompt but for one word. A drawing so probable scores accept_at, and others more or less. A round without pairs enough is judged by `by`. 0: all are."""
    signals: Annotated[tuple[Signal, ...], Field(strict=False, min_length=1)] = (
        "read_back",
        "worst",
    )
    """What is combined: "votes" and "read_back" as in `by`, "worst", the probability of the prompt's least probable token, which a read-back finds besides, and "cycle", how much what the Judge says of a drawing is like its prompt."""
    least_j: Annotated[Number, Field(ge=0, le=1)] = 0.0
    """Above 0, a category in which the Judge accepts too many edited prompts teaches nothing: where of planted pairs of the three rounds before, 10 or more, TPR - FPR is under this. Its prompts are drawn and judged all the same, until it is not."""
    planted: Count = 30
    """Planted pairs of a category, at most, those of the newest rounds first."""
    votes: Attempts = 1
    """Judgements of a drawing, averaged; of a read-back their analysis is taken."""
    analyses: bool = True
    """Whether a read-back's best and worst drawing are analysed in writing, for judgements and reflections to learn from."""
    temperature: Temperature = 0.0
    """Of sampling an answer; 0 is greedy."""
    attempts: Attempts = 3
    """How often it is asked, each time with the next seed, for an answer that can be read."""
    max_tokens: Count = 64
    """The longest answer."""
    weights: Literal["current", "base"] = "current"
    """"current" judges with the version that the round samples with, "base" with version 0."""
    accept_at: Score = 7.0
    """A group whose best score is lower is rejected (paper, appendix A: 7)."""
    picture_first: bool = False
    """Whether it sees the drawing before any text (released code) and not where the template has it; judgements are learned in the same order."""
    ties: Literal["first", "random"] = "first"
    """Which of a prompt's equally good drawings is learned from: the first, or one by key (released code)."""
    hygiene: HygieneConfig = HygieneConfig()
    server: Server = ""
    server_model: ServedModel = ""

    @property
    def read(self) -> frozenset[Signal]:
        """The signals that a drawing is judged by."""
        own: tuple[Signal, ...] = self.signals if self.accept_probability else (self.by,)
        return frozenset(own)

    @property
    def plants(self) -> bool:
        """Whether a round's Judge is asked about planted pairs before it judges."""
        return self.accept_probability > 0 or self.least_j > 0

    @model_validator(mode="after")
    def _require_signals(self) -> Self:
        if not self.accept_probability:
            return self
        require(self.by in self.signals, "judge.signals", self.signals,
                f"a list with judge.by ({self.by}), which judges rounds without pairs enough")  # fmt: skip
        require(len(set(self.signals)) == len(self.signals), "judge.signals", self.signals,
                "a list that names each signal once")  # fmt: skip
        require(0 < self.accept_at < 10, "judge.accept_at", self.accept_at,
                "above 0 and under 10 with judge.accept_probability")  # fmt: skip
        require(not self.server, "judge.accept_probability", self.accept_probability,
                "0 with judge.server, which tells no probabilities")  # fmt: skip
        return self

    @model_validator(mode="after")
    def _require_server(self) -> Self:
        _require_server(self.section, self.server, self.server_model, self.engine)
        require(not self.server or self.by == "votes", "judge.by", self.by,
                "votes with judge.server, which tells no probabilities")  # fmt: skip
        return self


class ActorsConfig(Section):
    """What carries the roles: deadlines in seconds, retries and queues."""

    section = "actors"
    templates: Text = "tiny"
    """The wording of the roles: shipped templates by name, or a .yaml file."""
    start_deadline: Positive = 180.0
    """For an actor to start."""
    task_deadline: Positive = 600.0
    """For a task to be answered."""
    tasks_in_flight: Count = 2
    """Tasks that a replica is handed at once."""
    kept_versions: Annotated[Whole, Field(ge=2)] = 3
    """Weight versions that the store keeps beside version 0: those used last."""
    task_attempts: Count = 4
    """A task that failed so often is poison: its prompts are recorded as failed and the run goes on."""
    poison_limit: Natural = 3
    """More poisoned tasks than this end the run."""
    pause_deadline: Positive = 86400.0
    """How long a run waits for a disk that takes no writes."""
    backlog_seconds: Positive = 30.0
    """A pool that may grow wants more replicas where its work would take longer."""
    cool_down: NotNegative = 60.0
    """A pool that has grown gives replicas back after so long without need of them."""
