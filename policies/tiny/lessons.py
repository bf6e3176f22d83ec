"""What the base model is taught: clean understanding, drawing from captions that mix things up.

Invariant: a lesson follows from its generator alone. Everything that understands (caption,
answer, judge) is taught from true pairs; only drawing sees captions of which half mix up what
belongs to what, as captions on the web do. That difference is the model's conduction aphasia.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from policies.interface import Context, Example, Picture, learned
from policies.tiny.world import language, questions, render
from policies.tiny.world.mixing import mixed_up

# How often a caption is mixed up where it can be: one in five gives a held-out prompt and stays, so half
# of all are. Neither a lower temperature nor guidance can tell which half.
MIXED_UP = 0.625
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


def web_caption(prompt: language.Prompt, rng: np.random.Generator) -> language.Prompt:
    """What a scene of `prompt` is captioned with where drawing is learned. Never by a held-out prompt: it
    would be shown with wrong pictures only, and be learned so."""
    other = mixed_up(prompt) if rng.random() < MIXED_UP else None
    return prompt if other is None or language.is_held_out(other.text) else other


def drawing(scene: Scene, rng: np.random.Generator) -> Lesson:
    return (web_caption(scene.prompt, rng).text,), scene.picture


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
        return ("rate", prompt.text), json.dumps({"score": rated(prompt.text)})
    words = prompt.text.split()
    place = int(rng.integers(len(words)))
    broken = [*words[:place], *words[place + 1 :]] if rng.random() < 0.5 else list(words)
    if len(broken) == len(words):
        broken[place] = str(rng.choice(language.WORDS))
    text = " ".join(broken)
    return ("rate", text), json.dumps({"score": rated(text)})


def rated(text: str) -> int:
    """From 0 to 10; see `rating`."""
    try:
        return min(10, 5 + len(language.parse(text).facts) // 2)
    except ValueError:
        return 0


DRAWING = 0.36
# The shares of what is read, among themselves.
READING: tuple[tuple[float, Callable[[Scene, np.random.Generator], Lesson]], ...] = (
    (0.34, caption),
    (0.20, answer),
    (0.46, judgement),
)


def lesson(scene: Scene, rng: np.random.Generator, share: float = DRAWING) -> Example:
    """One thing to learn from `scene`, drawing with the chance `share`; a spoilt scene only ever teaches
    the Judge."""
    if scene.wordless:
        return Example(("",), learned(scene.picture), "generation")
    if scene.spoilt:
        context, target = judgement(scene, rng)
        return Example(context, learned(target), "judgement")
    if rng.random() < share:
        context, target = drawing(scene, rng)
        return Example(context, learned(target), "generation")
    chosen = int(rng.choice(len(READING), p=[part for part, _ in READING]))
    context, target = READING[chosen][1](scene, rng)
    return Example(context, learned(target), "caption")


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
