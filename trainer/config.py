"""The settings of learning, and the whole configuration of a run."""

from __future__ import annotations

from dataclasses import dataclass, field

from actors.config import (
    ActorsConfig,
    JudgeConfig,
    ProposerConfig,
    SolverConfig,
    require_node,
)
from actors.storage.paths import parse_path
from evaluation.config import EvaluationConfig
from policies.config import DTYPES, PolicyConfig, require, require_cpus
from policies.interface import CONDITIONS, LOSS_KINDS, PATTERNS, Condition, LossKind


@dataclass(frozen=True)
class ReconstructionConfig:
    """The mix of the four patterns (paper, section 4.1: 5k, 5k, 3k and 1k examples).

    Of the drawings, the share `condition_dropout` of each condition is learned without it, which
    guidance needs (the paper says nothing of it; 0.1 is usual for the text, BAGEL drops 0.1 of the
    texts, 0.3 of the latents and 0.3 of the features).
    """

    generation: float = 5.0
    caption: float = 5.0
    judgement: float = 3.0
    reflection: float = 1.0
    condition_dropout: dict[Condition, float] = field(
        default_factory=lambda: dict.fromkeys(CONDITIONS, 0.0)
    )

    def __post_init__(self) -> None:
        for name in PATTERNS:
            value = getattr(self, name)
            require(value >= 0, f"reconstruction.{name}", value, "0 or more")
        require(any(getattr(self, name) > 0 for name in PATTERNS), "reconstruction",
                {name: getattr(self, name) for name in PATTERNS}, "above 0 for one pattern")  # fmt: skip
        require(set(self.condition_dropout) == set(CONDITIONS), "reconstruction.condition_dropout",
                sorted(self.condition_dropout), f"a chance for each of {', '.join(CONDITIONS)}")  # fmt: skip
        for name, chance in self.condition_dropout.items():
            require(
                0 <= chance < 1, f"reconstruction.condition_dropout.{name}", chance, "in [0, 1)"
            )


@dataclass(frozen=True)
class TrainerConfig:
    """Optimizer defaults are the paper's (table 5) but for `lr`, which is per recipe.

    `node` is as for the roles. A step learns from `groups_per_step` accepted groups; a round passes `epochs` times over its
    groups, first in the order of the log while it still grows. `publish` "ema" publishes the
    averaged weights, "model" the raw ones, rounded to `publish_dtype`, which halves what a version
    takes. `loss_weights` multiply the mean loss of a pattern, `kind_weights` that of a kind in it
    (paper: 0.1 a token of text, 1 a latent value).

    The weights that learn are float32; `precision` is what FSDP2 computes with. `recompute` keeps
    only what goes into each of the policy's units and computes the rest again for the gradient.
    `micro_batch` is how many examples of a pattern a worker passes forward at once (0: all).
    `lora_rank` above 0 lets adapters of that rank learn, scaled by `lora_alpha / lora_rank`, and
    nothing else; what is published is whole weights all the same.
    """

    workers: int = 2
    cpus: float = 0.4
    gpus: int = 0
    node: str = ""
    precision: str = "float32"
    recompute: bool = False
    micro_batch: int = 0
    lora_rank: int = 0
    lora_alpha: int = 32
    lr: float = 1e-4
    warmup_steps: int = 50
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-15
    weight_decay: float = 0.0
    clip: float = 1.0
    ema: float = 0.99
    publish: str = "ema"
    publish_dtype: str = "float32"
    epochs: int = 2
    groups_per_step: int = 10
    loss_weights: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PATTERNS, 1.0))
    kind_weights: dict[LossKind, float] = field(
        default_factory=lambda: dict.fromkeys(LOSS_KINDS, 1.0)
    )
    checkpoint_every: int = 50
    kept_checkpoints: int = 2
    max_failures: int = 3

    def __post_init__(self) -> None:
        for name in (
            "workers",
            "epochs",
            "groups_per_step",
            "checkpoint_every",
            "kept_checkpoints",
        ):
            require(getattr(self, name) >= 1, f"trainer.{name}", getattr(self, name), "1 or more")
        require_cpus("trainer.cpus", self.cpus)
        require(self.gpus in (0, 1), "trainer.gpus", self.gpus, "0 or 1 for each worker")
        require_node("trainer.node", self.node)
        require(self.precision in DTYPES, "trainer.precision", self.precision,
                '"float32" or "bfloat16"')  # fmt: skip
        for name in ("lr", "clip", "lora_alpha"):
            require(getattr(self, name) > 0, f"trainer.{name}", getattr(self, name), "above 0")
        # Weights are float32: a smaller eps is 0 there, and a gradient of 0 then is divided by it.
        require(self.eps >= 1e-30, "trainer.eps", self.eps, "from 1e-30 on")
        for name in ("warmup_steps", "weight_decay", "max_failures", "micro_batch", "lora_rank"):
            require(getattr(self, name) >= 0, f"trainer.{name}", getattr(self, name), "0 or more")
        require(len(self.betas) == 2 and all(0 <= b < 1 for b in self.betas), "trainer.betas",
                self.betas, "two numbers in [0, 1)")  # fmt: skip
        require(0 <= self.ema < 1, "trainer.ema", self.ema, "in [0, 1)")
        require(
            self.publish in ("ema", "model"), "trainer.publish", self.publish, '"ema" or "model"'
        )
        require(self.publish_dtype in DTYPES, "trainer.publish_dtype", self.publish_dtype,
                '"float32" or "bfloat16"')  # fmt: skip
        for name, keys in (("loss_weights", PATTERNS), ("kind_weights", LOSS_KINDS)):
            weights = getattr(self, name)
            require(set(weights) == set(keys), f"trainer.{name}", sorted(weights),
                    f"a number for each of {', '.join(keys)}")  # fmt: skip
            require(min(weights.values()) >= 0, f"trainer.{name}", weights, "0 or more each")


@dataclass(frozen=True)
class RunConfig:
    """One experiment. Round r samples with weight version max(0, r - 1 - lag). `loggers` are told of
    it as it goes: "tensorboard", "wandb"."""

    name: str = "tiny"
    seed: int = 0
    rounds: int = 5
    lag: int = 0
    folder: str = "runs"
    loggers: tuple[str, ...] = ()
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    actors: ActorsConfig = field(default_factory=ActorsConfig)
    proposer: ProposerConfig = field(default_factory=ProposerConfig)
    solver: SolverConfig = field(default_factory=SolverConfig)
    judge: JudgeConfig = field(default_factory=JudgeConfig)
    reconstruction: ReconstructionConfig = field(default_factory=ReconstructionConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)

    def __post_init__(self) -> None:
        parse_path(self.folder)  # refuses an address that cannot be
        no_name = "/@?#" if "://" in self.folder else "/"
        plain = self.name.isprintable() and not set(no_name) & set(self.name)
        require(plain and self.name not in ("", ".", ".."), "name", self.name,
                "a plain folder name" + (", in a bucket without @, ? and #" if no_name != "/" else ""))  # fmt: skip
        require(self.seed >= 0, "seed", self.seed, "0 or more")
        require(self.rounds >= 1, "rounds", self.rounds, "1 or more")
        require(self.lag in (0, 1), "lag", self.lag, "0 or 1")

    def sampling_version(self, round_: int) -> int:
        """The weight version that samples round `round_` (1-based)."""
        return max(0, round_ - 1 - self.lag)
