"""What the base model is taught: clean understanding, loosely captioned drawing.

Invariant: a lesson follows from its generator alone. Everything that understands (caption,
answer, judge) is taught from true pairs; only drawing sees captions that have been loosened,
as captions on the web are. That difference is the model's conduction aphasia.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from policies.interface import Context, Example, Picture, learned
from policies.tiny.world import language, questions, render

# How many facts of a drawing's caption are wrong: none, one, two.
LOOSENESS = (0.5, 0.33, 0.17)
# The same for a prompt that a drawing is judged by; half of all judgements are of right ones.
JUDGED_WRONG = (0.5, 0.32, 0.12, 0.06)
Lesson = tuple[Context, str | Picture]


@dataclass(frozen=True)
class Scene:
    """A rendered scene: its clean prompt, its image codes, and the facts that do not hold in it.

    Of a `wordless` scene only the picture is ever shown.
    """

    prompt: language.Prompt
    picture: Picture
    spoilt: frozenset[language.Fact] = frozenset()
    wordless: bool = False


def seen_prompt(rng: np.random.Generator) -> language.Prompt:
    """A prompt that is not held out for evaluation."""
    while True:
        prompt = language.sample_prompt(rng)
        if not language.is_held_out(prompt.text):
            return prompt


def loosened(
    prompt: language.Prompt, shares: tuple[float, ...], rng: np.random.Generator
) -> language.Prompt:
    """`prompt` with as many attributes replaced as the draw from `shares` says.

    Never a held-out one: it would be shown with wrong pictures only, and be learned so.
    """
    wrong = int(rng.choice(len(shares), p=shares))
    while True:
        told = prompt
        for _ in range(wrong):
            told, _ = language.corrupt(told, rng)
        if not language.is_held_out(told.text):
            return told


def drawing(scene: Scene, rng: np.random.Generator) -> Lesson:
    return (loosened(scene.prompt, LOOSENESS, rng).text,), scene.picture


def caption(scene: Scene, rng: np.random.Generator) -> Lesson:
    return (scene.picture, "describe"), scene.prompt.text


def answer(scene: Scene, rng: np.random.Generator) -> Lesson:
    asked = questions.questions(scene.prompt)
    question = asked[rng.integers(len(asked))]
    return (scene.picture, "answer", question.text), question.answer


def judgement(scene: Scene, rng: np.random.Generator) -> Lesson:
    shares = (0.7, 0.2, 0.07, 0.03) if scene.spoilt else JUDGED_WRONG
    asked = loosened(scene.prompt, shares, rng)
    if rng.random() < 0.05 and not scene.spoilt:
        asked = seen_prompt(rng)
    true = set(scene.prompt.facts) - scene.spoilt
    verdicts = [fact in true for fact in asked.facts]
    score = questions.judge_score(verdicts)
    told = json.dumps({"analysis": questions.analysis(asked, verdicts), "score": score})
    return ("judge", asked.text, scene.picture), told


def proposal(rng: np.random.Generator) -> Lesson:
    """Another prompt of the kind that was asked for, after up to two demonstrations."""
    prompt = seen_prompt(rng)
    shown = [language.sample_prompt(rng, prompt.category).text for _ in range(int(rng.integers(3)))]
    ask = f"propose {prompt.category} , {prompt.subcategory}"
    told = {
        "major_category": prompt.category,
        "subcategory": prompt.subcategory,
        "prompt": prompt.text,
    }
    return (ask + (" . like " + " . ".join(shown) if shown else ""),), json.dumps(told)


def rating(rng: np.random.Generator) -> Lesson:
    """A prompt is worth more the more it asks for; a broken one is worth nothing."""
    prompt = seen_prompt(rng)
    if rng.random() < 0.5:
        return ("rate", prompt.text), json.dumps({"score": min(10, 5 + len(prompt.facts) // 2)})
    words = prompt.text.split()
    place = int(rng.integers(len(words)))
    broken = [*words[:place], *words[place + 1 :]] if rng.random() < 0.5 else list(words)
    if len(broken) == len(words):
        broken[place] = str(rng.choice(language.WORDS))
    text = " ".join(broken)
    return ("rate", text), json.dumps({"score": _worth(text)})


def _worth(text: str) -> int:
    try:
        return min(10, 5 + len(language.parse(text).facts) // 2)
    except ValueError:
        return 0


SEEN: tuple[tuple[float, Callable[[Scene, np.random.Generator], Lesson]], ...] = (
    (0.36, drawing),
    (0.22, caption),
    (0.13, answer),
    (0.29, judgement),
)


def lesson(scene: Scene, rng: np.random.Generator) -> Example:
    """One thing to learn from `scene`; a spoilt scene only ever teaches the Judge."""
    if scene.wordless:
        return Example(("",), learned(scene.picture), "generation")
    if scene.spoilt:
        context, target = judgement(scene, rng)
        return Example(context, learned(target), "judgement")
    chosen = int(rng.choice(len(SEEN), p=[share for share, _ in SEEN]))
    context, target = SEEN[chosen][1](scene, rng)
    return Example(context, learned(target), "generation" if chosen == 0 else "caption")


def spoken(rng: np.random.Generator) -> Example:
    """A lesson without a picture: to propose prompts and to rate them."""
    context, target = proposal(rng) if rng.random() < 0.6 else rating(rng)
    return Example(context, learned(target), "caption")


def scene(rng: np.random.Generator, kind: str) -> Scene:
    """A scene of a prompt that is not held out, still without codes.

    `kind` is "clean", "spoilt", or "wordless": that may show anything, for on the web there are
    more pictures than captions.
    """
    prompt = language.sample_prompt(rng) if kind == "wordless" else seen_prompt(rng)
    if kind == "spoilt":
        pixels, fact = render.sample_malformed(prompt, rng)
        return Scene(prompt, Picture(pixels), frozenset([fact]))
    pixels = render.render(render.sample_scene(prompt, rng))
    return Scene(prompt, Picture(pixels), wordless=kind == "wordless")
