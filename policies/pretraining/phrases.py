"""Teaches the encoder of pictures which phrases are true of what it sees, before anything is written.

A caption tells a transformer little about which patches it speaks of, and shapes are what it learns
last. Here every pair of words that follow one another in a scene's prompt must be read off one
patch at least, and all pairs are learned at once: that takes a small part of the time.

Invariant: only texts of true scenes that are not held out are learned from. A step follows from
(seed, worker, step) and the weights alone.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from policies.pretraining.log import Log
from policies.pretraining.muon import Muon, matrices
from policies.seeds import derive, generator
from policies.tiny.lessons import Scene

SEEN_OFTEN = 20
"""Phrases of fewer scenes are left out."""
PASSED_OVER = ("a", "an", "the")
RATE = 2e-3


Look = Callable[[Sequence[Scene]], Tensor]
"""What is seen of the scenes' pictures: float32 [scenes, patches, width]."""


def train(
    eyes: nn.Module, look: Look, layers: Iterable[nn.Module], width: int, scenes: Sequence[Scene],
    seed: int, steps: int, batch: int,
) -> None:  # fmt: skip
    """Trains `eyes`, whose `layers` are what Muon moves; `batch` pictures of this worker a step."""
    told = [scene for scene in scenes if not scene.spoilt and not scene.wordless]
    places = known([scene.prompt.text for scene in told])
    with torch.random.fork_rng():
        torch.manual_seed(derive(seed, "phrases"))
        head = nn.Linear(width, len(places)).to(next(eyes.parameters()).device)
    nn.init.constant_(head.bias, -5.0)  # few are true of one picture
    eyes.requires_grad_(True).train()
    turned, others = matrices(layers, [*eyes.parameters(), *head.parameters()])
    optimizer, log = Muon(turned, others, RATE, 10 * RATE, steps), Log("phrases", steps)
    for step in range(1, steps + 1):
        chosen = generator(seed, "phrases", dist.get_rank(), step).integers(len(told), size=batch)
        shown = [told[i] for i in chosen]
        loss = missed(look, head, shown, places)
        loss.backward()
        optimizer.step()
        log(step, nats=loss.item())
    eyes.requires_grad_(False).eval()


def missed(look: Look, head: nn.Linear, shown: Sequence[Scene], places: dict[str, int]) -> Tensor:
    """The nats by picture of what is true of it and what is not: of each phrase at the patches
    that show it most."""
    by_patch = head(look(shown))
    found = by_patch.logsumexp(1) - math.log(by_patch.shape[1])
    true = torch.zeros(found.shape)
    for row, scene in enumerate(shown):
        true[row, [places[each] for each in phrases(scene.prompt.text) if each in places]] = 1.0
    true = true.to(found.device)
    return F.binary_cross_entropy_with_logits(found, true, reduction="sum") / len(shown)


def known(texts: Sequence[str]) -> dict[str, int]:
    """The phrases of all workers' texts that are frequent in those of worker 0, numbered."""
    counts = Counter(each for text in texts for each in phrases(text))
    told = [sorted(each for each, count in counts.items() if count >= SEEN_OFTEN)]
    dist.broadcast_object_list(told)
    return {each: number for number, each in enumerate(told[0])}


def phrases(text: str) -> Iterator[str]:
    """Words with the next one and the one after that."""
    words = [word for word in text.split() if word not in PASSED_OVER]
    for ahead in (1, 2):
        for first, second in zip(words, words[ahead:]):
            yield f"{first} {second}"
