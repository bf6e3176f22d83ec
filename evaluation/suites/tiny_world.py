"""The tiny world's suite: unlimited prompts and scenes, and an oracle that reads pixels.

Invariant: prompts and scenes are held out: none of their texts was ever shown in pretraining.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from evaluation.suites import NEVER_RIGHT, Twins, Verdict
from policies.interface import Picture
from policies.seeds import generator
from policies.tiny.world import oracle
from policies.tiny.world.language import CATEGORIES, is_held_out, parse, sample_prompt
from policies.tiny.world.questions import Question, questions
from policies.tiny.world.render import render, sample_scene
from policies.tiny.world.scene import SIDE, Prompt
from policies.tiny.world.twins import present, twin

DRAWING = (SIDE, SIDE, 3)
"""The shape of what the oracle reads; a model of another family may draw larger."""
EXHAUSTED = 300
"""After so many held-out draws without a new prompt, a category starts to repeat itself."""


class TinyWorld:
    name = "tiny_world"
    categories = tuple(CATEGORIES)

    def prompts(self, n: int, seed: int) -> list[tuple[str, str]]:
        return [(prompt.text, prompt.category) for prompt in self._prompts("prompts", n, seed)]

    def scenes(self, n: int, seed: int) -> list[tuple[Picture, str]]:
        made = []
        for i, prompt in enumerate(self._prompts("scenes", n, seed)):
            scene = sample_scene(prompt, generator(self.name, "scene", seed, i))
            made.append((Picture(render(scene)), prompt.text))
        return made

    def grammatical(self, prompt: str) -> bool:
        try:
            parse(prompt)
        except ValueError:
            return False
        return True

    def held_out(self, prompt: str) -> bool:
        return is_held_out(prompt)

    def verdict(self, pixels: np.ndarray, prompt: str) -> Verdict:
        asked = parse(prompt)
        if pixels.shape != DRAWING:
            return NEVER_RIGHT
        # The facts are read once for score, soft and all_right, because reading is slow.
        facts = oracle.read_facts(pixels, asked)
        soft = sum(facts) / len(facts)
        return Verdict(10.0 if all(facts) else 6.0 * soft, all(facts), soft)

    def questions(self, prompt: str) -> Sequence[Question]:
        return questions(parse(prompt))

    def shown(self, prompt: str) -> Picture:
        return Picture(render(sample_scene(parse(prompt), generator(self.name, "shown", prompt))))

    def twins(self, n: int, seed: int) -> list[Twins]:
        made = []
        for i, prompt in enumerate(self._prompts("scenes", n, seed)):
            for find in (twin, present):
                other = find(prompt, generator(self.name, find.__name__, seed, i))
                if other is not None:
                    # The same generator arranges both, so that nothing else need differ.
                    scenes = (sample_scene(each, generator(self.name, "scene", seed, i))
                              for each in (prompt, other.prompt))  # fmt: skip
                    first, second = (Picture(render(scene)) for scene in scenes)
                    made.append(Twins((first, second), (other.original, other.other)))
        return made

    def caption_right(self, picture: Picture, caption: str) -> bool:
        return self.grammatical(caption) and self.verdict(picture.pixels, caption).right

    def _prompts(self, kind: str, n: int, seed: int) -> list[Prompt]:
        each = [self._of(category, kind, seed) for category in self.categories]
        return [next(each[i % len(each)]) for i in range(n)]

    def _of(self, category: str, kind: str, seed: int) -> Iterator[Prompt]:
        """Yields held-out prompts of one category, all different while there are new ones."""
        rng = generator(self.name, kind, seed, category)
        seen: set[str] = set()
        misses = 0
        while True:
            prompt = sample_prompt(rng, category)
            if not is_held_out(prompt.text):
                continue
            if prompt.text in seen and misses < EXHAUSTED:
                misses += 1
                continue
            if prompt.text in seen:
                seen.clear()
            misses = 0
            seen.add(prompt.text)
            yield prompt


def suite() -> TinyWorld:
    return TinyWorld()
