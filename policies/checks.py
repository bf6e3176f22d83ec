"""What every family refuses alike, and how it takes weights that others hold.

Invariant: a refusal names what was given, what is allowed and the fix, in the same words for all
families.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from policies.interface import Context, PromptError
from policies.named_tensors import require_tensors


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
    """The arrays as tensors, without a copy. Raises CheckpointError unless they have the names and
    shapes of `own`, in float32."""
    found = {name: (array.shape, str(array.dtype)) for name, array in weights.items()}
    wanted = {name: (tuple(w.shape), "float32") for name, w in own.items()}
    require_tensors("load_weights: the mapping", found, wanted)
    with warnings.catch_warnings():
        # Shared arrays are read-only and stay so: nobody writes to a weight.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return {name: torch.from_numpy(array) for name, array in weights.items()}
