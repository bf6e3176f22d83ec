"""Show-o writes, draws and learns as the interface says; its numbers are in test_showo_golden."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import PreTrainedTokenizerFast

from policies import passed
from policies.interface import (
    Context,
    Example,
    ExampleKey,
    Picture,
    PictureSampling,
    PromptError,
    TextSampling,
    Unsupported,
    learned,
)
from policies.showo import reading
from policies.showo.config import MARKS
from policies.showo.pictures import pixels_of
from policies.showo.policy import STEPS, ShowoPolicy
from policies.showo.tokens import END
from policies.showo.unmasking import UNKNOWN, filled, hidden_count, schedule
from tests.policies.showo import CONFIG, picture, tokenizer, write_folder

PROMPTS = ("a red circle", "two blue squares above a very long description of a circle", "", "ö→猫")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("showo"))


@pytest.fixture(scope="module")
def policy(folder: Path) -> ShowoPolicy:
    """Random weights of deviation 0.02 say next to nothing: larger ones make every test sharper."""
    made = ShowoPolicy.from_pretrained(folder)
    with torch.no_grad():
        for weight in made.module.parameters():
            if weight.ndim == 2:
                weight.mul_(3)
    return made


@pytest.mark.parametrize("pattern", ["generation", "reflection"])
def test_a_drawing_that_was_learned_by_heart_is_drawn(folder: Path, pattern: str) -> None:
    """At other masks in every step, as a run has them: at one alone a model learns no more."""
    pupil = ShowoPolicy.from_pretrained(folder)
    contexts: list[Context] = [("a red circle",), ("the cat sits",)]
    if pattern == "reflection":
        contexts = [
            ("a red circle", picture(2), "mend it"),
            ("a red circle", picture(3), "mend it"),
        ]
    batch = [Example(context, learned(picture(i)), pattern) for i, context in enumerate(contexts)]
    optimizer = torch.optim.AdamW(pupil.module.parameters(), lr=6e-3, weight_decay=0.0)
    for epoch in range(1, 201):
        rekeyed = [replace(e, key=ExampleKey(1, 2, i, epoch)) for i, e in enumerate(batch)]
        term = pupil.loss(rekeyed)["codes"]
        optimizer.zero_grad()
        (term.total / term.count).backward()
        optimizer.step()
    for how in (PictureSampling(temperature=0.0), PictureSampling(steps=4), PictureSampling()):
        for example, output in zip(batch, pupil.draw(contexts, [how] * 2, [0, 1]), strict=True):
            wanted, found = example.target[0].segment, output[0].segment
            assert isinstance(wanted, Picture) and isinstance(found, Picture)
            assert np.mean(wanted.codes == found.codes) > 0.9, how


def test_a_loser_is_held_against_the_winner_at_the_same_masks(policy: ShowoPolicy) -> None:
    """What trainer.contrast takes for a likelihood that does not exist."""
    one = Example(("cat",), learned(picture(0)), "generation", ExampleKey(3, 1, 4))
    first, second = policy.layout.lessons([one, replace(one, target=learned(picture(1)))])
    assert np.array_equal(first.places, second.places)
    assert not np.array_equal(first.wanted, second.wanted)
    other = replace(one, key=ExampleKey(3, 1, 4, epoch=2))
    assert not np.array_equal(policy.layout.lessons([other])[0].places, first.places)


def test_only_hidden_tokens_are_learned_and_only_they_are_masked(policy: ShowoPolicy) -> None:
    codes = picture(0).codes.astype(np.int64) + CONFIG.first_code
    for group in range(20):
        example = Example(("cat",), learned(picture(0)), "generation", ExampleKey(group=group))
        (lesson,) = policy.layout.lessons([example])
        begin = len(lesson.ids) - CONFIG.tokens - 1
        shown = lesson.ids[begin:-1]
        masked = np.flatnonzero(shown == CONFIG.mask)
        assert np.array_equal(lesson.places, masked + begin)
        assert np.array_equal(lesson.wanted, codes[masked]) and 1 <= len(masked) <= CONFIG.tokens
        rest = shown != CONFIG.mask
        assert np.array_equal(shown[rest], codes[rest])
        assert policy.target_counts([example]) == {"codes": len(masked)}
        assert policy.lengths([example]) == [len(lesson.ids)]


def test_the_part_that_is_hidden_goes_from_all_to_one() -> None:
    counts = [hidden_count(16, time / 100) for time in range(101)]
    assert counts[0] == 16 and counts[-1] == 1 and counts == sorted(counts, reverse=True)
    assert hidden_count(1024, 1 / 3) == round(1024 * 3**0.5 / 2)


def test_each_step_keeps_the_surest_and_what_is_known_stays() -> None:
    tokens, codes = 16, 8
    random = torch.Generator().manual_seed(0)
    known = torch.full((3, tokens), UNKNOWN)
    greedy = torch.zeros(3, 1)
    for number, step in enumerate(schedule(tokens, 5)):
        logits = torch.randn(3, tokens, codes, generator=random)
        sure = logits.log_softmax(-1).max(-1).values
        chance = torch.rand(2, 3, tokens, generator=random)
        picked, after = filled(logits.clone(), known, step, greedy, chance)
        was = known != UNKNOWN
        assert torch.equal(after[was], known[was]) and torch.equal(picked[was], known[was])
        assert torch.equal(picked[~was], logits.argmax(-1)[~was])
        left = after == UNKNOWN
        assert left.sum(1).tolist() == [max(1, step.left)] * 3, number
        for row in range(3):
            kept = ~was[row] & ~left[row]
            if kept.any() and left[row].any():
                assert sure[row][kept].min() >= sure[row][left[row]].max()
        known = after
    assert (picked >= 0).all()


def test_noise_decides_what_is_kept_only_where_there_is_temperature() -> None:
    logits = torch.randn(1, 16, 8, generator=torch.Generator().manual_seed(1))
    known, step = torch.full((1, 16), UNKNOWN), schedule(16, 5)[0]
    made = {
        (warm, seed): filled(
            logits.clone(), known, step, torch.tensor([[warm]]),
            torch.stack([torch.full((1, 16), 0.5),
                         torch.rand(1, 16, generator=torch.Generator().manual_seed(seed))]),
        )[1].tolist()
        for warm in (0.0, 1.0) for seed in (0, 1)
    }  # fmt: skip
    assert made[0.0, 0] == made[0.0, 1] and made[1.0, 0] != made[1.0, 1]


def test_drawings_of_other_steps_in_one_call_are_those_of_each_alone(policy: ShowoPolicy) -> None:
    contexts: list[Context] = [(prompt, picture(i)) for i, prompt in enumerate(PROMPTS)]
    how = [
        PictureSampling(guidance=3.0), PictureSampling(steps=4),
        PictureSampling(steps=STEPS), PictureSampling(guidance=0.5, steps=4, temperature=0.0),
    ]  # fmt: skip
    together = policy.sample_codes(contexts, how, range(4))
    for i in range(4):
        alone = policy.sample_codes([contexts[i]], [how[i]], [i])[0]
        assert torch.equal(alone, together[i])


def test_many_contexts_are_read_a_few_at_a_time(
    policy: ShowoPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    contexts: list[Context] = [(f"{i} {p}", picture(i)) for i in range(3) for p in PROMPTS]
    how, text = [PictureSampling(guidance=3.0)] * 12, [TextSampling(max_tokens=4)] * 12
    whole = policy.sample_codes(contexts, how, range(12)), policy.write(contexts, text, range(12))
    monkeypatch.setattr(reading, "READ_AT_ONCE", 200)
    monkeypatch.setattr("policies.showo.drawing.SCORED_AT_ONCE", 40)
    parts = policy.sample_codes(contexts, how, range(12)), policy.write(contexts, text, range(12))
    assert torch.equal(whole[0], parts[0]) and whole[1] == parts[1]


def test_written_tokens_score_in_loss_as_they_were_sampled(policy: ShowoPolicy) -> None:
    """By the token ids: what random weights write cannot be read back as text."""
    contexts: list[Context] = [(picture(i), prompt) for i, prompt in enumerate(PROMPTS)]
    sampled = policy.sample_words(contexts, [TextSampling(max_tokens=12)] * 4, range(4), True)
    for question, ids, logits in zip(
        policy.layout.questions(contexts, drawing=False),
        sampled.tokens,
        sampled.logits,
        strict=True,
    ):
        places = np.arange(len(ids)) + len(question) - 1
        (example,) = policy.layout.lessons([Example((), learned("a"), "caption")])
        whole = np.array((*question, *ids.tolist()))
        lesson = replace(example, ids=whole, places=places, wanted=ids)
        with torch.no_grad():
            (nats,) = policy.nats([lesson])
        chosen = torch.from_numpy(logits[: len(ids)]).log_softmax(-1)[range(len(ids)), ids]
        assert torch.allclose(nats, -chosen, atol=1e-4)


def test_text_cannot_speak_in_marks(policy: ShowoPolicy) -> None:
    hostile = "".join((*MARKS, END))
    words, layout = policy.words, policy.layout
    for ids in (words.ids(hostile), words.answer(hostile)[:-1]):
        assert max(ids) < CONFIG.words and words.end not in ids
        assert words.text(ids) == hostile
    one, two = layout.questions([("cat",), (f"cat {hostile}",)], drawing=True)
    marks = {words.end, *range(CONFIG.words, CONFIG.first_code)}
    assert sum(i in marks for i in one) == sum(i in marks for i in two)


def test_runs_of_spaces_are_read_as_by_transformers_and_written_again(policy: ShowoPolicy) -> None:
    """Phi's tokenizer has them as added tokens, which are no marks."""
    theirs = PreTrainedTokenizerFast(tokenizer_object=tokenizer())
    for text in ("a  b", "if x:\n   return   y", "a    b", " a"):
        assert list(policy.words.ids(text)) == theirs(text)["input_ids"]
        assert policy.words.text(policy.words.ids(text)) == text.strip()


def test_codes_and_marks_among_written_words_say_nothing(policy: ShowoPolicy) -> None:
    ids = [*policy.words.ids("red"), CONFIG.first_code + 3, CONFIG.mask, *policy.words.ids(" cat")]
    assert policy.words.text(ids) == "red cat"


def test_to_write_pictures_come_first_and_to_draw_the_text_does(policy: ShowoPolicy) -> None:
    layout, seen = policy.layout, picture(0)
    for context in ((seen, "what"), ("what", seen), ("", seen, "what")):
        (asked,) = layout.questions([context], drawing=False)
        assert asked[:2] == (layout.to_write, layout.begin) and asked[18:20] == (
            layout.end,
            policy.words.end,
        )
        (drawing,) = layout.questions([context], drawing=True)
        assert drawing[0] == layout.to_draw and drawing[-1] == layout.end
    (said,) = layout.questions([("what",)], drawing=False)
    assert said[0] == policy.words.end and layout.to_write not in said


def test_pixels_without_codes_are_encoded(policy: ShowoPolicy) -> None:
    bare = Picture(picture(0).pixels)
    codes = policy.vision.encode(pixels_of([bare], 32))[0].numpy().astype(np.int32)
    with torch.no_grad():
        for context, targets in ((("cat",), (bare, Picture(bare.pixels, codes))),):
            encoded, given = (
                policy.loss([Example(context, learned(target), "generation")])["codes"].total
                for target in targets
            )
    assert encoded == given
    looked = [policy.log_probs([(each, "what")], ["cat"])[0] for each in targets]
    assert np.array_equal(*looked)


@pytest.mark.parametrize(
    ("height", "width"), [(32, 32), (64, 64), (64, 32), (20, 41), (1, 1), (1, 60), (33, 32)]
)
def test_pictures_are_scaled_by_the_shorter_side_and_cut_in_the_middle(
    height: int, width: int
) -> None:
    ramp = np.broadcast_to(np.linspace(0, 255, width)[None, :, None], (height, width, 3))
    made = pixels_of([Picture(ramp.round().astype(np.uint8))], 32)
    assert made.shape == (1, 3, 32, 32) and made.min() >= -1 and made.max() <= 1
    if width > 1:  # a ramp that is cut alike on both sides keeps its middle
        assert abs(made.mean().item()) < 0.1


def test_in_bfloat16_it_samples_about_the_same(folder: Path) -> None:
    plain, short = ShowoPolicy.from_pretrained(folder), ShowoPolicy.from_pretrained(folder)
    short.sample_on("cpu", "bfloat16")
    rotary = short.module.showo.model.rotary_emb
    assert torch.equal(rotary.inv_freq, plain.module.showo.model.rotary_emb.inv_freq)
    short.load_weights(plain.weights())
    assert short.module.dtype == torch.bfloat16
    assert short.vision.magvit.dtype == torch.float32
    how = [TextSampling(max_tokens=4)]
    one, other = (
        p.sample_words([(picture(0), "what")], how, [0], keep_logits=True).logits[0][0]
        for p in (plain, short)
    )
    assert 0 < np.abs(one - other).max() < 0.05 * np.abs(one).max()


def test_what_passes_forward_is_counted(policy: ShowoPolicy) -> None:
    (own,) = policy.layout.questions([("cat",)], drawing=True)
    (free,) = policy.layout.questions([("cat",)], drawing=True, told=[False])
    before = passed.tokens()
    policy.draw([("cat",)] * 2, [PictureSampling(guidance=2.0, steps=3)] * 2, [0, 1])
    steps = 3 * 4 * (CONFIG.tokens + 2)
    assert passed.tokens() - before == len(own) + len(free) + steps


def test_an_overlong_prompt_is_refused_by_name(folder: Path) -> None:
    policy = ShowoPolicy.from_pretrained(folder, positions=50)
    policy.draw([("cat",)], [PictureSampling()], [0])
    reflection = Example(("cat " * 3, picture(0)), learned(picture(1)), "reflection")
    for act in (
        lambda: policy.draw([("cat " * 12,)], [PictureSampling()], [0]),
        lambda: policy.loss([reflection]),
    ):
        with pytest.raises(PromptError, match=r"need \d+ tokens, but the model holds 50; shorten"):
            act()


def test_a_picture_has_no_likelihood_and_a_target_one_part(policy: ShowoPolicy) -> None:
    with pytest.raises(Unsupported, match="family showo draws by unmasking.*score texts alone"):
        policy.log_probs([("cat",)], [picture(0)])
    with pytest.raises(Unsupported, match="family showo learns one text or one picture"):
        policy.loss([Example(("a",), learned("a plan", picture(0)), "generation")])
