"""Compares our sampler with `transformers.generate` and with its own multiply-adds as plain
products.

Invariant: one process, one thread, the same weights and prompts for all; interleaved repeats, timed
in processor seconds, so that a busy machine slows all of them alike.

`python -m benchmarks.sampler [--checkpoint DIR]`
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.timing import measure
from policies.interface import PictureSampling
from policies.sampling import Row
from policies.seeds import generator
from policies.tiny.policy import TinyPolicy
from policies.tiny.sampler import sample_tokens
from policies.tiny.text import BOS, EOS, IMAGE, PAD, PIECES, SEP

PROMPTS, ROLLOUTS, WORDS = 16, 8, 12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, help="default: random weights, 400 words")
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.checkpoint:
        policy = TinyPolicy.from_pretrained(arguments.checkpoint)
    else:
        policy = TinyPolicy.create([f"word{i}" for i in range(400)], seed=0)
    prompts = make_prompts(policy)
    contexts = [(prompt,) for prompt in prompts for _ in range(ROLLOUTS)]
    rows = [
        Row((BOS, *policy.text.encode(prompt), SEP, IMAGE), 1.0, 1.0, i, 36)
        for i, (prompt,) in enumerate(contexts)
    ]
    drawn = slice(policy.text.code_offset, policy.text.size)
    count = len(rows)
    guided = [PictureSampling(guidance=3.0)] * count
    jobs: dict[str, Callable[[], object]] = {
        "matrix products alone": products(policy, rows),
        "our sampler": lambda: sample_tokens(policy.module, rows, drawn),
        "transformers generate": generate(policy, rows),
        "our draw, with pixels": lambda: policy.draw(
            contexts, [PictureSampling()] * count, range(count)
        ),
        "our draw, guidance 3": lambda: policy.draw(contexts, guided, range(count)),
    }
    report(measure(jobs, arguments.repeats), count)


def make_prompts(policy: TinyPolicy) -> list[str]:
    """Returns prompts of WORDS - 4 to WORDS random known words."""
    known = [word for word in policy.text.words if word not in PIECES]
    chance = generator("benchmark")
    return [" ".join(chance.choice(known, size=WORDS - i % 5).tolist()) for i in range(PROMPTS)]


def generate(policy: TinyPolicy, rows: list[Row]) -> Callable[[], Tensor]:
    """Returns generation by transformers; a mask added to the scores allows only image codes."""
    from transformers import (
        GenerationConfig,
        LlamaForCausalLM,
        LogitsProcessor,
        LogitsProcessorList,
    )

    class Codes(LogitsProcessor):
        def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
            return scores + mask

    mask = torch.full((policy.text.size,), -float("inf"))
    mask[policy.text.code_offset :] = 0
    with tempfile.TemporaryDirectory() as folder:
        policy.save_pretrained(folder)
        model: Any = LlamaForCausalLM.from_pretrained(folder)
    distinct = list(dict.fromkeys(row.context for row in rows))
    longest = max(map(len, distinct))
    ids = torch.tensor([[PAD] * (longest - len(c)) + list(c) for c in distinct])
    how = GenerationConfig(
        do_sample=True, top_k=0, top_p=1.0, use_cache=True, max_new_tokens=36,
        num_return_sequences=ROLLOUTS, pad_token_id=PAD, eos_token_id=EOS,
    )  # fmt: skip
    seen, only = (ids != PAD).long(), LogitsProcessorList([Codes()])

    def run() -> Tensor:
        found: Tensor = model.generate(
            ids, attention_mask=seen, generation_config=how, logits_processor=only
        )
        return found

    return run


def products(policy: TinyPolicy, rows: list[Row]) -> Callable[[], None]:
    """Returns every multiply-add of our sampler as plain products of the same shapes."""
    model, config = policy.module, policy.module.config
    longest, count = max(len(row.context) for row in rows), len(rows)
    linear = [w for layer in model.layers for w in layer.parameters() if w.ndim == 2]
    head = model.head.weight[policy.text.code_offset :]
    share, width = config.heads // config.kv_heads, config.head_dim
    inputs = {
        (n, w.shape[1]): torch.randn(n, w.shape[1])
        for w in (*linear, head)
        for n in (count, PROMPTS * longest)
    }
    queries = torch.randn(count * config.kv_heads, share, width)
    cached = torch.randn(count * config.kv_heads, longest + 36, width)
    weights = torch.rand(count * config.kv_heads, share, longest + 36)
    q = torch.randn(PROMPTS * config.heads, longest, width)

    @torch.inference_mode()
    def run() -> None:
        for w in linear:
            inputs[PROMPTS * longest, w.shape[1]] @ w.T
        for _ in range(config.layers):
            (q @ q.transpose(1, 2)) @ q
        for slot in range(longest, longest + 36):
            inputs[count, head.shape[1]] @ head.T
            if slot == longest + 35:
                break
            for w in linear:
                inputs[count, w.shape[1]] @ w.T
            for _ in range(config.layers):
                queries @ cached[:, : slot + 1].transpose(1, 2)
                weights[..., : slot + 1] @ cached[:, : slot + 1]

    return run


def report(seconds: dict[str, float], count: int) -> None:
    peer, floor = seconds["transformers generate"], seconds["matrix products alone"]
    load = os.getloadavg()[0]
    print(f"{count} rows: {PROMPTS} prompts x {ROLLOUTS}, 36 codes each; load {load:.1f}")
    print(f"{'':24}{'images/cpu s':>14}{'x transformers':>16}{'of the products':>17}")
    for name, taken in seconds.items():
        print(f"{name:24}{count / taken:14.1f}{peer / taken:16.2f}{floor / taken:17.0%}")


if __name__ == "__main__":
    main()
