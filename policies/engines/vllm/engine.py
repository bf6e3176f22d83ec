"""vLLM in this process, as an engine of a policy.

Invariant: a call is one batch of its own, planned by nothing but its rows. Its prefix cache begins
empty, so that what was read for earlier calls, or with earlier weights, cannot change how sums are
rounded; within the call what its rows share is read once.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from vllm import EngineArgs, LLMEngine, RequestOutput, SamplingParams
from vllm.config import WeightTransferConfig
from vllm.platforms import current_platform
from vllm.sampling_params import RequestOutputKind

from policies.engines.backbone import Backbone, Embed, Figures, Scored
from policies.engines.config import BLOCK, EngineConfig
from policies.engines.vllm.choice import Choice, Wish
from policies.engines.vllm.figures import FigureLogger
from policies.engines.vllm.transfer import BACKEND
from policies.interface import PromptError
from policies.sampling import Ids, Row, Sampled

MIB = 2**20
ROWS = 256
"""Requests that are decoded together."""
READ_AT_ONCE = 8192
"""Tokens of contexts that one step reads."""

Request = tuple[Ids, Wish, int | None]
"""A context, what is wanted after it, and the token that ends the answer before `steps` tokens."""


class VllmEngine:
    """Implements `policies.engines.backbone.Engine`. It begins with random weights."""

    def __init__(self, backbone: Backbone, config: EngineConfig) -> None:
        self._length = config.max_length or backbone.positions
        self._read = max(READ_AT_ONCE, self._length)
        self._made, self._open = 0, set[str]()
        on_cpu = current_platform.is_cpu()
        if on_cpu:  # to compile takes minutes there
            torch.compiler.set_stance("force_eager")

        def logger(settings: Any, index: int = 0) -> FigureLogger:
            self._figures = FigureLogger(settings, index)
            return self._figures

        with tempfile.TemporaryDirectory(prefix="unicorn-vllm-") as folder:
            (Path(folder) / "config.json").write_text(json.dumps(dict(backbone.config)))
            args = EngineArgs(
                model=folder, dtype=backbone.dtype, load_format="dummy", enforce_eager=on_cpu,
                skip_tokenizer_init=True, generation_config="vllm",
                max_model_len=self._length, max_num_seqs=ROWS, max_num_batched_tokens=self._read,
                kv_cache_memory_bytes=config.cache_mib * MIB, block_size=BLOCK,
                enable_prefix_caching=True, async_scheduling=False,
                enable_prompt_embeds=backbone.embedded,
                logits_processors=[Choice], logprobs_mode="processed_logits",
                weight_transfer_config=WeightTransferConfig(backend=BACKEND),
            )  # fmt: skip
            self._engine = LLMEngine.from_engine_args(args, stat_loggers=[logger])
        blocks = self._engine.vllm_config.cache_config.num_gpu_blocks
        self._blocks = blocks or 0
        self._engine.collective_rpc("init_weight_transfer_engine", args=({},))

    def sample(
        self, rows: Sequence[Row], allowed: slice, stop: int | None = None,
        embed: Embed | None = None,
    ) -> Sampled:  # fmt: skip
        """See `policies.engines.backbone.Engine`. Raises PromptError."""
        going = [(i, row) for i, row in enumerate(rows) if row.max_tokens > 0]
        groups = [_requests(i, row, allowed, stop) for i, row in going]
        guided = any(len(group) > 1 for group in groups)
        answers = self._answers(groups, embed, together=guided)
        tokens = [np.zeros(0, np.int64) for _ in rows]
        for (i, _), answer in zip(going, answers, strict=True):
            found = np.array(answer.outputs[0].token_ids, np.int64)
            tokens[i] = found[:-1] if len(found) and found[-1] == stop else found
        return Sampled(tokens, [])

    def log_probs(self, scored: Sequence[Scored], embed: Embed | None = None) -> list[np.ndarray]:
        """A step for each token: the engine has no likelihoods among a part of its vocabulary for
        tokens that it reads."""
        groups: list[list[Request]] = [
            [(each.context, Wish(_ends(each.allowed), steps=len(each.tokens), forced=each.tokens),
              None)]
            for each in scored
        ]  # fmt: skip
        found = []
        for each, answer in zip(scored, self._answers(groups, embed, logprobs=0), strict=True):
            steps = answer.outputs[0].logprobs or ()
            values = [step[token].logprob for token, step in zip(each.tokens, steps, strict=True)]
            found.append(np.array(values, np.float32))
        return found

    def load_weights(self, weights: Mapping[str, torch.Tensor]) -> None:
        """See `policies.engines.backbone.Engine`."""
        self._engine.collective_rpc("start_weight_update")
        self._engine.collective_rpc("update_weights", args=({"weights": weights},))
        self._engine.collective_rpc("finish_weight_update")

    def figures(self) -> Figures:
        return self._figures.take()

    def close(self) -> None:
        self._engine.engine_core.shutdown()

    def _answers(
        self, groups: Sequence[list[Request]], embed: Embed | None, together: bool = False,
        logprobs: int | None = None,
    ) -> list[RequestOutput]:  # fmt: skip
        """The answer to the first request of each group. Those of a group are at the same token in
        every step if all that is asked at once is read in one: `together`."""
        for context, wish, _ in (request for group in groups for request in group):
            self._require_room(len(context), wish.steps)
        self._engine.abort_request(list(self._open))  # of a call that failed
        self._open.clear()
        if not self._engine.reset_prefix_cache():
            raise RuntimeError(
                "the engine's prefix cache is in use, though no request is in flight"
            )
        answers: list[RequestOutput] = []
        for part in self._parts(groups) if together else [groups]:
            asked = [[self._add(request, embed, logprobs) for request in group] for group in part]
            found = self._finish()
            answers += [found[names[0]] for names in asked]
        return answers

    def _require_room(self, context: int, answer: int) -> None:
        if context + answer > self._length:  # it would be cut short without a word
            raise PromptError(
                f"A context of {context} tokens and its answer of up to {answer} need more than the "
                f"engine's {self._length}; raise engine.max_length or lower max_tokens."
            )

    def _add(self, request: Request, embed: Embed | None, logprobs: int | None) -> str:
        context, wish, stop = request
        self._made += 1
        prompt: Any = {"prompt_token_ids": list(context)}
        if embed is not None:
            prompt = {"prompt_embeds": embed(context).cpu()}
        self._engine.add_request(str(self._made), prompt, _params(wish, stop, logprobs))
        self._open.add(str(self._made))
        return str(self._made)

    def _finish(self) -> dict[str, RequestOutput]:
        found: dict[str, RequestOutput] = {}
        while self._engine.has_unfinished_requests():
            for output in self._engine.step():
                assert isinstance(output, RequestOutput)
                if output.finished:
                    found[output.request_id] = output
                    self._open.discard(output.request_id)
        return found

    def _parts(self, groups: Sequence[list[Request]]) -> Iterator[list[list[Request]]]:
        """As many groups at a time as can be read and kept at once."""
        part: list[list[Request]] = []
        rows = read = blocks = 0
        for group in groups:
            tokens = sum(len(context) for context, _, _ in group)
            kept = sum(-(-(len(context) + wish.steps) // BLOCK) for context, wish, _ in group)
            if part and (
                rows + len(group) > ROWS
                or read + tokens > self._read
                or blocks + kept >= self._blocks
            ):
                yield part
                part, rows, read, blocks = [], 0, 0, 0
            part.append(group)
            rows, read, blocks = rows + len(group), read + tokens, blocks + kept
        if part:
            yield part


def _requests(pair: int, row: Row, allowed: slice, stop: int | None) -> list[Request]:
    """One, or two for a guided row."""
    guided = row.guidance != 1
    own = Wish(_ends(allowed), row.temperature, row.guidance, int(row.seed), row.max_tokens, pair)
    free = Wish(_ends(allowed), steps=row.max_tokens, pair=pair, free=True)
    return [(row.context, own, stop), *([(row.free, free, stop)] if guided else [])]


def _ends(allowed: slice) -> tuple[int, int]:
    return allowed.start, allowed.stop


def _params(wish: Wish, stop: int | None, logprobs: int | None) -> SamplingParams:
    return SamplingParams(
        temperature=0.0, max_tokens=wish.steps, ignore_eos=True, detokenize=False,
        output_kind=RequestOutputKind.FINAL_ONLY,
        stop_token_ids=[] if stop is None else [stop], logprobs=logprobs, extra_args=asdict(wish),
    )  # fmt: skip
