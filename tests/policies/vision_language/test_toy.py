"""The toy: what it begins with, what it is taught, and the two families that read its folder."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from cluster.recipes import recipe
from policies.bagel.policy import BagelPolicy
from policies.bagel.samples import Text
from policies.bagel.sequence import padded
from policies.bagel.toy.pretrain import looked
from policies.external.policy import ExternalPolicy
from policies.interface import Context, Picture, PictureSampling, TextSampling, last_picture
from policies.pretraining.scenes import KINDS, pixels_of
from policies.tiny import lessons
from policies.tiny.world.language import is_held_out
from policies.tiny.world.mixing import mixed_up
from policies.tools.calls import parse
from policies.tools.policy import ToolsPolicy
from policies.vision_language.chat import asked
from policies.vision_language.toy import learning, model, seeing
from policies.vision_language.toy.pretrain import BAGEL
from tests.policies.external import small

RECIPE = Path(__file__).resolve().parents[3] / "configs" / "tiny-tools.yaml"
PROMPT = "a red circle above a blue star"


@pytest.fixture(scope="module")
def bagel() -> BagelPolicy:
    return BagelPolicy.from_pretrained(BAGEL)


@pytest.fixture(scope="module")
def toy(bagel: BagelPolicy, tmp_path_factory: pytest.TempPathFactory) -> ToolsPolicy:
    """One that has not learned, but sees and knows words."""
    folder = tmp_path_factory.mktemp("new")
    model.write(folder, 0)
    policy = model.loaded(folder)
    model.begin(policy, bagel)
    return policy


@pytest.fixture(scope="module")
def folder(toy: ToolsPolicy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("toys") / "vision-language"
    toy.save_pretrained(where)
    return where


@pytest.fixture(scope="module")
def scenes() -> list[lessons.Scene]:
    rng = np.random.default_rng(0)
    return [lessons.scene(rng, KINDS[i % len(KINDS)]) for i in range(48)]


# What it begins with


def test_its_eyes_are_those_of_the_bagel(
    toy: ToolsPolicy, bagel: BagelPolicy, scenes: list[lessons.Scene]
) -> None:
    pictures = [scene.picture for scene in scenes[:8]]
    seen = toy.eye.tensors(pictures)["pixel_values"]
    assert torch.equal(seen, pixels_of([each.pixels for each in pictures]))
    with torch.no_grad():
        ours = toy.module.model.vision_tower(seen).last_hidden_state
        theirs = looked(bagel.module, scenes[:8])
    assert float((ours - theirs).abs().max()) < 1e-5


def test_its_words_are_those_of_the_bagel(toy: ToolsPolicy, bagel: BagelPolicy) -> None:
    """A text alone: pictures are laid out in another way."""
    marks, words = toy.chat.tokenizer, bagel.layout.tokenizer
    text = [Text(words.encode(PROMPT, add_special_tokens=False).ids, learned=True)]
    batch = padded([text], bagel.layout.form).on("cpu")
    begin = marks.token_to_id("<|assistant|>")
    row = torch.tensor([[begin, *toy.chat.answer(PROMPT)]])
    with torch.no_grad():
        theirs = bagel.module(batch).logits
        states = toy.module.model.language_model(input_ids=row).last_hidden_state
        ours = toy.module.head(states)[0, :-1]
    both = [
        (marks.token_to_id(name), i)
        for name, i in words.get_vocab().items()
        if marks.token_to_id(name)
    ]
    assert len(both) > 500
    left, right = (torch.tensor(ids) for ids in zip(*both, strict=True))
    assert float((ours[:, left] - theirs[:, right]).abs().max()) < 1e-4


def test_its_projector_begins_near_what_the_bagel_tells_its_words(
    toy: ToolsPolicy, bagel: BagelPolicy, scenes: list[lessons.Scene]
) -> None:
    states = seeing.seen(toy.module.model, pixels_of([scene.picture.pixels for scene in scenes]))
    wanted = seeing.told(bagel.module, states)
    projector = toy.module.model.multi_modal_projector
    seeing.begin(projector, bagel.module, states)
    with torch.no_grad():
        missed = (projector(states) - wanted).square().mean()
    assert float(missed) < 0.1 * float(wanted.var())


# What it is taught


def test_a_call_is_read_in_known_words_after_what_is_read_to_draw(toy: ToolsPolicy) -> None:
    rng, tokenizer, longest = np.random.default_rng(1), toy.chat.tokenizer, 0
    blank = Picture(np.zeros((48, 48, 3), np.uint8))
    for _ in range(200):
        example = learning.call(lessons.Scene(lessons.seen_prompt(rng), blank), rng)
        lesson = toy.layout.lesson(example)
        begun = toy.read(toy.layout.begin(example.context), True).ids
        (part,) = example.target
        written = (*begun, *toy.chat.answer(str(part.segment)))
        assert lesson.read.ids == written
        assert lesson.places.tolist() == list(range(len(begun), len(written)))
        text = f"{toy.layout.instruction} {example.context[0]} {part.segment}"
        spelt = {name for id_ in written if len(name := tokenizer.id_to_token(id_)) == 1}
        assert spelt - {"\u010a"} <= {
            word for each in text.split() for word in (each, each.strip('"'))
        }
        longest = max(longest, len(lesson.places))
    assert longest == 17


def test_the_recipe_calls_as_the_toy_was_taught() -> None:
    options = recipe.load(RECIPE).policy.options()
    assert (options["tools"], options["call_tokens"], options["turns"]) == (
        model.TOOLS,
        model.CALL_TOKENS,
        1,
    )
    assert (options["sides"], options["plan"]) == ((), 0)


def test_half_of_the_calls_that_can_be_are_mixed_up() -> None:
    rng = np.random.default_rng(2)
    blank = Picture(np.zeros((48, 48, 3), np.uint8))
    mixed = could = 0
    for _ in range(3000):
        prompt = lessons.seen_prompt(rng)
        (part,) = learning.call(lessons.Scene(prompt, blank), rng).target
        said = parse(str(part.segment), ("draw",), ()).prompt
        other = mixed_up(prompt)
        assert said in (prompt.text, other.text if other else "") and not is_held_out(said)
        could += other is not None
        mixed += said != prompt.text
    assert 0.47 < mixed / could < 0.53 and 0.4 < could / 3000 < 0.5


def test_a_step_teaches_everything_but_pictures(
    toy: ToolsPolicy, scenes: list[lessons.Scene]
) -> None:
    shown = [scene for scene in scenes if not scene.wordless]
    taught = learning.taught(shown, 240, np.random.default_rng(3))
    assert not any(example.draws for example in taught)
    calls = sum(example.pattern == "generation" for example in taught)
    judged = sum(example.context[0] == "judge" for example in taught)
    spoken = sum(len(example.context) == 1 and example.pattern == "caption" for example in taught)
    assert 0.2 < calls / 240 < 0.4 and judged > 60 and spoken >= 20 * 0.5
    toy.module.requires_grad_(True)
    figures = learning.learn(toy, taught[:24])
    terms = toy.loss(taught[:24])["text"]
    own = [weight.grad.clone() for weight in toy.module.parameters() if weight.grad is not None]
    toy.module.zero_grad()
    (terms.total / terms.count).backward()
    again = [weight.grad for weight in toy.module.parameters() if weight.grad is not None]
    toy.module.zero_grad()
    toy.module.requires_grad_(False)
    assert set(figures) == {"text", "calls"} and len(own) == len(again)
    for left, right in zip(own, again, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-3, atol=1e-5)


# Who reads its folder


def contexts(picture: Picture) -> list[Context]:
    return [
        ("propose counting , one kind . like three red circles",),
        ("rate", PROMPT),
        ("judge", PROMPT, picture),
        (picture, "describe"),
        (picture, "answer", "what color is the circle"),
        (PROMPT,),
    ]


@pytest.fixture(scope="module")
def external(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> ExternalPolicy:
    where = tmp_path_factory.mktemp("external")
    small.stable_diffusion(where / "pipeline")
    small.create(where / "made", folder, where / "pipeline", "queries", slots=4, steps=2)
    return ExternalPolicy.from_pretrained(where / "made")


def test_both_families_read_the_same(
    folder: Path, external: ExternalPolicy, scenes: list[lessons.Scene]
) -> None:
    tools, picture = model.loaded(folder), scenes[0].picture
    assert external.eye.count(picture) == 36 and external.chat.end == tools.chat.end
    for context in contexts(picture):
        assert external.layout.question(context) == tools.read([asked(*context)], True)
        assert external.chat.answer(PROMPT) == tools.chat.answer(PROMPT)
    with torch.no_grad():
        (seen,) = tools.module.model.get_image_features(
            **tools.eye.tensors([picture])
        ).pooler_output
    torch.testing.assert_close(external.vision.see([picture])[0], seen, rtol=0, atol=1e-6)


def test_family_tools_writes_judges_and_draws(folder: Path, scenes: list[lessons.Scene]) -> None:
    policy = model.loaded(folder)
    asks = contexts(scenes[0].picture)
    texts = policy.write(asks, [TextSampling(max_tokens=5)] * len(asks), range(len(asks)))
    assert len(texts) == len(asks)
    (scored,) = policy.log_probs([asks[3]], [PROMPT])
    assert len(scored) == len(policy.chat.answer(PROMPT)) and (scored < 0).all()
    outputs = policy.draw([(PROMPT,)] * 4, [PictureSampling()] * 4, range(4))
    for output in outputs:  # it has not learned to call yet: most calls fail, and say why
        call, result = output
        assert parse(str(call.segment), ("draw",), ()) and not result.learned
        assert call.learned == (last_picture(output) is not None)
        assert last_picture(output) or str(result.segment).startswith(
            "There is no picture: The tool draw failed"
        )


def test_family_external_writes_judges_and_draws(
    folder: Path, external: ExternalPolicy, scenes: list[lessons.Scene]
) -> None:
    policy = external
    asks = contexts(scenes[0].picture)[:5]
    texts = policy.write(asks, [TextSampling(max_tokens=5)] * len(asks), range(len(asks)))
    greedy = partial(TextSampling, 0.0, 5)
    same = [
        each.write(asks, [greedy()] * len(asks), range(len(asks)))
        for each in (policy, model.loaded(folder))
    ]
    assert len(texts) == len(asks) and same[0] == same[1]
    (drawn,) = policy.draw([(PROMPT,)], [PictureSampling()], [0])
    picture = last_picture(drawn)
    assert picture is not None and picture.pixels.shape == (small.SIZE, small.SIZE, 3)
