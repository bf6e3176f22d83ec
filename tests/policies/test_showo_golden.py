"""Show-o computes what the public code computes, from the same weights (tests/golden/showo_tiny)."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from policies.interface import Example, Picture, PictureSampling, TextSampling, learned
from policies.sampling import Ids
from policies.seeds import generator
from policies.showo.drawing import Sketch, drawn
from policies.showo.layout import ANSWERED, ASKED
from policies.showo.masks import blocks_of, visible
from policies.showo.unmasking import UNKNOWN, filled, hidden, schedule
from tests.policies import showo_golden as golden
from tests.policies.showo import CONFIG

CLOSE = 1e-4
N = CONFIG.tokens


@pytest.fixture(scope="module")
def theirs() -> dict[str, torch.Tensor]:
    return golden.tensors()


def pictures() -> list[Picture]:
    return [Picture(np.zeros((32, 32, 3), np.uint8), codes) for codes in golden.codes()]


def unpadded(row: torch.Tensor) -> Ids:
    return tuple(row[row != CONFIG.mark("[PAD]")].tolist())


def masked(question: Ids) -> Ids:
    return (*question, *golden.policy().layout.picture([CONFIG.mask] * N))


def seen(ids: torch.Tensor) -> torch.Tensor:
    real = ids != CONFIG.mark("[PAD]")
    return visible(blocks_of(ids, CONFIG), real)[:, 0]


def test_ids_are_those_of_the_public_prompts_without_their_padding(
    theirs: dict[str, torch.Tensor],
) -> None:
    layout = golden.policy().layout
    for prompt, told, free in zip(
        golden.PROMPTS, theirs["t2i_ids"], theirs["free_ids"], strict=True
    ):
        (question,) = layout.questions([(prompt,)], drawing=True)
        assert masked(question) == unpadded(told)
        (question,) = layout.questions([(prompt,)], drawing=True, told=[False])
        assert masked(question) == unpadded(free)
    for caption, row in zip(golden.CAPTIONS, theirs["lm_ids"], strict=True):
        ids = layout.scored((), caption.strip()).ids
        assert tuple(ids.tolist()) == unpadded(row)
    for seen_, caption, row in zip(pictures(), golden.CAPTIONS, theirs["mmu_ids"], strict=True):
        ids = layout.scored((seen_,), caption.strip()).ids
        assert tuple(ids.tolist()) == unpadded(row)
    (question,) = layout.questions([(golden.QUESTION, pictures()[0])], drawing=False)
    assert question == tuple(theirs["asked_ids"][0].tolist())
    assert layout.words.text(question[-len(ANSWERED) :]) == ANSWERED.strip()
    assert ASKED + golden.QUESTION in layout.words.text(question)


@pytest.mark.parametrize("kind", ["t2i", "mmu", "two"])
def test_who_sees_whom_is_as_in_the_public_masks(
    theirs: dict[str, torch.Tensor], kind: str
) -> None:
    """But for padding, which nobody sees."""
    ids = theirs[f"{kind}_ids"].long()
    real = ids != CONFIG.mark("[PAD]")
    both = real[:, :, None] & real[:, None]
    assert torch.equal(seen(ids)[both], theirs[f"{kind}_mask"].bool()[both])
    assert not seen(ids)[real[:, :, None] & ~real[:, None]].any()


def test_what_is_hidden_is_as_in_the_public_training(theirs: dict[str, torch.Tensor]) -> None:
    for row, wanted in enumerate(theirs["hidden"]):
        assert np.array_equal(hidden(N, *golden.chance(row)), wanted.bool().numpy())


def forward(ids: torch.Tensor) -> torch.Tensor:
    real = ids != CONFIG.mark("[PAD]")
    mask = visible(blocks_of(ids, CONFIG), real)
    with torch.no_grad():
        logits = golden.policy().module(ids, mask, torch.arange(ids.numel()))
    return logits.unflatten(0, ids.shape)


def test_logits_are_the_public_ones(theirs: dict[str, torch.Tensor]) -> None:
    drawing, asked, said, two = (
        forward(theirs[f"{name}_ids"].long()) for name in ("learned", "mmu", "lm", "two")
    )
    worst = max(
        (ours - theirs[name]).abs().max().item()
        for name, ours in (
            ("drawn_logits", drawing[:, golden.PADDED + 2 : -1][:, ::5]),
            ("mmu_logits", asked[:, N + 2 : N + 6]),
            ("lm_logits", said[:, :2]),
            ("two_logits", two[:, -(N + 1) : -1][:, ::5]),
        )
    )
    assert worst < CLOSE


def test_losses_are_the_public_ones(
    theirs: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of pictures at the same masks, where the public mean also has the two marks, told from
    themselves; of texts where it also has the token that begins them after a picture."""
    policy = golden.policy()
    rows = iter([0, 1])
    monkeypatch.setattr("policies.showo.layout._chance", lambda *_: golden.chance(next(rows)))
    drawing = [
        Example((prompt,), learned(picture), "generation")
        for prompt, picture in zip(golden.PROMPTS, pictures(), strict=True)
    ]
    term = policy.loss(drawing)["codes"]
    assert term.count == int(theirs["hidden"].sum())
    nats = theirs["drawn_nats"]
    assert (term.totals - nats[:, 1:-1].sum(1)).abs().max().item() < CLOSE
    marks = nats[:, [0, -1]]
    mean = (term.total + marks.sum()) / (term.count + marks.numel())
    assert abs(mean.item() - theirs["losses"][0].item()) < CLOSE

    def text(contexts: list[tuple[Picture, ...]], begun: torch.Tensor) -> torch.Tensor:
        taught = [
            Example(context, learned(caption.strip()), "caption")
            for context, caption in zip(contexts, golden.CAPTIONS, strict=True)
        ]
        own = policy.loss(taught)["text"]
        return (own.total + begun.sum()) / (own.count + len(begun))

    begin = -theirs["mmu_logits"][:, 0].log_softmax(-1)[:, policy.words.end]
    none: list[tuple[Picture, ...]] = [(), ()]
    assert abs(text(none, begin[:0]).item() - theirs["losses"][1].item()) < CLOSE
    about = text([(picture,) for picture in pictures()], begin)
    assert abs(about.item() - theirs["losses"][2].item()) < CLOSE


@pytest.mark.parametrize(("name", "guidance"), [("guided", golden.GUIDANCE), ("plain", 1.0)])
def test_every_step_of_a_drawing_is_the_public_one(
    theirs: dict[str, torch.Tensor], name: str, guidance: float
) -> None:
    """From what the public code showed its model at a step to what it showed at the next."""
    seeds = golden.SEEDS
    chance = torch.from_numpy(
        np.stack([generator(s).random((golden.STEPS, 2, N), dtype=np.float32) for s in seeds])
    )
    told, free = (theirs[f"{each}_ids"].long()[:, : -(N + 1)] for each in ("t2i", "free"))
    shown = theirs[f"{name}_steps"].long()
    end = torch.full((2, 1), CONFIG.mark("<|eoi|>"))
    for step, (at, before) in enumerate(zip(schedule(N, golden.STEPS), shown, strict=True)):
        own, without = (
            forward(torch.cat([question, before, end], 1))[:, -(N + 1) : -1]
            for question in (told, free)
        )
        logits = (without + guidance * (own - without))[..., CONFIG.first_code : CONFIG.mask]
        known = torch.where(before == CONFIG.mask, UNKNOWN, before - CONFIG.first_code)
        codes, left = filled(
            logits.contiguous(), known, at, torch.ones(2, 1), chance[:, step].transpose(0, 1)
        )
        if step + 1 < golden.STEPS:
            after = shown[step + 1]
            wanted = torch.where(after == CONFIG.mask, UNKNOWN, after - CONFIG.first_code)
            assert torch.equal(left, wanted)
    assert torch.equal(codes, theirs[f"{name}_codes"].long())


@pytest.mark.parametrize(("name", "guidance"), [("guided", golden.GUIDANCE), ("plain", 1.0)])
def test_a_drawing_is_the_public_one(
    theirs: dict[str, torch.Tensor], name: str, guidance: float
) -> None:
    """All steps at once, where the context is read only once and is not padded."""
    policy = golden.policy()
    contexts = [(prompt,) for prompt in golden.PROMPTS]
    how = [PictureSampling(guidance=guidance, steps=golden.STEPS)] * 2
    together = policy.sample_codes(contexts, how, golden.SEEDS)
    assert torch.equal(together, theirs[f"{name}_codes"].long())
    for i, seed in enumerate(golden.SEEDS):
        assert torch.equal(policy.sample_codes([contexts[i]], how[:1], [seed])[0], together[i])


def test_the_schedule_is_the_public_one_for_the_real_sizes(theirs: dict[str, torch.Tensor]) -> None:
    sizes = ((1024, 50), (1024, 18), (256, 18), (256, 16), (1024, 12))
    assert [s.left for size in sizes for s in schedule(*size)] == theirs["left"].tolist()


def test_what_is_written_is_what_the_public_code_writes(theirs: dict[str, torch.Tensor]) -> None:
    """By keys and values that were kept, where the public code reads all of it anew."""
    policy = golden.policy()
    greedy = TextSampling(temperature=0.0, max_tokens=8)
    context = (golden.QUESTION, pictures()[0])
    (written,) = policy.sample_words([context], [greedy], [0]).tokens
    assert written.tolist() == theirs["written"].tolist()


def test_the_tokenizer_of_pictures_is_the_public_one(theirs: dict[str, torch.Tensor]) -> None:
    magvit = golden.magvit()
    with torch.no_grad():
        latents = magvit.encoder(golden.pixels())
        codes = magvit.encode(golden.pixels())
        decoded = magvit.decode(theirs["picture_codes"].long().view(1, 8, 8))
    assert (latents - theirs["latents"]).abs().max().item() < CLOSE
    assert torch.equal(codes.flatten(1), theirs["picture_codes"].long())
    assert (decoded - theirs["decoded"]).abs().max().item() < CLOSE


def test_a_context_that_was_read_once_gives_the_logits_of_a_whole_pass() -> None:
    """Two pictures of which the second is being drawn, against one pass without anything kept."""
    policy, (first, second) = golden.policy(), pictures()
    (question,) = policy.layout.questions([("a red circle", first)], drawing=True)
    tokens = [int(code) + CONFIG.first_code for code in second.codes]
    whole = forward(torch.tensor([[*question, *policy.layout.picture(tokens)]]))
    from policies.showo.reading import read

    with torch.inference_mode():
        contexts = [question, question[:5]]
        rows = torch.tensor([0, 1])
        _, canvas = read(policy.module, contexts, rows, len(question) + N + 2)
        ids = torch.tensor([policy.layout.picture(tokens)] * 2)
        states = canvas.places(ids, len(question))
        kept = policy.module.head(states)[0]
    assert (kept - whole[0, len(question) :]).abs().max().item() < CLOSE


def test_a_drawing_that_is_not_guided_needs_no_free_context() -> None:
    policy = golden.policy()
    (question,) = policy.layout.questions([("a red circle",)], drawing=True)
    sketch = Sketch(question, (), 1.0, 1.0, 0)
    codes = drawn(policy.module, [sketch], 2, torch.device("cpu"))
    assert codes.shape == (1, N) and codes.min() >= 0
