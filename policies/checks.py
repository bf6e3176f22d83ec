"""What every family refuses alike, and how it takes weights that others hold.

Invariant: a refusal names what was given, what is allowed and the fix, in the same words for all
families.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import fields

import numpy as np
import torch
from torch import Tensor, nn

from policies.config import ConfigError
from policies.errors import describe
from policies.interface import (
    Condition,
    Context,
    Example,
    PictureSampling,
    PromptError,
    Segment,
    Unsupported,
)
from policies.named_tensors import require_tensors


def require_options(
    family: str, known: frozenset[str], sampling: Iterable[PictureSampling], section: str = ""
) -> None:
    """Raises ConfigError for the first setting that is not at its default and not `known`."""
    for how in dict.fromkeys(sampling):
        for field in fields(how):
            value = getattr(how, field.name)
            if field.name not in known and value != field.default:
                raise ConfigError(
                    f"{section}{field.name} is {describe(value)}: drawing by family {family} knows only "
                    f"{', '.join(sorted(known))}; leave it at {describe(field.default)}"
                )


def require_conditions(
    family: str, known: frozenset[Condition], chances: Mapping[Condition, float]
) -> None:
    """Raises ConfigError for a condition that shall be dropped and that the family cannot drop."""
    for name, chance in chances.items():
        if chance > 0 and name not in known:
            raise ConfigError(
                f"reconstruction.condition_dropout.{name} is {chance}: family {family} can drop "
                f"only {', '.join(sorted(known)) or 'nothing'}; set it to 0"
            )


def require_length(tokens: int, most: int, context: Context) -> None:
    """Raises PromptError for a prompt that with its answer has more tokens than a model holds."""
    if tokens > most:
        words = " ".join(part for part in context if isinstance(part, str))
        raise PromptError(
            f"The prompt {words[:60]!r} and its answer need {tokens} tokens, but the model "
            f"holds {most}; shorten the prompt or lower max_tokens."
        )


def require_text(*texts: str) -> None:
    """Raises PromptError for a text with half of a surrogate pair, which is no character: no
    tokenizer reads it, and no file or terminal takes it."""
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise PromptError(
                f"The text {text[:60]!r} has half of a surrogate pair at place {error.start + 1} of "
                f"its {len(text)} characters, which no tokenizer reads; leave it out."
            ) from None


def require_pixels(pixels: np.ndarray) -> None:
    """Raises ValueError for anything but uint8 [height, width, 3] that is not empty."""
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
        raise ValueError(
            f"Picture.pixels is {pixels.dtype} {pixels.shape}: it must be uint8 [height, width, 3]; "
            "policies.pictures.read makes one of any image file"
        )


def require_latents(latents: Tensor, shape: Sequence[int | Collection[int]]) -> None:
    """Raises ValueError for anything but finite floating-point numbers of this shape; a side may
    be one of several."""
    allowed = [{n} if isinstance(n, int) else set(n) for n in shape]
    fits = len(allowed) == latents.ndim and all(
        n in a for n, a in zip(latents.shape, allowed, strict=True)
    )
    if not fits or not latents.is_floating_point():
        sides = " x ".join(" or ".join(map(str, sorted(each))) for each in allowed)
        raise ValueError(
            f"Picture.latents of dtype {latents.dtype} and shape {tuple(latents.shape)} are not "
            f"{sides} real numbers; use latents that this policy sampled, or none."
        )
    if not latents.isfinite().all():
        raise ValueError(
            "Picture.latents are not all finite; use latents that this policy sampled, or none."
        )


def require_one(family: str, example: Example) -> Segment:
    """The target's one segment. Raises Unsupported where it has several, or one that is not learned."""
    if len(example.target) != 1 or not example.target[0].learned:
        raise Unsupported(
            f"a target of {len(example.target)} parts: family {family} learns one text or one picture "
            "at a time, and all of it; give one learned part"
        )
    return example.target[0].segment


def require_codes(codes: np.ndarray, tokens: int, kinds: int) -> None:
    """Raises ValueError for anything but `tokens` whole numbers from 0 to below `kinds`."""
    if codes.dtype.kind not in "iu":
        raise ValueError(
            f"Picture.codes of dtype {codes.dtype} are no whole numbers; use codes that this "
            "policy sampled (int32), or none."
        )
    if codes.shape != (tokens,) or codes.min() < 0 or codes.max() >= kinds:
        raise ValueError(
            f"Picture.codes of shape {codes.shape} from {codes.min(initial=0)} to "
            f"{codes.max(initial=0)} are not {tokens} codes from 0 to {kinds - 1}; "
            "use codes that this policy sampled, or none."
        )


def weight_views(weights: Mapping[str, np.ndarray], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The arrays as tensors, without a copy: float32, or bfloat16 of arrays that are uint16. Raises
    CheckpointError unless they have the names and shapes of `own`, and one of these dtypes."""
    found = {name: (array.shape, str(array.dtype)) for name, array in weights.items()}
    short = any(array.dtype == np.uint16 for array in weights.values())
    dtype = "uint16" if short else "float32"
    wanted = {name: (tuple(w.shape), dtype) for name, w in own.items()}
    require_tensors("load_weights: the mapping", found, wanted)
    with warnings.catch_warnings():
        # Shared arrays are read-only and stay so: nobody writes to a weight.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        views = {name: torch.from_numpy(array) for name, array in weights.items()}
    return {n: v.view(torch.bfloat16) for n, v in views.items()} if short else views


def take_weights(module: nn.Module, weights: Mapping[str, np.ndarray]) -> None:
    """The arrays become the parameters of `module`, which from now on are not trained: the very ones,
    or copies where type or device differ; none is written into. Raises CheckpointError."""
    own = dict(module.named_parameters())
    views = weight_views(weights, own)
    module.requires_grad_(False)
    for name, view in views.items():
        own[name].data = view.to(own[name])


def bfloat16_bits(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Float32 arrays rounded to bfloat16, as the uint16 arrays that `weight_views` reads."""
    return {
        name: torch.from_numpy(array).to(torch.bfloat16).view(torch.uint16).numpy()
        for name, array in weights.items()
    }
