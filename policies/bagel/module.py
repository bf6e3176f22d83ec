"""All of BAGEL that can learn, behind one forward pass; the autoencoder is apart, for it is frozen.

Invariant: `state_dict` has exactly the released names, and all compute that needs weights goes
through `forward` of the root, as FSDP2 needs it. Without a cache every part runs in every pass, on
empty selections too, so that all workers reduce the same parameters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from policies.bagel.config import BagelConfig
from policies.bagel.embeddings import Connector, Places
from policies.bagel.samples import Format, Noise, Sample
from policies.bagel.sequence import Batch, padded
from policies.bagel.vision import Vision
from policies.flowing.cache import Cache
from policies.flowing.config import EXPERTS
from policies.flowing.drawing import Outputs
from policies.flowing.samples import Grid
from policies.flowing.times import Times
from policies.flowing.transformer import LanguageModel, Seats, Streams, turns

TABLES = ("latent_pos_embed.pos_embed", "vit_pos_embed.pos_embed")
LAYERS = r"language_model\.model\.layers\.\d+\."
ADAPTED = {
    "all": LAYERS + r"(self_attn\.[qkvo]_proj(_moe_gen)?|mlp(_moe_gen)?\.(gate|up|down)_proj)",
    "generation": LAYERS + r"(self_attn\.[qkvo]_proj_moe_gen|mlp_moe_gen\.(gate|up|down)_proj)",
}
"""The layers that adapters sit on: those of both experts, or of the one that draws."""


class BagelModule(nn.Module):
    def __init__(self, config: BagelConfig) -> None:
        super().__init__()
        self.config, width = config, config.language.hidden_size
        self.language_model = LanguageModel(config.language)
        self.time_embedder = Times(width)
        self.vae2llm = nn.Linear(config.latent_values, width)
        self.llm2vae = nn.Linear(width, config.latent_values)
        self.latent_pos_embed = Places(config.latent_side, width)
        self.vit_model = Vision(config.vision)
        self.connector = Connector(config.vision.hidden_size, width)
        self.vit_pos_embed = Places(config.vision.side, width)

    def forward(self, batch: Batch, cache: Cache | None = None) -> Outputs:
        """Reads a batch that is `on` the module's device. With a cache it also sees what that
        keeps, and writes its own keys and values behind it, where `Cache.keep` may keep them."""
        read = self.read(batch, cache)
        logits = self.language_model.lm_head(read[0].index_select(0, batch.scored))
        # Without latents there are no velocities either, of any expert's states.
        velocities = self.llm2vae(read[-1].index_select(0, batch.drawn))
        return Outputs(logits.float(), velocities.float())

    def read(self, batch: Batch, cache: Cache | None = None) -> Streams:
        """The last hidden states of words then patches, and of latents, [tokens, hidden] each. With
        a cache and without latents the second is left out."""
        states: Streams = self.language_model.model(*self.embed(batch, cache))
        return states

    def embed(self, batch: Batch, cache: Cache | None = None) -> tuple[Streams, Seats]:
        """The embeddings of the same tokens, and where they sit."""
        x: Streams = (self._words(batch, cache),)
        places: Streams = (torch.cat([batch.word_places, batch.patch_places]),)
        if cache is None or len(batch.latents):
            x, places = (*x, self._latents(batch)), (*places, batch.latent_places)
        flat, language = batch.positions.flatten(), self.config.language
        return x, Seats(
            (batch.positions.shape[0], batch.positions.shape[1]),
            EXPERTS[: len(x)],
            places,
            tuple(turns(flat[each], language.head_dim, language.rope_theta) for each in places),
            batch.mask,
            cache,
        )

    def _words(self, batch: Batch, cache: Cache | None) -> Tensor:
        words = self.language_model.model.embed_tokens(batch.words)
        if cache is not None and not batch.counts:
            return words
        return torch.cat([words, self.features(batch).to(words.dtype)])

    def features(self, batch: Batch) -> Tensor:
        """The embeddings of the patches [patches, hidden]."""
        patches = batch.patches.to(self.dtype)
        seen = self.connector(self.vit_model(patches, batch.patch_spots, batch.counts))
        features: Tensor = seen + self.vit_pos_embed(batch.patch_spots).to(seen.dtype)
        return features

    def _latents(self, batch: Batch) -> Tensor:
        mapped = self.vae2llm(batch.latents.to(self.dtype))
        time = self.time_embedder(batch.times, self.dtype).index_select(0, batch.owners)
        embedded: Tensor = mapped + time + self.latent_pos_embed(batch.latent_spots).to(time.dtype)
        return embedded

    def padded(self, samples: Sequence[Sample], form: Format, starts: Sequence[int] = ()) -> Batch:
        """As `policies.bagel.sequence`: what `policies.flowing.drawing` reads."""
        return padded(samples, form, starts)

    def blank(self, form: Format, grid: Grid) -> Sample:
        """What stands for a drawing of this grid until its latents and its time are known."""
        return [Noise(torch.zeros(grid[0] * grid[1], form.latent_values), grid, 0.0)]

    def new_cache(self, rows: int, slots: int) -> Cache:
        """An empty cache for this many places of each row."""
        like, config = self.language_model.lm_head.weight, self.config.language
        return Cache(config.layers, rows, config.kv_heads, slots, config.head_dim, like)

    def units(self) -> list[nn.Module]:
        """What to shard, in the order in which `forward` runs it."""
        return [*self.vit_model.stack(), *self.language_model.model.stack()]

    @property
    def dtype(self) -> torch.dtype:
        return self.language_model.lm_head.weight.dtype


def with_tables(config: BagelConfig, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`tensors` with the tables of places that fine-tuning leaves out, as they are computed."""
    sides = (config.latent_side, config.vision.side)
    made = {
        name: Places(side, config.language.hidden_size).pos_embed
        for name, side in zip(TABLES, sides)
        if name not in tensors
    }
    return made | dict(tensors)
