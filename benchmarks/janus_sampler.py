"""Compares Janus drawings with transformers' `generate` and with the published script.

Invariant: one process, one thread, the same random weights, prompt and guidance for all;
interleaved repeats, timed in processor seconds, so that a busy machine slows all of them alike. All
three end in the same decoder of codes to pixels, which is timed apart.

`python -m benchmarks.janus_sampler [--sizes tiny 100M]`
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import JanusConfig, JanusForConditionalGeneration

from benchmarks.timing import measure
from policies.interface import PictureSampling
from policies.janus.checkpoint import Loaded
from policies.janus.policy import JanusPolicy
from policies.janus.tokens import parse
from tests.policies.janus import tokenizer

PROMPT, GUIDANCE = "a red circle above two blue squares", 5.0
BATCHES = (8, 32)
PRODUCTS, DECODER = "matrix products alone", "codes to pixels alone"
PEERS = ("transformers generate", "the published script")


@dataclass(frozen=True)
class Size:
    """The shape of a model; "tiny" is that of tests/golden/janus_tiny."""

    hidden: int
    layers: int
    heads: int
    inner: int
    image: int
    channels: int
    repeats: int

    @property
    def tokens(self) -> int:
        return (self.image // 8) ** 2


SIZES = {
    "tiny": Size(64, 2, 4, 128, 32, 32, repeats=9),
    "100M": Size(768, 12, 12, 2048, 64, 64, repeats=3),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name in arguments.sizes:
        policy, net = model(SIZES[name])
        count = sum(w.numel() for w in net.parameters())
        print(f"{name}: {count / 1e6:.1f} M parameters, {SIZES[name].tokens} codes a drawing")
        for batch in BATCHES:
            jobs = {
                PRODUCTS: products(net, batch, SIZES[name]),
                "ours": ours(policy, batch),
                PEERS[0]: generate(policy, net, batch),
                PEERS[1]: script(policy, net, batch),
                DECODER: decoder(net, batch, SIZES[name]),
            }
            report(measure(jobs, SIZES[name].repeats), batch)


def model(size: Size) -> tuple[JanusPolicy, Any]:
    """Returns a policy, and the model of transformers with the same weights."""
    data = tokenizer().to_str().encode()
    text, special = parse(Path("tokenizer.json"), data)
    hidden = {"projection_dim": size.hidden}
    config = JanusConfig(
        text_config={
            "model_type": "llama", "vocab_size": 320, "hidden_size": size.hidden,
            "intermediate_size": size.inner, "num_hidden_layers": size.layers,
            "num_attention_heads": size.heads, "num_key_value_heads": size.heads,
            "max_position_embeddings": 1024, "bos_token_id": special.bos,
            "eos_token_id": special.eos, "pad_token_id": special.pad,
        },
        vision_config={
            "hidden_size": size.channels, "num_hidden_layers": 2, "num_attention_heads": 2,
            "image_size": size.image, "patch_size": 8, "num_image_tokens": size.tokens, **hidden,
        },
        vq_config={
            "num_embeddings": 64 if size.hidden < 100 else 16384, "base_channels": size.channels,
            "latent_channels": size.channels, "channel_multiplier": [1, 1, 1, 1],
            "image_token_embed_dim": size.hidden, **hidden,
        },
        image_token_id=special.image, tie_word_embeddings=False,
    )  # fmt: skip
    torch.manual_seed(0)
    net = JanusForConditionalGeneration(config).eval().requires_grad_(False)
    generation = net.generation_config
    generation.bos_token_id, generation.pad_token_id = special.bos, special.pad
    generation.eos_token_id = special.eos
    generation.generation_kwargs = {"boi_token_id": special.begin_image}
    return JanusPolicy(Loaded(net, text, special, {})), net


def question(policy: JanusPolicy) -> Tensor:
    return torch.tensor([policy.wording.question((PROMPT,), {}, drawing=True)])


def ours(policy: JanusPolicy, batch: int) -> Callable[[], object]:
    how = [PictureSampling(guidance=GUIDANCE)] * batch
    return lambda: policy.sample_codes([(PROMPT,)] * batch, how, range(batch))


def generate(policy: JanusPolicy, net: Any, batch: int) -> Callable[[], object]:
    ids = question(policy)[:, :-1]  # generate adds the token that begins the image

    @torch.inference_mode()
    def run() -> object:
        return net.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), generation_mode="image",
            do_sample=True, top_k=0, guidance_scale=GUIDANCE, num_return_sequences=batch,
        )  # fmt: skip

    return run


def script(policy: JanusPolicy, net: Any, batch: int) -> Callable[[], object]:
    """Rewrites the published generation_inference.py from its description: two rows per image, each
    of which reads the prompt, a growing cache, multinomial sampling."""
    ids = question(policy).repeat(2 * batch, 1)
    ids[1::2, 1:-1] = policy.wording.special.pad
    llama, steps = net.model.language_model, policy.module.features

    @torch.inference_mode()
    def run() -> object:
        codes = torch.zeros(batch, steps, dtype=torch.int64)
        x, cache = net.get_input_embeddings()(ids), None
        for at in range(steps):
            read = llama(inputs_embeds=x, use_cache=True, past_key_values=cache)
            cache = read.past_key_values
            logits = net.model.generation_head(read.last_hidden_state[:, -1])
            given, free = logits[0::2], logits[1::2]
            chances = torch.softmax(free + GUIDANCE * (given - free), -1)
            picked = torch.multinomial(chances, 1)
            codes[:, at] = picked[:, 0]
            both = torch.cat([picked, picked], 1).view(-1)
            x = net.prepare_embeddings_for_image_generation(both)[:, None]
        return codes

    return run


def products(net: Any, batch: int, size: Size) -> Callable[[], object]:
    """Returns every multiply-add that each new token takes in layers and heads."""
    model, rows = net.model, 2 * batch
    used = (*model.language_model.layers, model.generation_head, model.generation_aligner)
    linear = [w for part in used for w in part.parameters() if w.ndim == 2]
    inputs = {w.shape[1]: torch.randn(rows, w.shape[1]) for w in linear}

    @torch.inference_mode()
    def run() -> None:
        for _ in range(size.tokens):
            for w in linear:
                inputs[w.shape[1]] @ w.T

    return run


def decoder(net: Any, batch: int, size: Size) -> Callable[[], object]:
    codes = torch.zeros(batch, size.tokens, dtype=torch.int64)
    return torch.inference_mode()(lambda: net.decode_image_tokens(codes))


def report(seconds: dict[str, float], batch: int) -> None:
    pixels, best = seconds.pop(DECODER), min(seconds[peer] for peer in PEERS)
    print(
        f"  batch {batch}; load {os.getloadavg()[0]:.1f}; {DECODER}: {batch / pixels:.1f} images/s"
    )
    heads = ("images/cpu s", "x the better peer", "of the products", "with pixels")
    print(f"  {'':24}{heads[0]:>14}{heads[1]:>19}{heads[2]:>17}{heads[3]:>13}")
    for name, taken in seconds.items():
        share, whole = seconds[PRODUCTS] / taken, (best + pixels) / (taken + pixels)
        print(f"  {name:24}{batch / taken:14.2f}{best / taken:19.2f}{share:17.0%}{whole:12.2f}x")


if __name__ == "__main__":
    main()
