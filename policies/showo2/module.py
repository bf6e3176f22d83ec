"""All of a Show-o2 that can learn, behind one forward pass; the autoencoder is apart, for it is frozen.

Invariant: `state_dict` has exactly the released names, and all compute that needs weights goes through
`forward` of the root, as FSDP2 needs it. Without a cache every part runs in every pass, on empty
selections too, so that all workers reduce the same parameters.

Times are those of `policies.flow` (1: noise), and so are velocities; the released model counts time the
other way round, and is told so here alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from policies.flowing.cache import Cache
from policies.flowing.drawing import Outputs
from policies.flowing.samples import Grid
from policies.flowing.times import Times
from policies.flowing.transformer import LanguageModel, Seats, turned, turns
from policies.flowing.vision import VisionLayer
from policies.showo2.config import Showo2Config
from policies.showo2.head import INNER_EPS, Last, ModulatedLayer, projection, stretched
from policies.showo2.samples import Sample, Shown
from policies.showo2.semantic import Patches, Semantic
from policies.showo2.sequence import Batch, padded

LAYERS = r"(showo\.model\.layers|diffusion_head_a)\.\d+\."
ADAPTED = LAYERS + r"(self_attn\.[qkvo]_proj|mlp\.(gate|up|down)_proj)"
"""The layers that adapters sit on: those of the language model and of the flow head."""


class Showo2Module(nn.Module):
    def __init__(self, config: Showo2Config) -> None:
        super().__init__()
        self.config, width, head = config, config.language.hidden_size, config.head
        self.showo = LanguageModel(config.language)
        if config.tied:
            self.tie()
        given, patch = config.autoencoder.latents, config.latent_patch
        self.image_embedder_gen = Patches(given, width, patch)
        if semantic := config.semantic:
            self.image_embedder_und = Patches(given, semantic.hidden_size, patch)
            self.position_embedding = nn.Embedding(semantic.side**2, semantic.hidden_size)
            self.und_trans = Semantic(semantic)
            both = semantic.hidden_size + width
            self.fusion_proj = nn.Sequential(
                nn.RMSNorm(both, eps=INNER_EPS), nn.Linear(both, width), nn.GELU(), nn.Linear(width, width)
            )  # fmt: skip
        self.time_embed = Times(head.width)
        if head.width != width:
            self.diff_proj = projection(config)
            self.time_embed_proj = nn.Linear(head.width, width)
        self.diffusion_head_a = nn.ModuleList(ModulatedLayer(head) for _ in range(head.layers))
        self.diffusion_head_b = Last(head.width, config.latent_values)

    def tie(self) -> None:
        """Words are written by the table that they are read by."""
        self.showo.lm_head.weight = self.showo.model.embed_tokens.weight

    def forward(self, batch: Batch, cache: Cache | None = None) -> Outputs:
        """Reads a batch that is `on` the module's device. With a cache it also sees what that keeps, and
        writes its own keys and values behind it; one without room for the flow head's is read by the
        language model alone, and gives no velocities."""
        times = self.time_embed(1 - batch.times, self.dtype)
        x, places = self._tokens(batch, times)
        flat, language = batch.positions.flatten(), self.config.language
        turn = turns(flat[places], language.head_dim, language.rope_theta)
        shape = (batch.positions.shape[0], batch.positions.shape[1])
        seats = Seats(shape, ("",), (places,), (turn,), batch.mask, cache)
        (states,) = self.showo.model((x,), seats)
        logits = self.showo.lm_head(states.index_select(0, batch.scored))
        if cache is not None and len(cache.blocks) == language.layers != self.cached:
            return Outputs(logits.float(), logits.new_zeros(0, self.config.latent_values))
        return Outputs(logits.float(), self._velocities(batch, states, times, cache))

    def _tokens(self, batch: Batch, times: Tensor) -> tuple[Tensor, Tensor]:
        """The embeddings [tokens, hidden] of words, times and latents, and their places."""
        words = self.showo.model.embed_tokens(batch.words)
        named = self.time_embed_proj(times) if hasattr(self, "time_embed_proj") else times
        x = torch.cat([words, named.to(words.dtype), self.pictures(batch).to(words.dtype)])
        return x, torch.cat([batch.word_places, batch.time_places, batch.latent_places])

    def pictures(self, batch: Batch) -> Tensor:
        """The embeddings of the latents [n, hidden]: what they show beside what they are."""
        latents = batch.latents.to(self.dtype)
        plain: Tensor = self.image_embedder_gen(latents)
        if self.config.semantic is None:
            return plain
        spots = torch.cat([plain.new_zeros(0, self.position_embedding.embedding_dim)]
                          + [self._spots(grid) for grid in batch.grids])  # fmt: skip
        seen = self.image_embedder_und(latents)
        seen = self.und_trans(seen + spots.to(seen.dtype), batch.grids)
        if not batch.grids:  # the table of places takes part in every pass
            plain = plain + 0.0 * self.position_embedding.weight.sum()
        fused: Tensor = self.fusion_proj(torch.cat([seen, plain], -1))
        return fused

    def _spots(self, grid: Grid) -> Tensor:
        """The learned places of a grid [tokens, width]; of another shape than their own, bicubic between
        them (the released code's interpolation)."""
        table, side = (
            self.position_embedding.weight,
            round(self.position_embedding.num_embeddings**0.5),
        )
        if grid == (side, side):
            return table
        square = table.float().view(1, side, side, -1).permute(0, 3, 1, 2)
        spread = F.interpolate(square, size=grid, mode="bicubic", align_corners=False)
        return spread[0].flatten(1).T

    def _velocities(
        self, batch: Batch, states: Tensor, times: Tensor, cache: Cache | None
    ) -> Tensor:
        """Of the drawn latents, float32 [n, values] in the order of their tokens."""
        head, layers = self.config.head, self.config.language.layers
        words = torch.full_like(batch.words, -1)
        numbers = torch.arange(len(times), device=words.device)
        pictures = torch.cat([words, numbers, batch.owners]).index_select(0, batch.head_tokens)
        x = states.index_select(0, batch.head_tokens)
        if hasattr(self, "diff_proj"):
            x = self.diff_proj(x)
        rows, places = batch.head_sight.sample.shape
        turn = turned(batch.head_positions, stretched(head.head_dim, x.device))
        where = (batch.head_places,)
        seats = Seats((rows, places), ("",), where, (turn,), batch.head_mask, cache)
        for number, layer in enumerate(self.diffusion_head_a):
            x = layer(layers + number, x, seats, times, pictures)
        drawn, own = x.index_select(0, batch.drawn), pictures.index_select(0, batch.drawn)
        given = self.diffusion_head_b(drawn, times, own).float().flatten()
        return -given.index_select(0, batch.order).view(-1, self.config.latent_values)

    def padded(self, samples: Sequence[Sample], form: object, starts: Sequence[int] = ()) -> Batch:
        """What `policies.flowing.drawing` reads."""
        return padded(samples, self.config, starts)

    def blank(self, form: object, grid: Grid) -> Sample:
        """What stands for a drawing of this grid until its latents and its time are known."""
        tokens = torch.zeros(grid[0] * grid[1], self.config.latent_values)
        return [Shown(tokens, grid, 1.0, drawn=True)]

    def new_cache(self, rows: int, slots: int, head: bool = True) -> Cache:
        """An empty cache for this many places of each row, of the flow head's layers as well."""
        like, config = self.showo.lm_head.weight, self.config.language
        made = Cache(config.layers, rows, config.kv_heads, slots, config.head_dim, like)
        if head:
            own = self.config.head
            after = Cache(own.layers, rows, own.kv_heads, slots, own.head_dim, like)
            made.blocks += after.blocks
        return made

    @property
    def cached(self) -> int:
        """Layers that a cache for drawing has."""
        return self.config.language.layers + self.config.head.layers

    @property
    def language_model(self) -> LanguageModel:
        return self.showo

    def units(self) -> list[nn.Module]:
        """What to shard, in the order in which `forward` runs it."""
        seen: list[VisionLayer] = self.und_trans.stack() if self.config.semantic else []
        return [*seen, *self.showo.model.stack(), *self.diffusion_head_a]

    @property
    def dtype(self) -> torch.dtype:
        return self.showo.lm_head.weight.dtype


class Reading:
    """A module as texts are read and written by: without the flow head."""

    def __init__(self, module: Showo2Module) -> None:
        self.module, self.language_model, self.config = module, module.showo, module.config
        self.padded, self.blank = module.padded, module.blank

    def __call__(self, batch: Batch, cache: Cache) -> Outputs:
        read: Outputs = self.module(batch, cache)
        return read

    def new_cache(self, rows: int, slots: int) -> Cache:
        return self.module.new_cache(rows, slots, head=False)
