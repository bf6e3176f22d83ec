"""Janus-Pro's drawings at its real sizes, guided, with random weights."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import JanusConfig, JanusForConditionalGeneration

from benchmarks.gpu.figures import Card, Figure, peak_gib, seconds
from policies.interface import PictureSampling
from policies.janus.checkpoint import Loaded
from policies.janus.policy import JanusPolicy
from policies.janus.sizes import KNOWN
from policies.janus.tokens import parse
from tests.policies.janus import GOLDEN, tokenizer

PROMPT, GUIDANCE, BYTES = "a red circle above two blue squares", 5.0, 2


def figures(card: Card, small: bool) -> Iterator[Figure]:
    sizes = {"tiny": (GOLDEN / "hf_config.json", (2, 4))} if small else {
        "1B": (KNOWN / "Janus-Pro-1B.json", (32, 96, 192)),
        "7B": (KNOWN / "Janus-Pro-7B.json", (32, 96)),
    }  # fmt: skip
    for name, (file, batches) in sizes.items():
        policy = policy_of(file, card.device, torch.bfloat16)
        for batch in batches:
            taken, gib = drawing(policy, batch)
            least = drawing_seconds(card, policy.module, batch)
            said = f"Janus-Pro-{name}, {batch} at once"
            yield Figure(said, batch / taken, "pictures/s", batch / least, gib)


def drawing(policy: JanusPolicy, batch: int) -> tuple[float, float]:
    """Seconds for the codes of a batch, and GiB."""
    how = [PictureSampling(guidance=GUIDANCE)] * batch
    asked = [(PROMPT,)] * batch, how, range(batch)
    return peak_gib(lambda: seconds(lambda: policy.sample_codes(*asked), least=0.0))


def drawing_seconds(card: Card, module: Any, batch: int) -> float:
    """The least for the codes of a batch: each step reads the weights once, and of two branches of
    each drawing all keys and values so far."""
    config = module.model.language_model.config
    parts = (module.model.language_model.layers, module.model.generation_head)
    weights = sum(w.numel() for part in parts for w in part.parameters())
    kept = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * BYTES
    steps, question = module.features, len(PROMPT) // 4 + 8
    return sum(
        card.seconds(4.0 * batch * weights, BYTES * weights + 2.0 * batch * kept * (question + i))
        for i in range(steps)
    )


def policy_of(file: Path, device: str, dtype: torch.dtype) -> JanusPolicy:
    """Random weights, made where and as they are used."""
    data = tokenizer().to_str().encode()
    text, special = parse(Path("tokenizer.json"), data)
    config = JanusConfig.from_dict(json.loads(file.read_text()) | {"tie_word_embeddings": False})
    config.text_config.vocab_size = max(config.text_config.vocab_size, 320)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    torch.manual_seed(0)
    with torch.device(device):
        net = JanusForConditionalGeneration(config).eval()
    torch.set_default_dtype(before)
    policy = JanusPolicy(Loaded(net, text, special, {}))
    policy.sample_on(device, str(dtype)[6:])
    return policy
