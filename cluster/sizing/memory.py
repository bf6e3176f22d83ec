"""Estimates the memory and disk that a run takes from its settings and the size of its model.

Invariant: nothing is loaded or measured, so an estimate is the same on every machine. It is the
peak, with every task as large as its settings allow; `ASSUMED` lists the assumptions.
"""

from __future__ import annotations

from typing import NamedTuple

from actors.roles.solver import guidance_scales
from policies.footprint import ELEMENT_BYTES, Footprint
from trainer.config import RunConfig

ASSUMED = (
    "estimated: a replica holds weights in policy.dtype, keys and values of its largest task, and "
    "{workspace} GiB; a worker its share of 20 bytes a learned parameter, what it gathers, and the "
    "longest activations; instructions have {instruction} tokens, prompts proposer.max_tokens"
)
AROUND = 16
"""Tokens of the chat template around a prompt to draw, up to where the picture begins."""
LEARNING_BYTES = 4 + 4 + 8 + 4
# Bytes of a learned parameter: the model, its averaged copy and AdamW's two moments.
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
    tokens = size.instruction + (own.demonstrations + 1) * own.max_tokens
    return _replica(config, size, own.prompts_per_task * tokens)


def solver(config: RunConfig, size: Footprint) -> int:
    """Bytes. A rollout with a guidance other than 1 takes two rows: with and without its prompt."""
    own = config.solver
    each = [1 if scale == 1 else 2 for scale in guidance_scales(own)]
    turns, rest = divmod(own.rollouts, len(each))
    rows = own.prompts_per_task * (turns * sum(each) + sum(each[:rest]))
    return _replica(config, size, rows * (config.proposer.max_tokens + AROUND + size.drawing))


def judge(config: RunConfig, size: Footprint) -> int:
    """Bytes. All votes on all drawings of a Solver's task are one batch."""
    rows = config.solver.prompts_per_task * config.solver.rollouts * config.judge.votes
    prompt = size.instruction + config.proposer.max_tokens
    return _replica(config, size, rows * (prompt + size.drawing + config.judge.max_tokens))


def trainer_worker(config: RunConfig, size: Footprint) -> int:
    """Bytes at the larger of two peaks: learning, or loading, when the model is not yet sharded."""
    own, element = config.trainer, ELEMENT_BYTES[config.trainer.precision]
    beside = size.trained if own.lora_rank else 0  # the frozen weights under the adapters
    sharded = LEARNING_BYTES * learned(config, size) + 4 * beside
    held = sharded // own.workers + 4 * (size.parameters - size.trained)
    # Weights in the dtype of the computation, and their gradient in float32.
    gathered = (element + 4) * size.gathered
    most = -(-own.groups_per_step // own.workers)
    at_once = min(own.micro_batch or most, most)
    learning = held + gathered + at_once * _activations(config, size)
    return max(learning, 4 * size.parameters) + size.workspace_bytes


def learned(config: RunConfig, size: Footprint) -> int:
    """Returns the number of parameters with gradients: all trainable ones, or the adapters only."""
    return config.trainer.lora_rank * size.adapter or size.trained


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


def _replica(config: RunConfig, size: Footprint, tokens: int) -> int:
    weights = ELEMENT_BYTES[config.policy.dtype] * size.parameters
    return weights + tokens * size.cache_bytes + size.workspace_bytes


def _activations(config: RunConfig, size: Footprint) -> int:
    """Bytes of one example of reflection, the longest: two drawings, a prompt, a judgement."""
    element, judgement = ELEMENT_BYTES[config.trainer.precision], config.judge.max_tokens
    tokens = size.instruction + config.proposer.max_tokens + judgement + 2 * size.drawing
    if config.trainer.recompute:
        kept = size.layers * size.hidden + size.layer_elements
    else:
        kept = size.layers * size.layer_elements
    # Logits in the computation's dtype, their float32 copy and its gradient.
    logits = max(size.drawing * size.codes, judgement * size.words) * (element + 8)
    return tokens * kept * element + logits
