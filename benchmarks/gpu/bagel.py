"""BAGEL's drawings at its real size, 512 pixels a side, guided by text, with random weights."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from benchmarks.gpu.figures import Card, Figure, peak_gib, seconds
from policies.bagel.autoencoder import Autoencoder
from policies.bagel.checkpoint import MARKS, Loaded
from policies.bagel.config import BagelConfig
from policies.bagel.module import BagelModule
from policies.bagel.pictures import Limits
from policies.bagel.policy import BagelPolicy
from policies.bagel.samples import Format
from policies.bagel.sizes import KNOWN, known
from policies.interface import PictureSampling
from tests.policies.bagel.small import CONFIG as SMALL
from tests.policies.bagel.small import tokenizer

REAL = known(KNOWN / "BAGEL-7B-MoT.json")
PROMPT = "a red circle above two blue squares, in the style of a woodcut"
STEPS, GUIDANCE = 5, 4.0


def figures(card: Card, small: bool) -> Iterator[Figure]:
    """Seconds of one network step for a whole batch, both branches, and pictures a second at the
    released 49 steps that follow from it; and the decoder's time alone."""
    policy = policy_of(SMALL if small else REAL, card.device, torch.bfloat16)
    side = 32 if small else 512
    for batch in (1, 2, 4, 8):
        few, _ = drawing(policy, batch, side, STEPS)
        many, gib = drawing(policy, batch, side, 2 * STEPS)
        step = (many - few) / STEPS
        whole = 49 * step + max(few - STEPS * step, 0.0)
        least = card.seconds(2 * batch * step_flops(policy.module.config, side), 0.0)
        name = f"BAGEL, {side} pixels, {batch} at once"
        yield Figure(f"{name}: a guided step", 1 / step, "steps/s", 1 / least, gib)
        yield Figure(
            f"{name}: 49 steps, the decoder", batch / whole, "pictures/s", batch / 49 / least
        )


def drawing(policy: BagelPolicy, batch: int, side: int, steps: int) -> tuple[float, float]:
    """Seconds for a batch of so many steps, and GiB."""
    how = PictureSampling(guidance=GUIDANCE, renorm="global", size=(side, side), steps=steps)
    asked = [(PROMPT,)] * batch, [how] * batch, range(batch)
    return peak_gib(lambda: seconds(lambda: policy.draw(*asked)))


def step_flops(config: BagelConfig, side: int) -> float:
    """Of one branch of one picture: the generation expert's products and the attention."""
    language = config.language
    tokens = (side // config.token_pixels) ** 2
    hidden, inner = language.hidden_size, language.intermediate_size
    width = language.heads * language.head_dim
    linear = hidden * (2 * width + 2 * language.kv_heads * language.head_dim) + 3 * hidden * inner
    attention = 2 * width * (tokens + len(PROMPT) // 4)
    return float(2 * language.layers * tokens * (linear + attention))


def policy_of(config: BagelConfig, device: str, dtype: torch.dtype) -> BagelPolicy:
    """Random weights, made where and as they are used."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    torch.manual_seed(0)
    with torch.device(device):
        module, autoencoder = BagelModule(config), Autoencoder(config.autoencoder)
    torch.set_default_dtype(before)
    text = tokenizer()
    form = Format.of(config, **{field: text.token_to_id(name) for field, name in MARKS.items()})
    patch, token = config.vision.patch, config.token_pixels
    seen = Limits(config.vision.side * patch, patch, patch, 2**24)
    drawn = Limits(config.latent_side * token, token, token, 2**24)
    loaded = Loaded(module.eval(), autoencoder.eval(), text, form, {}, (seen, seen, drawn))
    made = BagelPolicy(loaded)
    made.sample_on(device, str(dtype)[6:])
    return made
