"""Estimates the memory and disk that a run takes from its settings and the size of its model.

Invariant: nothing is loaded or measured, so an estimate is the same on every machine. It is the
peak, with every task as large as its settings allow; `ASSUMED` lists the assumptions.
"""

from __future__ import annotations

from typing import NamedTuple

from actors.config import ReplicaConfig
from actors.roles.solver import rollout_sampling
from policies.footprint import ELEMENT_BYTES, Footprint
from policies.interface import PictureSampling
from trainer.config import RunConfig

ASSUMED = (
    "estimated: a replica holds weights in policy.dtype, keys and values of its largest task, and "
    "{workspace} GiB; a worker its share of 20 bytes a learned parameter (28 with trainer.contrast), what it gathers, and the "
    "longest activations; instructions have {instruction} tokens, prompts proposer.max_tokens"
)
MIB = 2**20
ENGINE_BYTES = 512 * MIB
"""Of an engine's program, beside what any replica needs."""
AROUND = 16
"""Tokens of the chat template around a prompt to draw, up to where the picture begins."""
LEARNING_BYTES = 4 + 4 + 8 + 4
# Bytes of a learned parameter: the model, its averaged copy and AdamW's two moments.
CONTRAST_BYTES = 4 + 4
# Besides, where losers teach: the reference, and the model's own while that is read.
COPIES_A_CHECKPOINT = 4
ROUND_ENDS_KEPT = 2
REPORT_BYTES = 16 * 2**20


class Disk(NamedTuple):
    """The most bytes that each part of a run folder takes; `checkpoints` is that of `kept` ones."""

    replay: int
    versions: int
    checkpoints: int
    kept: int

    @property
    def total(self) -> int:
        return self.replay + self.versions + self.checkpoints + REPORT_BYTES


def proposer(config: RunConfig, size: Footprint) -> int:
    """Bytes of one replica: its weights, and the keys and values of its largest task."""
    own = config.proposer
    tokens = own.prompts_per_task * proposer_tokens(config, size)
    return _replica(config, own, size, tokens)


def solver(config: RunConfig, size: Footprint) -> int:
    """Bytes. A rollout with a guidance other than 1 takes two rows: with and without its prompt; with
    an image guidance other than 1 as well a third one, without the pictures of its context."""
    own, element = config.solver, ELEMENT_BYTES[config.policy.dtype]
    rows, drawing = own.prompts_per_task * sum(passes(config)), drawn_tokens(config, size)
    step = rows * drawing * size.step_elements * element
    return _replica(config, own, size, rows * solver_tokens(config, size)) + step


def judge(config: RunConfig, size: Footprint) -> int:
    """Bytes. All votes on all drawings of a Solver's task are one batch."""
    rows = config.solver.prompts_per_task * config.solver.rollouts * config.judge.votes
    return _replica(config, config.judge, size, rows * judge_tokens(config, size))


def proposer_tokens(config: RunConfig, size: Footprint) -> int:
    """The longest context of the role, with its answer; so too for the others."""
    own = config.proposer
    return size.instruction + (own.demonstrations + 1) * own.max_tokens


def solver_tokens(config: RunConfig, size: Footprint) -> int:
    prompt = config.proposer.max_tokens + AROUND + (size.plan and size.plan + 2 * AROUND)
    return prompt + drawn_tokens(config, size)


def judge_tokens(config: RunConfig, size: Footprint) -> int:
    prompt = size.instruction + config.proposer.max_tokens
    return prompt + seen_tokens(config, size) + config.judge.max_tokens


def passes(config: RunConfig) -> list[int]:
    """The rows of each rollout of a prompt."""
    own = config.solver
    return [_passes(rollout_sampling(own, k)) for k in range(own.rollouts)]


def trainer_worker(config: RunConfig, size: Footprint) -> int:
    """Bytes at the larger of two peaks: learning, or loading, when the model is not yet sharded."""
    own, element = config.trainer, ELEMENT_BYTES[config.trainer.precision]
    beside = size.trained if own.lora_rank else 0  # the frozen weights under the adapters
    each = LEARNING_BYTES + (CONTRAST_BYTES if own.contrast.weight else 0)
    sharded = each * learned(config, size) + element * beside
    held = sharded // own.workers + 4 * (size.parameters - size.trained)
    # Weights in the dtype of the computation, and their gradient in float32.
    gathered = (element + (0 if own.lora_rank else 4)) * size.gathered
    learning = held + gathered + int(_examples_at_once(config, size) * _activations(config, size))
    loading = (element if own.lora_rank else 4) * size.parameters
    return max(learning, loading) + size.workspace_bytes


def learned(config: RunConfig, size: Footprint) -> int:
    """Returns the number of parameters with gradients: all trainable ones, or the adapters only."""
    return config.trainer.lora_rank * size.adapter or size.trained


def reading(config: RunConfig, size: Footprint) -> tuple[int, int]:
    """Bytes on the host that a training worker takes while it reads the weights, and a replica."""
    return 4 * size.parameters, ELEMENT_BYTES[config.policy.dtype] * size.parameters


def drawn_tokens(config: RunConfig, size: Footprint) -> int:
    """Tokens of a drawing of the recipe's size."""
    height, width = config.solver.size
    if not (height and size.token_side):
        return size.drawing
    return (height // size.token_side) * (width // size.token_side)


def seen_tokens(config: RunConfig, size: Footprint) -> int:
    """Tokens of a drawing that is read."""
    return size.seen or drawn_tokens(config, size)


def object_store(config: RunConfig, size: Footprint) -> int:
    """Bytes on the weight store's node: the kept versions, version 0 and the drawings in flight."""
    published = ELEMENT_BYTES[config.trainer.publish_dtype]
    versions = (config.actors.kept_versions * published + 4) * size.trained
    slices = config.actors.tasks_in_flight * (config.solver.replicas + config.judge.replicas)
    drawings = slices * config.solver.prompts_per_task * config.solver.rollouts
    return versions + drawings * size.drawing_bytes


def disk(config: RunConfig, size: Footprint) -> Disk:
    """Returns the most bytes that the whole run writes, as if every planned drawing were stored."""
    drawings = config.rounds * config.proposer.prompts * config.solver.rollouts
    kept = config.trainer.kept_checkpoints + ROUND_ENDS_KEPT + 1  # one more that is being written
    return Disk(
        replay=drawings * size.drawing_bytes,
        versions=config.rounds * 4 * size.parameters,
        checkpoints=kept * COPIES_A_CHECKPOINT * 4 * learned(config, size),
        kept=kept,
    )


def _replica(config: RunConfig, own: ReplicaConfig, size: Footprint, tokens: int) -> int:
    weights = ELEMENT_BYTES[config.policy.dtype] * size.parameters
    if own.engine == "own":
        return weights + tokens * size.cache_bytes + size.workspace_bytes
    # The engine packs its own copy.
    return 2 * weights + config.engine.cache_mib * MIB + size.workspace_bytes + ENGINE_BYTES


def _activations(config: RunConfig, size: Footprint) -> int:
    """Bytes of the longest example."""
    element, judgement = ELEMENT_BYTES[config.trainer.precision], config.judge.max_tokens
    tokens, drawing = _longest(config, size), drawn_tokens(config, size)
    if config.trainer.recompute:
        kept = size.layers * size.hidden + size.layer_elements
    else:
        kept = size.layers * size.layer_elements
    # Logits in the computation's dtype, their float32 copy and its gradient.
    logits = max(drawing * size.codes, judgement * size.words) * (element + 8)
    return tokens * kept * element + logits


def _longest(config: RunConfig, size: Footprint) -> int:
    """Tokens of an example of reflection, with a judgement and two drawings, or of judgement."""
    text = size.instruction + config.proposer.max_tokens + config.judge.max_tokens
    drawing = drawn_tokens(config, size)
    return text + max(2 * drawing + size.redrawn + size.plan, seen_tokens(config, size))


def _examples_at_once(config: RunConfig, size: Footprint) -> float:
    """How many of the longest examples a worker passes forward at once."""
    own = config.trainer
    most = -(-own.groups_per_step // own.workers)
    if own.micro_tokens:
        return min(most, max(1.0, own.micro_tokens / _longest(config, size)))
    return min(own.micro_batch or most, most)


def _passes(how: PictureSampling) -> int:
    """Rows of a drawing that is guided so: as conditioned, without texts, without pictures."""
    if how.guidance == 1:
        return 1
    return 2 if how.image_guidance == 1 else 3
