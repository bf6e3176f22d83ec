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
    Part,
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
UNUSUAL = PictureSampling(0.5, 2.0, 2.0, (0.1, 0.9), "global", 7, 2.0)
"""A value of each option that is not its default, but for `Family.size`."""


@dataclass(frozen=True)
class Family:
    """How to test one family. Functions must be importable: other processes call them.

    `write_folder` makes a checkpoint of a very small model with random weights of that seed.
    `prompts` are four short texts that it reads, the first two of as many tokens; `unreadable` are
    texts that it refuses, `overlong` one that no prompt has room for. `picture` makes a drawing of
    a seed, with the codes or latents that the family learns from. `sampled_pictures` gives what the
    policy's own sampler chose at temperature 1 with the log-probability of each token (None: the
    family has no likelihood of pictures), `sampled_texts` any texts with the log-probabilities that
    `write` samples their first tokens from (None: it does not tell them). `sharp` multiplies
    matrices, since random weights say next to nothing. `noisy`: its loss draws noise, timesteps or
    masks. `size` is one of drawings that is not the family's own, where "size" is an option.
    """

    policy: type[Policy]
    write_folder: Callable[[Path, int], object]
    prompts: tuple[str, str, str, str]
    unreadable: tuple[str, ...]
    overlong: str
    picture: Callable[[int], Picture]
    sampled_texts: Sampled | None
    sampled_pictures: Sampled | None
    bad_pictures: tuple[Picture, ...] = ()
    sharp: float = 3.0
    noisy: bool = False
    rate: float = 3e-3
    steps: int = 150
    by_heart: float = 0.02
    tolerance: float = 1e-4
    size: tuple[int, int] = (16, 16)


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


def mixed(family: Family) -> list[Example]:
    """A step in which one worker learns a text and the other a picture."""
    one, two, plan = family.prompts[:3]
    targets = (((one,), learned(plan)), ((two,), learned(family.picture(0))))
    return [Example(*each, "generation", ExampleKey(1, 2, i)) for i, each in enumerate(targets)]


def supported(policy: Policy, batch: Sequence[Example]) -> bool:
    """A family may have no layout for outputs of many parts, or of other kinds in one batch."""
    try:
        policy.target_counts(batch)
    except Unsupported:
        with pytest.raises(Unsupported, match=f"family {policy.family}") as error:
            policy.loss(batch)
        assert one_sentence(error)
        return False
    return True


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
        if a.pixels.shape != b.pixels.shape:
            return False
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


def test_a_text_ends_at_its_last_token(family: Family, policy: Policy) -> None:
    asked = contexts(family)
    none, short, long = (
        policy.write(asked, [TextSampling(temperature=0.0, max_tokens=most)] * 4, range(4))
        for most in (0, 1, 12)
    )
    assert none == [""] * 4 and short != long
    for some, more in zip(short, long, strict=True):
        assert more.startswith(some.rstrip("\ufffd"))  # of half a character


def test_temperature_0_is_greedy_and_1_is_not(family: Family, policy: Policy) -> None:
    asked = [contexts(family)[0]] * 6
    greedy, warm = (
        policy.write(asked, [TextSampling(temperature=t, max_tokens=8)] * 6, range(6))
        for t in (0.0, 1.0)
    )
    assert len({*greedy}) == 1 and len({*warm}) > 1
    if "temperature" in policy.picture_options:
        how = [PictureSampling(temperature=0.0)] * 2
        one, other = policy.draw(asked[:2], how, [5, 6])
        assert same(one, other, family.tolerance)


def test_without_guidance_by_text_the_text_does_not_matter(family: Family, policy: Policy) -> None:
    if "guidance" not in policy.picture_options:
        pytest.skip(f"family {policy.family} has no guidance")
    asked = [(prompt,) for prompt in family.prompts[:2]] * 2
    how = [PictureSampling(guidance=g) for g in (0.0, 0.0, 1.0, 1.0)]
    untold, also_untold, one, other = policy.draw(asked, how, [3] * 4)
    assert same(untold, also_untold, family.tolerance)
    assert not same(one, other, family.tolerance)


def test_pictures_of_the_context_are_seen(family: Family, policy: Policy) -> None:
    one, _, _, four = family.prompts
    seen = [family.picture(0), family.picture(1)]
    scored = policy.log_probs([(each, four) for each in seen], [one, one])
    assert np.abs(scored[0] - scored[1]).max() > 1e-4
    for target, pattern in ((learned(one), "caption"), (learned(family.picture(2)), "reflection")):
        taught = [Example((one, each, four), target, pattern) for each in seen]
        assert abs(total(policy, taught[:1]) - total(policy, taught[1:])) > 1e-4, pattern
    asked = [(one, each, four) for each in seen]
    first, second = policy.draw(asked, [PictureSampling()] * 2, [4, 4])
    assert not same(first, second, family.tolerance)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_replicas_sample_in_what_they_were_moved_to(
    family: Family, folder: Path, dtype: str
) -> None:
    replica, asked = sharpened(family, folder), contexts(family)
    greedy = [TextSampling(temperature=0.0, max_tokens=8)] * 4
    drawn, written = drawings(family, replica), replica.write(asked, greedy, range(4))
    if dtype == "float32":
        replica.sample_on("cpu", dtype)
    else:
        try:
            replica.sample_on("cpu", dtype)
        except ConfigError:
            return
    again, texts = drawings(family, replica), replica.write(asked, greedy, range(4))
    assert not any(weight.requires_grad for weight in replica.module.parameters())
    for ours, theirs in zip(again, drawn, strict=True):
        one, other = last_picture(ours), last_picture(theirs)
        assert one is not None and other is not None and one.pixels.dtype == np.uint8
        assert dtype == "bfloat16" or same(ours, theirs, family.tolerance)
        assert one.latents is None or one.latents.isfinite().all()
    assert dtype == "bfloat16" or texts == written


def test_sampled_log_probabilities_are_scored_again(family: Family, policy: Policy) -> None:
    asked = contexts(family)
    if family.sampled_pictures is None:
        with pytest.raises(Unsupported, match=f"family {policy.family}"):
            policy.log_probs(asked, [family.picture(0)] * 4)
    for sampled in filter(None, (family.sampled_texts, family.sampled_pictures)):
        segments, chosen = zip(*sampled(policy, asked * 2, range(8)), strict=True)
        scored = policy.log_probs(asked * 2, segments)
        for segment, ours, theirs in zip(segments, scored, chosen, strict=True):
            first = slice(len(theirs) if isinstance(segment, str) else None)
            assert ours.dtype == np.float32 and ours[first].shape == theirs.shape
            assert len(theirs) > 0
            np.testing.assert_allclose(ours[first], theirs, atol=1e-3)
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


def test_pictures_are_learned_as_they_were_sampled(family: Family, policy: Policy) -> None:
    drawn, other = family.picture(0), family.picture(1)
    if drawn.codes is None and drawn.latents is None:
        pytest.skip(f"family {policy.family} learns from pixels")
    recoloured, redrawn = (
        replace(drawn, pixels=255 - drawn.pixels),
        replace(other, pixels=drawn.pixels),
    )
    one, two, three = (
        total(policy, [Example((family.prompts[0],), learned(each), "generation")])
        for each in (drawn, recoloured, redrawn)
    )
    assert one == two and abs(one - three) > 1e-4


def test_parts_that_are_not_learned_are_context_alone(family: Family, policy: Policy) -> None:
    plan, drawn = family.prompts[2], family.picture(0)
    whole = Example((family.prompts[0],), learned(plan, drawn), "generation")
    if not supported(policy, [whole]):
        pytest.skip(f"family {policy.family} learns one part")
    only_drawn, only_plan, no_plan = (
        replace(whole, target=target)
        for target in (
            (Part(plan, learned=False), Part(drawn)),
            (Part(plan), Part(drawn, learned=False)),
            learned(drawn),
        )
    )
    after = replace(whole, target=(Part(drawn, learned=False), Part(plan)))
    assert set(policy.target_counts([after])) == set(policy.target_counts([only_plan])) == {"text"}
    assert policy.target_counts([only_drawn]) == policy.target_counts([no_plan])
    assert len(policy.target_counts([whole])) == 2
    for example in (whole, only_drawn, only_plan, after):
        counts = {kind: term.count for kind, term in policy.loss([example]).items()}
        assert counts == policy.target_counts([example])
    parts = total(policy, [only_drawn]) + total(policy, [only_plan])
    assert total(policy, [whole]) == pytest.approx(parts, rel=1e-4)
    assert abs(total(policy, [only_drawn]) - total(policy, [no_plan])) > 1e-4


def test_any_kind_alone_gives_every_parameter_a_gradient(family: Family, folder: Path) -> None:
    pupil, batch = family.policy.from_pretrained(folder), mixed(family)
    if not supported(pupil, batch):
        pytest.skip(f"family {pupil.family} learns one kind in a step")
    assert len(pupil.loss(batch)) == 2
    for some in (batch, batch[:1], batch[1:]):
        pupil.module.zero_grad(set_to_none=True)
        means(pupil, some).backward()
        lacking = [n for n, w in pupil.module.named_parameters() if w.grad is None]
        assert not lacking, [example.target for example in some]


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
    """By pattern, the loss of one step from the same weights, and its whole gradients. The last is
    one in which each of two workers learns another kind, where the family can."""
    found: dict[str, tuple[float, dict[str, torch.Tensor]]] = {}
    steps: list[tuple[str, Pattern, list[Example]]] = [
        (p, p, b) for p, b in examples(family).items()
    ]
    if supported(family.policy.from_pretrained(folder), mixed(family)):
        steps.append(("mixed", "generation", mixed(family)))
    for name, pattern, batch in steps:
        learner = Learner(sharpened(family, folder), changed(TRAINER, clip=1e9))
        shares = shares_for_rank(batch, learner.rank, learner.world, 0)
        loss = learner.step({pattern: shares}).losses[pattern]
        grads = {n: p.grad for n, p in learner.params.items() if p.grad is not None}
        whole = {n: g.full_tensor() if isinstance(g, DTensor) else g for n, g in grads.items()}
        found[name] = loss, whole
    return found


def rank_main(rank: int, port: int, family: Family, folder: Path, out: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    found = gradients(family, folder)
    if rank == 0:
        torch.save(found, out)
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_sharded_workers_have_the_gradients_of_one_process(
    family: Family, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "sharded.pt"
    mp.spawn(rank_main, args=(free_port(), family, folder, out), nprocs=2)
    sharded, plain = torch.load(out), gradients(family, folder)
    assert sharded.keys() == plain.keys()
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
def test_options_change_the_drawing_or_are_refused_by_name(
    family: Family, policy: Policy, option: str
) -> None:
    unusual = replace(UNUSUAL, size=family.size)
    how = replace(PictureSampling(), **{option: getattr(unusual, option)})
    if option in policy.picture_options:
        usual = {"guidance": 3.0, "image_guidance": 1.5}  # which others need to matter
        known = {name: value for name, value in usual.items() if name in policy.picture_options}
        plain = replace(PictureSampling(), **known)
        changes = replace(plain, **{option: getattr(unusual, option)})
        asked = [(family.prompts[0], family.picture(7))] * 2
        one, other = policy.draw(asked, [plain, changes], [0, 0])
        assert not same(one, other, family.tolerance)
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
