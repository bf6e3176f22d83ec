"""What every family of models must keep, to be used by all the rest of the program.

A test module of a family defines the fixture `family` and takes everything from here (see
docs/adding-a-model.md); `tests/policies/test_conformance.py` does so for those that ship.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.distributed.tensor import DTensor

from actors.weights.digests import weights_digest
from policies.checks import bfloat16_bits, require_conditions
from policies.config import ConfigError, PolicyConfig, changed
from policies.interface import (
    CONDITIONS,
    PATTERNS,
    Context,
    Example,
    ExampleKey,
    Output,
    Pattern,
    Picture,
    PictureSampling,
    Policy,
    PromptError,
    Segment,
    TextSampling,
    Unsupported,
    last_picture,
    learned,
)
from policies.registry import footprint
from tests.trainer.small import TRAINER, free_port
from trainer.batches import shares_for_rank
from trainer.learner import Learner

torch.set_num_threads(1)
Sampled = Callable[[Any, Sequence[Context], Sequence[int]], list[tuple[Segment, np.ndarray]]]
UNUSUAL = PictureSampling(0.5, 2.0, 2.0, (0.1, 0.9), "global", 7, 2.0, (16, 16))
"""A value of each option that is not its default."""


@dataclass(frozen=True)
class Family:
    """How to test one family. Functions must be importable: other processes call them.

    `write_folder` makes a checkpoint of a very small model with random weights of that seed.
    `prompts` are four short texts that it reads, the first two of as many tokens; `unreadable` are
    texts that it refuses, `overlong` one that no prompt has room for. `picture` makes a drawing of
    a seed, with the codes or latents that the family learns from. `sampled` gives what the
    policy's own sampler chose at temperature 1 with the log-probability of each token (None: the
    family has no likelihood of pictures). `sharp` multiplies matrices, since random weights say
    next to nothing. `noisy`: its loss draws noise, timesteps or masks.
    """

    policy: type[Policy]
    write_folder: Callable[[Path, int], object]
    prompts: tuple[str, str, str, str]
    unreadable: tuple[str, ...]
    overlong: str
    picture: Callable[[int], Picture]
    sampled: Sampled | None
    bad_pictures: tuple[Picture, ...] = ()
    sharp: float = 3.0
    noisy: bool = False
    rate: float = 3e-3
    steps: int = 150
    by_heart: float = 0.02
    tolerance: float = 1e-4


@pytest.fixture(scope="module")
def folder(family: Family, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp(family.policy.family)
    family.write_folder(made, 0)
    return made


@pytest.fixture(scope="module")
def policy(family: Family, folder: Path) -> Policy:
    return sharpened(family, folder)


def sharpened(family: Family, folder: Path) -> Policy:
    made = family.policy.from_pretrained(folder)
    with torch.no_grad():
        for weight in made.module.parameters():
            if weight.ndim == 2:
                weight.mul_(family.sharp)
    return made


def examples(family: Family) -> dict[Pattern, list[Example]]:
    """Two of each pattern."""
    (one, two, three, four), picture = family.prompts, family.picture
    made: dict[Pattern, list[tuple[Context, Output]]] = {
        "generation": [((one,), learned(picture(0))), ((two,), learned(picture(1)))],
        "caption": [((picture(0), four), learned(one)), ((picture(1), four), learned(three))],
        "judgement": [
            ((four, one, picture(2)), learned(three)),
            ((four, two, picture(3)), learned(two)),
        ],
        "reflection": [
            ((one, picture(2), four), learned(picture(0))),
            ((two, picture(3), three), learned(picture(1))),
        ],
    }
    return {
        pattern: [Example(*each, pattern, ExampleKey(1, 2, i)) for i, each in enumerate(of)]
        for pattern, of in made.items()
    }


def contexts(family: Family) -> list[Context]:
    one, two, three, four = family.prompts
    return [(one,), (two, family.picture(7)), (three,), (four,)]


def means(policy: Policy, batch: Sequence[Example]) -> torch.Tensor:
    """The sum of the means of all kinds."""
    return torch.stack([term.total / term.count for term in policy.loss(batch).values()]).sum()


def total(policy: Policy, batch: Sequence[Example]) -> float:
    with torch.no_grad():
        return sum(term.total.item() for term in policy.loss(batch).values())


def same(one: Output, other: Output, tolerance: float = 0.0) -> bool:
    """Bit by bit, or latents to within `tolerance` and their pixels nearly."""
    if [type(p.segment) for p in one] != [type(p.segment) for p in other]:
        return False
    for ours, theirs in zip(one, other, strict=True):
        a, b = ours.segment, theirs.segment
        if isinstance(a, str) or isinstance(b, str):
            if a != b:
                return False
            continue
        if a.codes is not None and not np.array_equal(a.codes, b.codes):
            return False
        if a.latents is not None and not torch.allclose(a.latents, b.latents, 0, tolerance):
            return False
        far = np.abs(a.pixels.astype(int) - b.pixels).max()
        if far > (2 if tolerance else 0):
            return False
    return True


# Sampling


def test_what_is_sampled_has_its_shapes_and_types(family: Family, policy: Policy) -> None:
    count = len(contexts(family))
    texts = policy.write(contexts(family), [TextSampling(max_tokens=6)] * count, range(count))
    assert [type(text) for text in texts] == [str] * count
    outputs = policy.draw(contexts(family), [PictureSampling()] * count, range(count))
    assert len(outputs) == count
    for output in outputs:
        drawn = last_picture(output)
        assert isinstance(output, tuple) and drawn is not None
        assert drawn.pixels.dtype == np.uint8 and drawn.pixels.ndim == 3
        assert drawn.pixels.shape[2] == 3
        assert drawn.codes is None or (drawn.codes.dtype == np.int32 and drawn.codes.ndim == 1)
        assert drawn.latents is None or drawn.latents.device.type == "cpu"


def test_no_rows_are_no_work(policy: Policy) -> None:
    assert policy.draw([], [], []) == policy.write([], [], []) == policy.log_probs([], []) == []
    assert policy.loss([]) == policy.target_counts([]) == {}


def test_sampling_follows_from_the_seed(family: Family, policy: Policy) -> None:
    question, how = [contexts(family)[0]] * 2, [PictureSampling()] * 2
    torch.manual_seed(1)
    one, other = policy.draw(question, how, [5, 6])
    torch.manual_seed(2)
    again, _ = policy.draw(question, how, [5, 6])
    assert same(one, again) and not same(one, other)
    warm = [TextSampling(max_tokens=8)] * 2
    assert policy.write(question, warm, [5, 6]) == policy.write(question, warm, [5, 6])


def test_a_row_does_not_depend_on_the_others(family: Family, policy: Policy) -> None:
    asked = contexts(family)
    guided = "guidance" in policy.picture_options
    how = [PictureSampling(guidance=g if guided else 1.0) for g in (1.0, 2.0, 1.0, 3.0)]
    text = [TextSampling(max_tokens=n) for n in (8, 3, 5, 8)]
    drawn, written = policy.draw(asked, how, range(4)), policy.write(asked, text, range(4))
    for i in (3, 0, 2, 1):
        (alone,) = policy.draw([asked[i]], [how[i]], [i])
        assert same(alone, drawn[i], family.tolerance)
        assert policy.write([asked[i]], [text[i]], [i]) == [written[i]]


def test_sampled_log_probabilities_are_scored_again(family: Family, policy: Policy) -> None:
    asked = contexts(family)
    if family.sampled is None:
        with pytest.raises(Unsupported, match=f"family {policy.family}"):
            policy.log_probs(asked, [family.picture(0)] * 4)
    else:
        segments, chosen = zip(*family.sampled(policy, asked * 2, range(8)), strict=True)
        scored = policy.log_probs(asked * 2, segments)
        for ours, theirs in zip(scored, chosen, strict=True):
            assert ours.dtype == np.float32 and ours.shape == theirs.shape
            np.testing.assert_allclose(ours, theirs, atol=1e-3)
    one, two = family.prompts[:2]
    scored = policy.log_probs([(), (two,)], [one, two])
    assert all(s.dtype == np.float32 and s.ndim == 1 and s.max() <= 0 for s in scored)
    examples = [Example((), learned(one), "caption"), Example((two,), learned(two), "caption")]
    assert [len(s) for s in scored] == [policy.target_counts([e])["text"] for e in examples]


# Learning


@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_counts_of_the_loss_are_known_without_it(
    family: Family, policy: Policy, pattern: Pattern
) -> None:
    batch = examples(family)[pattern]
    terms = policy.loss(batch)
    assert {kind: term.count for kind, term in terms.items()} == policy.target_counts(batch)
    assert all(term.count > 0 and term.total.ndim == 0 for term in terms.values())
    assert (set(terms) == {"text"}) == (pattern in ("caption", "judgement"))


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_loss_is_a_function_of_the_example_alone(
    family: Family, policy: Policy, pattern: Pattern
) -> None:
    one, two = examples(family)[pattern]
    torch.manual_seed(1)
    alone, other = total(policy, [one]), total(policy, [two])
    torch.manual_seed(2)
    assert total(policy, [one]) == alone
    assert total(policy, [two, one]) == pytest.approx(alone + other, rel=1e-4)
    rekeyed = total(policy, [replace(one, key=replace(one.key, epoch=2))])
    noisy = family.noisy and one.draws
    assert (rekeyed != alone) if noisy else (rekeyed == alone)


def test_dropped_conditions_change_the_loss_as_declared(family: Family, policy: Policy) -> None:
    one, two = family.prompts[:2]
    seen, target = family.picture(4), learned(family.picture(5))
    whole = Example((one, seen), target, "reflection")
    for condition in CONDITIONS:
        if condition in policy.conditions:
            dropped = replace(whole, dropped=frozenset({condition}))
            assert abs(total(policy, [dropped]) - total(policy, [whole])) > 1e-4, condition
            if condition == "text":  # two texts of as many tokens
                asked = replace(dropped, context=(two, seen))
                assert total(policy, [asked]) == pytest.approx(total(policy, [dropped]), rel=1e-5)
        else:
            with pytest.raises(ConfigError, match=f"condition_dropout.{condition} is 0.1: family"):
                require_conditions(policy.family, policy.conditions, {condition: 0.1})


@pytest.mark.parametrize("pattern", PATTERNS)
def test_one_batch_is_learned_by_heart(family: Family, folder: Path, pattern: Pattern) -> None:
    pupil, batch = family.policy.from_pretrained(folder), examples(family)[pattern]
    optimizer = torch.optim.AdamW(pupil.module.parameters(), lr=family.rate, weight_decay=0.0)
    for _ in range(family.steps):
        mean = means(pupil, batch)
        if mean.item() < family.by_heart:
            break
        optimizer.zero_grad()
        mean.backward()
        optimizer.step()
    assert mean.item() < family.by_heart
    for example in batch:
        (part,) = example.target
        if isinstance(part.segment, str):
            greedy = [TextSampling(temperature=0.0)]
            assert pupil.write([example.context], greedy, [0]) == [part.segment]
        elif part.segment.codes is not None:
            ((drawn,),) = pupil.draw([example.context], [PictureSampling(temperature=0.0)], [0])
            assert np.mean(drawn.segment.codes == part.segment.codes) > 0.9


def gradients(family: Family, folder: Path) -> dict[str, tuple[float, dict[str, torch.Tensor]]]:
    """By pattern, the loss of one step from the same weights, and its whole gradients."""
    found: dict[str, tuple[float, dict[str, torch.Tensor]]] = {}
    for pattern, batch in examples(family).items():
        learner = Learner(sharpened(family, folder), changed(TRAINER, clip=1e9))
        shares = shares_for_rank(batch, learner.rank, learner.world, 0)
        loss = learner.step({pattern: shares}).losses[pattern]
        grads = {n: p.grad for n, p in learner.params.items() if p.grad is not None}
        whole = {n: g.full_tensor() if isinstance(g, DTensor) else g for n, g in grads.items()}
        found[pattern] = loss, whole
    return found


def rank_main(rank: int, port: int, family: Family, folder: Path, out: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    found = gradients(family, folder)
    if rank == 0:
        torch.save(found, out)
    dist.destroy_process_group()


def test_two_sharded_workers_have_the_gradients_of_one_process(
    family: Family, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "sharded.pt"
    mp.spawn(rank_main, args=(free_port(), family, folder, out), nprocs=2)
    sharded, plain = torch.load(out), gradients(family, folder)
    for pattern, (loss, grads) in plain.items():
        assert sharded[pattern][0] == pytest.approx(loss, abs=2e-6), pattern
        assert grads.keys() == sharded[pattern][1].keys()
        for name, gradient in grads.items():
            # 1e-6 of the gradient, or of 1 where that is larger
            scale = max(1.0, gradient.abs().max().item())
            worst = (gradient - sharded[pattern][1][name]).abs().max().item()
            assert worst < 1e-6 * scale, (pattern, name, worst)


# Weights


def drawings(family: Family, policy: Policy) -> list[Output]:
    return policy.draw(contexts(family), [PictureSampling()] * 4, range(4))


def test_weights_are_what_learns_and_what_the_footprint_counts(
    family: Family, folder: Path
) -> None:
    fresh = family.policy.from_pretrained(folder)
    weights = fresh.weights()
    learning = {n for n, w in fresh.module.named_parameters() if w.requires_grad}
    assert set(weights) == learning
    assert all(array.dtype == np.float32 for array in weights.values())
    units = {id(unit) for unit in fresh.module.modules()}
    assert fresh.fsdp_units() and all(id(unit) in units for unit in fresh.fsdp_units())
    size = footprint(PolicyConfig(family=fresh.family, path=str(folder)))
    assert size.trained == sum(array.size for array in weights.values())


def test_saved_and_loaded_it_is_the_same(family: Family, policy: Policy, tmp_path: Path) -> None:
    policy.save_pretrained(tmp_path / "again")
    again = family.policy.from_pretrained(tmp_path / "again")
    assert weights_digest(again.weights()) == weights_digest(policy.weights())
    for ours, theirs in zip(drawings(family, policy), drawings(family, again), strict=True):
        assert same(ours, theirs)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_published_weights_draw_as_those_that_learned(
    family: Family, policy: Policy, folder: Path, tmp_path: Path, dtype: str
) -> None:
    """Read-only arrays, as replicas map them; a replica that had others before."""
    weights = {name: array.copy() for name, array in policy.weights().items()}
    if dtype == "bfloat16":
        weights = bfloat16_bits(weights)
    for array in weights.values():
        array.flags.writeable = False
    digest = weights_digest(weights)
    first, second = (family.policy.from_pretrained(folder) for _ in range(2))
    second.load_weights({name: np.zeros_like(array) for name, array in weights.items()})
    first.load_weights(weights)
    second.load_weights(weights)
    assert not any(weight.requires_grad for weight in second.module.parameters())
    want = drawings(family, policy if dtype == "float32" else first)
    for ours, theirs in zip(want, drawings(family, second), strict=True):
        assert same(ours, theirs)
    back = second.weights()
    if dtype == "float32":
        assert all(np.shares_memory(back[name], array) for name, array in weights.items())
    second.save_pretrained(tmp_path / "published")
    again = family.policy.from_pretrained(tmp_path / "published").weights()
    for found in (back, again):
        assert weights_digest(bfloat16_bits(found) if dtype == "bfloat16" else found) == digest
    assert weights_digest(weights) == digest


# Refusals


def one_sentence(error: pytest.ExceptionInfo[Exception]) -> bool:
    said = str(error.value)
    said.encode()  # half a surrogate pair could not be printed
    return "\n" not in said and 20 < len(said) < 1000


@pytest.mark.parametrize("option", [field.name for field in fields(PictureSampling)])
def test_unknown_options_are_refused_by_name(family: Family, policy: Policy, option: str) -> None:
    how = replace(PictureSampling(), **{option: getattr(UNUSUAL, option)})
    if option in policy.picture_options:
        assert len(policy.draw([contexts(family)[0]], [how], [0])) == 1
    else:
        with pytest.raises(ConfigError, match=f"{option} is .*family {policy.family}") as error:
            policy.draw([contexts(family)[0]], [how], [0])
        assert one_sentence(error)


def test_texts_that_cannot_be_read_are_refused(family: Family, policy: Policy) -> None:
    for text in (family.overlong, *family.unreadable):
        for act in (
            lambda text=text: policy.draw([(text,)], [PictureSampling()], [0]),
            lambda text=text: policy.write([(text,)], [TextSampling()], [0]),
            lambda text=text: policy.loss([Example((text,), learned("a"), "caption")]),
            lambda text=text: policy.log_probs([(text,)], [family.prompts[0]]),
        ):
            with pytest.raises(PromptError) as error:
                act()
            assert one_sentence(error)


NO_PIXELS = {
    "grey": np.zeros((8, 8), np.uint8),
    "alpha": np.zeros((8, 8, 4), np.uint8),
    "float": np.zeros((8, 8, 3), np.float32),
    "empty": np.zeros((0, 8, 3), np.uint8),
}


@pytest.mark.parametrize("kind", NO_PIXELS)
def test_arrays_that_are_no_picture_are_refused(family: Family, policy: Policy, kind: str) -> None:
    with pytest.raises(ValueError, match=r"Picture\.pixels is ") as error:
        seen = Picture(NO_PIXELS[kind])
        policy.write([(seen, family.prompts[0])], [TextSampling()], [0])
    assert one_sentence(error)


def test_codes_and_latents_of_others_are_refused(family: Family, policy: Policy) -> None:
    right = family.picture(0)
    wrong = list(family.bad_pictures)
    if right.codes is not None:
        changed = (
            right.codes[:-1], right.codes + 10**6, -1 - right.codes,
            right.codes.astype(np.float32), right.codes > 0, right.codes[None],
        )  # fmt: skip
        wrong += [Picture(right.pixels, codes) for codes in changed]
    if right.latents is not None:
        wrong += [Picture(right.pixels, None, right.latents[..., :-1])]
        wrong += [Picture(right.pixels, None, torch.full_like(right.latents, torch.nan))]
    for each in wrong:
        with pytest.raises(ValueError, match=r"Picture\.(codes|latents)") as error:
            policy.loss([Example((family.prompts[0],), learned(each), "generation")])
        assert one_sentence(error)
