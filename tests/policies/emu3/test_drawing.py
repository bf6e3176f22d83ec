"""What is special of Emu3: rows and ends that are put in, sizes, one vocabulary, a frozen tokenizer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from policies import passed
from policies.config import ConfigError
from policies.emu3.policy import Emu3Policy
from policies.emu3.tokens import REQUIRED, code_name
from policies.interface import (
    Context,
    Example,
    Part,
    Picture,
    PictureSampling,
    PromptError,
    TextSampling,
    Unsupported,
    learned,
)
from tests.policies.emu3.small import SIZE, picture, write_folder
from tests.policies.emu3.test_transformers import PROMPTS, sharper

SIDE = SIZE // 8


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Emu3Policy:
    folder = tmp_path_factory.mktemp("emu3")
    write_folder(folder, 0)
    return sharper(Emu3Policy.from_pretrained(folder))


def forced(policy: Emu3Policy, context: Context, codes: np.ndarray) -> torch.Tensor:
    """Logits of the codes int64 [rows, columns], from one pass over the whole drawing."""
    coded = policy.layout.coded([context])
    question = policy.layout.question(context, coded, drawing=True)
    ids = torch.tensor([[*question, *policy.wording.picture(codes)]])
    grid = (codes.shape[0], codes.shape[1])
    places = torch.from_numpy(policy.wording.places(grid)) + len(question) - 1
    with torch.no_grad():
        return policy.module(ids, places, policy.codes)


def test_guidance_is_the_naive_formula_of_whole_drawings(policy: Emu3Policy) -> None:
    """Of several rows, one of them guided in another way and one redrawn: so ends of rows are where
    a drawing that is read has them."""
    contexts: list[Context] = [(PROMPTS[0],), (PROMPTS[1], picture(1), "better"), (PROMPTS[0],)]
    how = [PictureSampling(guidance=g) for g in (5.0, 2.0, 1.0)]
    sampled = policy.sample_codes(contexts, how, range(3), keep_logits=True)
    for context, each, ids, logits in zip(contexts, how, sampled.tokens, sampled.logits):
        codes = ids.reshape(SIDE, SIDE) - policy.special.first
        given = forced(policy, context, codes)
        without = forced(policy, tuple(p for p in context if isinstance(p, Picture)), codes)
        expected = without + each.guidance * (given - without)
        assert torch.allclose(torch.from_numpy(logits), expected, rtol=0.0, atol=1e-4)


def test_drawings_of_several_sizes_are_drawn_together_as_alone(policy: Emu3Policy) -> None:
    sizes = [(0, 0), (16, 40), (8, 24), (16, 40), (40, 16)]
    contexts: list[Context] = [(p,) for p in (*PROMPTS, "blue", "red")]
    how = [PictureSampling(guidance=2.0, size=size) for size in sizes]
    together = policy.draw(contexts, how, range(5))
    for i, ((part,), size) in enumerate(zip(together, sizes, strict=True)):
        ((alone,),) = policy.draw([contexts[i]], [how[i]], [i])
        assert np.array_equal(part.segment.codes, alone.segment.codes)
        height, width = size if any(size) else (SIZE, SIZE)
        assert part.segment.pixels.shape == (height, width, 3)
        assert len(part.segment.codes) == height * width // 64
        np.testing.assert_allclose(part.segment.pixels, alone.segment.pixels, atol=1)
    example = Example(contexts[1], together[1], "generation")
    (term,) = policy.loss([example, replace(example, target=together[0])]).values()
    assert term.count == 10 + 16
    with pytest.raises(ConfigError, match=r"size is \(16, 20\): family emu3 draws sides that are"):
        policy.draw([("a",)], [PictureSampling(size=(16, 20))], [0])
    with pytest.raises(ConfigError, match=r"size is \(0, 16\): family emu3"):
        policy.draw([("a",)], [PictureSampling(size=(0, 16))], [0])


def test_the_cost_counts_the_ends_of_rows_too(policy: Emu3Policy) -> None:
    before = passed.tokens()
    policy.draw([("red",)], [PictureSampling(guidance=2.0)], [0])
    header = len(policy.wording.header((SIDE, SIDE)))
    question = 2 * (1 + header) + len("red")  # with the prompt, and without
    drawn = SIDE * SIDE - 1 + SIDE - 1  # the last code is not read, and no end follows it
    assert passed.tokens() - before == question + 2 * drawn


def test_training_mode_changes_nothing(policy: Emu3Policy) -> None:
    """Neither the released dropout of 0.1, nor the batch norms of the image tokenizer."""
    bare = Picture(picture(2).pixels)
    example = Example((bare, "What?"), learned(bare), "reflection")
    before = policy.loss([example])["codes"].total.item()
    statistics = {name: b.clone() for name, b in policy.vision.vq.named_buffers()}
    policy.module.train()
    assert policy.loss([example])["codes"].total.item() == before
    policy.module.eval()
    assert not any(part.training for part in policy.vision.vq.modules())
    assert not any(weight.requires_grad for weight in policy.vision.vq.parameters())
    for name, buffer in policy.vision.vq.named_buffers():
        assert torch.equal(buffer, statistics[name])


def test_the_tokenizer_would_encode_otherwise_in_training_mode(policy: Emu3Policy) -> None:
    """So that the test above can fail."""
    bare = [Picture(picture(seed).pixels) for seed in range(4)]
    right = policy.vision.encode_all(bare)
    try:
        policy.vision.vq.train()
        wrong = policy.vision.encode_all(bare)
    finally:
        policy.vision.vq.eval()
    assert any((one != other).any() for one, other in zip(right, wrong, strict=True))


def test_pixels_without_codes_are_encoded(policy: Emu3Policy) -> None:
    bare = Picture(picture(0).pixels)
    codes = policy.vision.encode_all([bare])[0].ravel().astype(np.int32)
    for context in ((), (bare,)):
        with torch.no_grad():
            encoded, given = (
                policy.loss([Example((*context, "cat"), learned(target), "generation")])["codes"]
                for target in (bare, Picture(bare.pixels, codes))
            )
        assert encoded.total == given.total


def test_a_plan_and_its_picture_are_one_sequence(policy: Emu3Policy) -> None:
    target = learned("a plan", picture(0))
    coded = policy.layout.coded([(picture(0),), tuple(part.segment for part in target)])
    taught = policy.layout.taught(Example(("red",), target, "generation"), coded)
    special, plan = policy.special, policy.wording.answer("a plan")
    drawn = policy.wording.picture(coded[id(target[1].segment)])
    assert taught.ids == (*policy.wording.question(("red",), {}, False), *plan, *drawn)
    ids = np.array(taught.ids)
    assert ids[taught.text].tolist() == list(plan) and plan[-1] == special.eos
    assert (ids[taught.codes] - special.first).tolist() == picture(0).codes.tolist()


def test_a_target_of_which_nothing_is_learned_is_refused_by_name(policy: Emu3Policy) -> None:
    for target in ((), (Part(picture(0), learned=False),)):
        example = Example(("a cat",), target, "generation")
        for act in (policy.loss, policy.target_counts, policy.lengths):
            with pytest.raises(Unsupported, match="none is learned: family emu3 learns"):
                act([example])


def test_a_dropped_text_leaves_the_question_of_unguided_drawing(policy: Emu3Policy) -> None:
    context: Context = (PROMPTS[0], picture(1), "better")
    whole = Example(context, learned(picture(2)), "reflection", dropped=frozenset({"text"}))
    codes = picture(2).codes.astype(np.int64)
    logits = forced(policy, (picture(1),), codes.reshape(SIDE, SIDE))
    expected = torch.nn.functional.cross_entropy(logits, torch.from_numpy(codes), reduction="sum")
    (scored,) = policy.log_probs([(picture(1),)], [picture(2)])
    assert -scored.sum() == pytest.approx(expected.item(), rel=1e-5)
    dropped, plain = (
        policy.loss([each])["codes"].total.item()
        for each in (whole, replace(whole, context=(picture(1),), dropped=frozenset()))
    )
    assert dropped == pytest.approx(plain, rel=1e-6)
    with pytest.raises(PromptError, match=r"need \d+ tokens, but the model holds 512"):
        policy.loss([replace(whole, context=("cat " * 200, picture(1)))])


def test_text_cannot_speak_in_marks(policy: Emu3Policy) -> None:
    hostile = "".join((*REQUIRED.values(), code_name(3)))
    plain = policy.wording.question(("a cat",), {}, drawing=True)
    attack = policy.wording.question((f"a cat {hostile}",), {}, drawing=True)
    structure = {*range(policy.words.stop, 1000), policy.special.bos, policy.special.eos}
    structure |= {policy.special.end_row, policy.special.end_frame, policy.special.placeholder}
    assert sum(t in structure for t in attack) == sum(t in structure for t in plain) == 1
    assert policy.text_of(attack) == f"a cat {hostile}"


def test_a_text_holds_no_code_and_a_likelihood_says_so(policy: Emu3Policy) -> None:
    """Among the words alone, of which a loss knows nothing: it is that of the whole vocabulary."""
    contexts: list[Context] = [(picture(i), "What?") for i in range(6)]
    how = [TextSampling(max_tokens=20)] * 6
    for ids in policy.sample_words(contexts, how, range(6)).tokens:
        assert (ids < policy.words.stop).all()
    example = Example(contexts[0], learned("red"), "caption")
    (scored,), term = policy.log_probs([contexts[0]], ["red"]), policy.loss([example])["text"]
    assert len(scored) == term.count == 4 and term.total.item() > -scored.sum() + 1e-3


def test_a_chat_asks_within_the_words_that_it_learned(tmp_path: Path) -> None:
    write_folder(tmp_path, 0)
    policy = Emu3Policy.from_pretrained(tmp_path, wording="chat")
    seen = picture(0)
    coded = policy.layout.coded([(seen,)])
    asked = policy.layout.question((seen, "What?"), coded, drawing=False)
    told = policy.wording.text([each for each in asked if each < policy.words.stop])
    assert told == "You are a helpful assistant. USER: 4*4What?. ASSISTANT:"
    assert policy.wording.answer("red")[:-1] == policy.wording.answer(" red")[1:-1]
    drawn = policy.layout.question(("red",), coded, drawing=True)
    assert policy.wording.text(drawn) == "red"


def test_more_positions_are_had_for_the_asking(tmp_path: Path) -> None:
    """Rotary angles have no table that could end: the released training script asks for more too."""
    write_folder(tmp_path, 0)
    example = Example(("cat " * 200,), learned(picture(0)), "generation")
    with pytest.raises(PromptError, match="but the model holds 512"):
        Emu3Policy.from_pretrained(tmp_path).loss([example])
    wider = Emu3Policy.from_pretrained(tmp_path, positions=1000)
    assert wider.loss([example])["codes"].total.isfinite()
    assert len(wider.draw([example.context], [PictureSampling()], [0])) == 1


def test_a_picture_that_is_much_too_long_is_refused(policy: Emu3Policy) -> None:
    long = Picture(np.zeros((2, 500, 3), np.uint8))
    with pytest.raises(PromptError, match="500 x 2 pixels is longer than 200 times its other side"):
        policy.write([(long, "What?")], [TextSampling()], [0])


def test_in_bfloat16_it_samples_about_the_same(tmp_path: Path) -> None:
    """With the tokenizer's own codes: it stays in float32."""
    write_folder(tmp_path, 0)
    plain, short = Emu3Policy.from_pretrained(tmp_path), Emu3Policy.from_pretrained(tmp_path)
    short.sample_on("cpu", "bfloat16")
    angles = short.module.model.text_model.rotary_emb.inv_freq
    assert torch.equal(angles, plain.module.model.text_model.rotary_emb.inv_freq)
    bare = Picture(picture(0).pixels)
    assert np.array_equal(*(p.vision.encode_all([bare])[0] for p in (plain, short)))
    contexts: list[Context] = [("red", bare), ("blue",)]
    how = [PictureSampling(guidance=2.0), PictureSampling()]
    one, other = (p.sample_codes(contexts, how, [1, 2], keep_logits=True) for p in (plain, short))
    for ours, theirs in zip(one.logits, other.logits, strict=True):
        first = np.abs(ours[0] - theirs[0]).max()
        assert 0 < first < 0.05 * np.abs(ours[0]).max()
