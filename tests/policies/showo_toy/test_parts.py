"""The parts of which the masked toy is made: its words, its encoder of patches, its lessons."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from policies.interface import Example, ExampleKey, Picture, learned
from policies.pretraining.digits import Digits, copy_plain, share
from policies.pretraining.scenes import KINDS, pixels_of, vocabulary
from policies.showo.checkpoint import Loaded
from policies.showo.module import ShowoModule
from policies.showo.policy import ShowoPolicy
from policies.showo.toy import learning, model, patches, seeing
from policies.tiny import lessons
from policies.tiny.world.language import sample_prompt


@pytest.fixture(scope="module")
def new() -> Loaded:
    return model.new(vocabulary(), seed=3)


@pytest.fixture(scope="module")
def scenes() -> list[lessons.Scene]:
    rng = np.random.default_rng(0)
    return [lessons.scene(rng, KINDS[i % len(KINDS)]) for i in range(48)]


@pytest.fixture(scope="module")
def encoder() -> patches.PatchEncoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = patches.PatchEncoder(model.BITS)
    with torch.no_grad():
        for weight in made.parameters():
            weight.mul_(2)  # nearer to one that learned
    return made


def test_it_is_a_small_model_of_drawings_of_36_codes(new: Loaded) -> None:
    config = new.module.config
    assert (config.pixels, config.tokens, config.codes) == (48, 36, 4096)
    assert 1.5e6 < sum(weight.numel() for weight in new.module.parameters()) < 2.1e6


def test_every_text_is_read_back_and_its_words_are_known(new: Loaded) -> None:
    rng = np.random.default_rng(0)
    told = [sample_prompt(rng) for _ in range(200)]
    records = [
        json.dumps({"major_category": p.category, "subcategory": p.subcategory, "prompt": p.text})
        for p in told
    ]
    spelt = ("unknown ö→猫", "<|endoftext|>", "\n\ttabs")
    for text in (*(prompt.text for prompt in told), *records, *spelt):
        ids = new.words.ids(text)
        assert new.words.tokenizer.decode(ids, skip_special_tokens=False) == text
        assert new.words.end not in ids
    assert [len(new.words.ids(text)) for text in ("USER:", " ASSISTANT:", " a red star")] == [
        1,
        1,
        3,
    ]


def test_the_layers_of_magvit_compute_the_encoder_of_patches(
    new: Loaded, scenes: list[lessons.Scene], encoder: patches.PatchEncoder
) -> None:
    pixels = pixels_of([each.picture.pixels for each in scenes])
    patches.write(encoder, new.magvit.encoder)
    with torch.no_grad():
        wanted = encoder(patches.patches_of(pixels).movedim(1, -1)).movedim(-1, 1)
        found = new.magvit.encoder(pixels)
    assert float(wanted.std()) > 0.5 and float((wanted - found).abs().max()) < 0.02
    again = patches.read(new.magvit.encoder)
    assert all(map(torch.equal, again.parameters(), encoder.parameters()))


def test_a_code_is_that_of_its_own_patch(
    new: Loaded, scenes: list[lessons.Scene], encoder: patches.PatchEncoder
) -> None:
    pixels = pixels_of([each.picture.pixels for each in scenes])
    changed = -pixels
    changed[:, :, 8:16, 16:24] = pixels[:, :, 8:16, 16:24]
    patches.write(encoder, new.magvit.encoder)
    with torch.no_grad():
        before, after = new.magvit.encoder(pixels), new.magvit.encoder(changed)
    moved = (before - after).abs().amax((0, 1))
    assert float(moved[1, 2]) < 0.02
    moved[1, 2] = torch.inf
    assert float(moved.min()) > 0.5


def test_signs_pass_gradients() -> None:
    latents = torch.tensor([-3.0, -0.1, 0.0, 0.2], requires_grad=True)
    signs = patches.quantised(latents)
    assert signs.tolist() == [-1.0, -1.0, -1.0, 1.0]
    signs.sum().backward()
    assert latents.grad is not None
    assert torch.allclose(latents.grad, 1 - latents.detach().tanh() ** 2)


def test_frequent_patches_count_less(scenes: list[lessons.Scene]) -> None:
    kinds, counts = seeing.frequent(scenes)
    patch = scenes[0].picture.pixels[:8, :8]  # of paper
    shown = patches.patches_of(torch.from_numpy(patch).permute(2, 0, 1)[None]).flatten()
    assert (kinds == shown.numpy()).all(1).sum() == 1
    assert counts.max() == max(1, 48 * 36 * seeing.MOST_OFTEN) or counts.min() <= counts.max() < 1


def test_rows_share_the_parts_of_their_digits() -> None:
    table, plain = nn.Embedding(2 + 6 + 1, 4), nn.Embedding(2 + 6 + 1, 4)
    own = table.weight.detach().clone()
    share(table, digits := Digits((2, 3), 2, 9, 4, seed=0))
    parts = digits.parts.detach()
    for code in range(6):
        wanted = own[2 + code] + parts[code % 2] + parts[2 + code // 2]
        assert torch.allclose(table.weight[2 + code], wanted)
    copy_plain(table, plain)
    assert plain.weight.equal(table.weight) and plain.weight[[0, 1, 8]].equal(own[[0, 1, 8]])


def test_codes_begin_as_the_sums_of_their_bits(new: Loaded) -> None:
    module = ShowoModule(new.module.config)
    module.load_state_dict(new.module.state_dict())
    learning.share_digits(module, seed=0)
    first = module.config.first_code
    rows: Tensor = module.showo.model.embed_tokens.weight[first : module.config.mask]
    assert torch.allclose(rows[0b101] - rows[0b100], rows[0b001] - rows[0], atol=1e-6)
    assert 0.3 < float(rows.detach().std()) < 0.7
    others: Tensor = module.showo.model.embed_tokens.weight[:first]
    assert others.equal(new.module.showo.model.embed_tokens.weight[:first])


def with_codes(scenes: list[lessons.Scene], new: Loaded) -> list[lessons.Scene]:
    return seeing.coded(ShowoPolicy(new).vision, scenes)


def test_scenes_keep_their_codes_alone(new: Loaded, scenes: list[lessons.Scene]) -> None:
    vision = ShowoPolicy(new).vision
    for scene, coded in zip(scenes, with_codes(scenes, new), strict=True):
        assert coded.prompt == scene.prompt and coded.picture.pixels.shape == (1, 1, 3)
        (wanted,) = vision.codes_of([scene.picture]).values()
        assert wanted == vision.sampled(coded.picture)


def test_one_drawing_in_ten_is_not_told(new: Loaded, scenes: list[lessons.Scene]) -> None:
    rng = np.random.default_rng(0)
    made = [each for _ in range(40) for each in learning.taught(scenes, 48, 0.5, rng)]
    drawn = [each for each in made if each.draws]
    untold = [each for each in drawn if each.dropped]
    assert 0.06 < len(untold) / len(drawn) < 0.14
    assert not any(each.dropped for each in made if not each.draws)
    assert (
        sum(
            not any(isinstance(p, Picture) for p in (*e.context, e.target[0].segment)) for e in made
        )
        == 160
    )


def test_what_is_learned_is_the_loss_of_the_policy(
    new: Loaded, scenes: list[lessons.Scene]
) -> None:
    policy = ShowoPolicy(new)
    rng = np.random.default_rng(1)
    examples = [
        replace(each, key=ExampleKey(0, 1, i))
        for i, each in enumerate(learning.taught(with_codes(scenes, new), 12, 0.5, rng))
    ]
    figures = learning.learn(policy, policy.layout.lessons(examples), bfloat16=False)
    terms = policy.loss(examples)
    for kind, term in terms.items():
        assert figures[kind] == pytest.approx(
            float(term.totals.detach().sum()) / term.count, rel=1e-4
        )
    policy.module.zero_grad()


def test_what_is_seen_depends_on_the_picture_alone(
    new: Loaded, scenes: list[lessons.Scene], encoder: patches.PatchEncoder
) -> None:
    patches.write(encoder, new.magvit.encoder)
    policy, shown = ShowoPolicy(model.new(vocabulary(), seed=4)), with_codes(scenes, new)
    learning.share_digits(policy.module, seed=0)
    with torch.no_grad():
        both, one = learning.seen(policy, shown[:2]), learning.seen(policy, shown[1:2])
    assert both.shape == (2, 36, 128) and torch.allclose(both[1:], one, atol=1e-5)
    assert not torch.allclose(both[:1], one, atol=0.1)


def test_a_wordless_scene_is_drawn_from_no_words(new: Loaded) -> None:
    policy = ShowoPolicy(new)
    picture = Picture(np.zeros((1, 1, 3), np.uint8), np.arange(36, dtype=np.int32))
    told = Example(("a red circle",), learned(picture), "generation")
    untold, wordless = replace(told, dropped=frozenset({"text"})), replace(told, context=("",))
    lesson, other, third = policy.layout.lessons([told, untold, wordless])
    assert other.ids.tolist() == third.ids.tolist() and len(lesson.ids) == len(other.ids) + 3
