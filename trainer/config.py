"""The settings of learning, and the whole configuration of a run."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from actors.config import ActorsConfig, JudgeConfig, ProposerConfig, Score, SolverConfig
from actors.storage.paths import parse_path
from evaluation.config import EvaluationConfig
from policies.config import AnyPolicyConfig, NamedNumbers, Section, TinyPolicyConfig, require
from policies.constraints import (
    Count,
    Cpus,
    Dtype,
    Natural,
    Node,
    NotNegative,
    Number,
    Positive,
    Text,
    Whole,
    ZeroOrOne,
)
from policies.engines.config import EngineConfig

Chance = Annotated[Number, Field(ge=0, lt=1)]


class ConditionDropout(NamedNumbers):
    """How often a drawing is learned without its condition, which guidance needs, by the kind of
    condition (the paper says nothing of it; 0.1 is usual for guided models)."""

    section = "reconstruction.condition_dropout"
    text: Chance = 0.0
    """The chance that the prompt is left out."""
    latents: Chance = 0.0
    """The chance that clean latents are left out."""
    features: Chance = 0.0
    """The chance that understanding features are left out."""


class ReconstructionConfig(Section):
    """The mix of the four patterns (paper, section 4.1: 5k, 5k, 3k and 1k examples)."""

    section = "reconstruction"
    generation: NotNegative = 5.0
    """Proportion of examples that learn to draw the best drawing of a prompt."""
    caption: NotNegative = 5.0
    """Proportion of examples that learn the prompt of the best drawing."""
    judgement: NotNegative = 3.0
    """Proportion of examples that learn the judgement of a drawing."""
    reflection: NotNegative = 1.0
    """Proportion of examples that learn the best drawing after a worse one and its judgement."""
    repeat: bool = False
    """Whether a pattern that too few groups can give is learned from these again, each time with other random choices, until the proportions hold (released code); otherwise it falls short."""
    contested_by: Score = 0.0
    """Above 0, only prompts teach of which a drawing scored so much less than the winner: one that is always drawn well has little to tell."""
    caption_from: Score = 0.0
    """The least score of the best drawing for its caption to be learned: with `judge.by: read_back`, captions are learned of those drawings that the Judge reads back so well."""
    caption_wording: Literal["any", "infer"] = "any"
    """Which instructions captions are learned after: any, or those that ask for the prompt itself (released code, which has five for each category; here they are the same for all)."""
    judged: Literal["balanced", "accepted", "all"] = "balanced"
    """Which drawing's judgement a group gives: one that the Judge accepts or does not, with equal chance; any; or any, and rejected groups give theirs too (released code)."""
    judge_as_asked: bool = False
    """Whether judgements are learned after the very instruction that the Judge was given (released code), and not after any wording of it."""
    loser: Literal["any", "worst"] = "any"
    """The worse drawing of a reflection: any, or the worst, of equal ones one by key (released code)."""
    reflection_from: Score = 0.0
    """The least score of the best drawing for a reflection (released code: 9)."""
    reflection_margin: Score = 0.0
    """By how much the worse drawing's score must be lower at least (released code: 3); 0: at all."""
    reflection_judgement: bool = True
    """Whether a reflection is shown the worse drawing's judgement (paper) or not (released code)."""
    condition_dropout: ConditionDropout = ConditionDropout()

    @model_validator(mode="after")
    def _require_some(self) -> Self:
        shares = self.model_dump(include=set(PatternWeights.model_fields))
        require(any(shares.values()), self.section, shares, "above 0 for one pattern")
        return self


class PatternWeights(NamedNumbers):
    """What the mean loss of a pattern is multiplied by."""

    section = "trainer.loss_weights"
    generation: NotNegative = 1.0
    """For drawings."""
    caption: NotNegative = 1.0
    """For captions."""
    judgement: NotNegative = 1.0
    """For judgements."""
    reflection: NotNegative = 1.0
    """For drawings after a worse one."""


class KindWeights(NamedNumbers):
    """What a kind of loss is multiplied by, beside its pattern's weight (the paper's cross-entropy :
    MSE is text 0.1 : latents 1)."""

    section = "trainer.kind_weights"
    text: NotNegative = 1.0
    """For nats per text token."""
    codes: NotNegative = 1.0
    """For nats per image token."""
    latents: NotNegative = 1.0
    """For squared error per latent value."""


class ContrastConfig(Section):
    """Winners against losers: drawings that won become likelier than before the round, and those
    that lost to them less likely, beside the usual loss of the winners (CCA, arXiv 2410.09347)."""

    section = "trainer.contrast"
    weight: NotNegative = 0.0
    """What its mean over pairs is multiplied by, beside the loss of generation; 0: losers teach nothing."""
    beta: Positive = 0.03
    """How fast a difference in log-likelihood (for a flow, in squared error) is enough."""
    losers: NotNegative = 0.5
    """What the losers' part is multiplied by."""
    margin: Annotated[Number, Field(gt=0, le=10)] = 3.0
    """By how much the loser's score must be lower at least; of those that are, one with the lowest score, by key."""


class TrainerConfig(Section):
    """Optimizer defaults are the paper's (table 5) but for `lr`, which is per recipe."""

    section = "trainer"
    workers: Count = 2
    """Processes that learn together."""
    cpus: Cpus = 0.4
    gpus: ZeroOrOne = 0
    """GPUs of each worker."""
    node: Node = ""
    precision: Dtype = "float32"
    """What FSDP2 computes with; the weights that learn are float32."""
    recompute: bool = False
    """Keep only the inputs of the policy's layers and compute the rest again for the gradient."""
    micro_batch: Natural = 0
    """Examples of a pattern that a worker passes forward at once; 0: all."""
    micro_tokens: Natural = 0
    """Tokens that a worker passes forward at once: examples of a pattern are packed up to so many, and a longer one goes alone; 0: as micro_batch says."""
    lora_rank: Natural = 0
    """Above 0, adapters of that rank learn and nothing else; what is published is whole weights all the same."""
    lora_alpha: Annotated[Whole, Field(gt=0)] = 32
    """Adapters are scaled by lora_alpha / lora_rank."""
    lr: Positive = 1e-4
    """Learning rate."""
    warmup_steps: Natural = 50
    """Steps until the learning rate is reached."""
    betas: Annotated[tuple[Chance, Chance], Field(strict=False)] = (0.9, 0.95)
    """AdamW's decay rates of the means of the gradient and of its square."""
    # Weights are float32: a smaller eps is 0 there, and a gradient of 0 then is divided by it.
    eps: Annotated[Number, Field(ge=1e-30)] = 1e-15
    """AdamW's."""
    weight_decay: NotNegative = 0.0
    """AdamW's."""
    clip: Positive = 1.0
    """The largest norm of the gradient."""
    ema: Chance = 0.99
    """Decay of the averaged weights in each step."""
    publish: Literal["ema", "model"] = "ema"
    """"ema" publishes the averaged weights, "model" the raw ones."""
    publish_dtype: Dtype = "float32"
    """What published weights are rounded to."""
    epochs: Count = 2
    """Passes over the groups of a round, the first in the order of the log while it still grows."""
    groups_per_step: Count = 10
    """Accepted groups that a step learns from."""
    loss_weights: PatternWeights = PatternWeights()
    kind_weights: KindWeights = KindWeights()
    contrast: ContrastConfig = ContrastConfig()
    checkpoint_every: Count = 50
    """Steps between two checkpoints."""
    kept_checkpoints: Count = 2
    """Newest checkpoints that are kept."""
    step_back: Natural = 0
    """So many prompts of round 1 are kept aside: after every round the new version draws them, version 0 reads them back, and where the mean is lower than that of the best version before, by more than its 95 % interval (paired), the next round goes on from that version, with an optimizer that begins anew. 0: rounds go on from the newest."""
    max_skipped: Natural = 0
    """So many steps in a row whose loss or gradient is no number are skipped, and the next such one ends training; 0: the first one does."""
    max_failures: Natural = 3
    """Failures of workers that training outlives."""

    @model_validator(mode="after")
    def _require_one_size(self) -> Self:
        require(not (self.micro_batch and self.micro_tokens), "trainer.micro_batch",
                self.micro_batch, "0 where trainer.micro_tokens says how much passes forward at once")  # fmt: skip
        return self


class RunConfig(Section):
    """One experiment. Round r samples with weight version max(0, r - 1 - lag)."""

    name: Text = "tiny"
    """The run, and its folder in `folder`."""
    seed: Natural = 0
    """All random choices follow from it."""
    rounds: Count = 5
    """How often it proposes, solves, judges and learns."""
    lag: ZeroOrOne = 0
    """0: a round's sampling waits for the training of the round before; 1 overlaps them."""
    folder: Text = "runs"
    """Where run folders are made: a folder, or an address such as s3://bucket/runs."""
    loggers: Annotated[tuple[Text, ...], Field(strict=False)] = ()
    """What is told of a run as it goes: "tensorboard", "wandb"."""
    policy: AnyPolicyConfig = TinyPolicyConfig()
    actors: ActorsConfig = ActorsConfig()
    engine: EngineConfig = EngineConfig()
    proposer: ProposerConfig = ProposerConfig()
    solver: SolverConfig = SolverConfig()
    judge: JudgeConfig = JudgeConfig()
    reconstruction: ReconstructionConfig = ReconstructionConfig()
    trainer: TrainerConfig = TrainerConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    @model_validator(mode="after")
    def _require_folder(self) -> Self:
        parse_path(self.folder)  # refuses an address that cannot be
        no_name = "/@?#" if "://" in self.folder else "/"
        plain = self.name.isprintable() and not set(no_name) & set(self.name)
        require(plain and self.name not in ("", ".", ".."), "name", self.name,
                "a plain folder name" + (", in a bucket without @, ? and #" if no_name != "/" else ""))  # fmt: skip
        return self

    @model_validator(mode="after")
    def _require_a_way_back(self) -> Self:
        back = self.trainer.step_back
        for name, value, wanted in (("lag", self.lag, 0), ("trainer.lora_rank", self.trainer.lora_rank, 0),
                                    ("judge.server", self.judge.server, "")):  # fmt: skip
            require(not back or value == wanted, name, value, f"{wanted!r} with trainer.step_back")
        return self

    @model_validator(mode="after")
    def _require_own_answers(self) -> Self:
        require(not self.judge.server or self.evaluation.suite == "none", "evaluation.suite",
                self.evaluation.suite, '"none" with judge.server, which would answer for the model '
                "that is measured; `unicorn-ray evaluate` can measure it later, without the server")  # fmt: skip
        require(not self.judge.server or not self.evaluation.tasks, "evaluation.tasks",
                list(self.evaluation.tasks), "empty with judge.server, as evaluation.suite is none")  # fmt: skip
        return self

    def sampling_version(self, round_: int) -> int:
        """The weight version that samples round `round_` (1-based)."""
        return max(0, round_ - 1 - self.lag)
