"""Chameleon computes what transformers' own classes compute, and what is saved they take as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from transformers import AutoProcessor, ChameleonForConditionalGeneration, ChameleonProcessor

from policies.chameleon.checkpoint import load, save
from policies.chameleon.pictures import pixels_of
from policies.chameleon.policy import ChameleonPolicy
from policies.interface import Context, Picture, PictureSampling, TextSampling
from tests.policies.chameleon.small import SIZE, TOKENS, bare, examples, loaded, picture


@pytest.fixture(scope="module", params=[False, True], ids=["7b", "30b"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the norms where the 7B has them, and where the 30B has them."""
    made = tmp_path_factory.mktemp("saved")
    save(made, loaded(3, swin=request.param))
    return made


@pytest.fixture(scope="module")
def net(folder: Path) -> Any:
    return ChameleonForConditionalGeneration.from_pretrained(folder).eval()


@pytest.fixture(scope="module")
def policy(folder: Path) -> ChameleonPolicy:
    return ChameleonPolicy.from_pretrained(folder)


def asked(processor: Any, prompt: str, seen: Picture | None = None) -> Any:
    images = None if seen is None else [Image.fromarray(seen.pixels)]
    text = prompt if seen is None else "<image>" + prompt
    return processor(text=text, images=images, return_tensors="pt")


def test_logits_before_the_masking_are_the_same(policy: ChameleonPolicy, net: Any) -> None:
    for batch in examples().values():
        for laid in policy.layout.all_laid(batch):
            ids, places = torch.tensor([laid.ids]), torch.arange(len(laid.ids))
            with torch.no_grad():
                words, codes = policy.module(ids, places, places)
                states = net.model(input_ids=ids).last_hidden_state
                masked = net(input_ids=ids).logits[0]
            theirs = net.lm_head(states)[0]
            allowed = words.isfinite()
            assert torch.equal(allowed, masked != torch.finfo(masked.dtype).min)
            assert (~allowed).sum(-1).unique().tolist() == [len(policy.module.codes)]
            assert (words - theirs)[allowed].abs().max() < 1e-5
            assert (codes - theirs[:, policy.module.codes]).abs().max() < 1e-5


def test_the_loss_of_texts_is_transformers_own(policy: ChameleonPolicy, net: Any) -> None:
    batch = examples()["judgement"]
    laid = policy.layout.all_laid(batch)
    ours = policy.loss(batch)["text"]
    for row, total in zip(laid, ours.totals, strict=True):
        ids = torch.tensor([row.ids])
        labels = torch.full_like(ids, -100)
        labels[0, row.words] = ids[0, row.words]
        loss = net(input_ids=ids, labels=labels).loss
        assert loss.item() == pytest.approx(total.item() / len(row.words), abs=1e-5)


def test_the_loss_of_drawings_is_that_of_its_logits_among_image_tokens(
    policy: ChameleonPolicy, net: Any
) -> None:
    """Among all tokens, transformers' own loss of image tokens is infinite."""
    batch = examples()["reflection"]
    tokens = torch.tensor(net.model.vocabulary_mapping.image_tokens)
    ours = policy.loss(batch)["codes"]
    assert ours.count == 2 * TOKENS
    for row, total in zip(policy.layout.all_laid(batch), ours.totals, strict=True):
        ids = torch.tensor([row.ids])
        states = net.model(input_ids=ids).last_hidden_state[0, row.codes - 1]
        wanted = torch.searchsorted(tokens, ids[0, row.codes])
        nats = F.cross_entropy(net.lm_head(states)[:, tokens], wanted)
        assert nats.item() == pytest.approx(total.item() / TOKENS, abs=1e-5)


def test_codes_and_features_of_pictures_are_the_same(policy: ChameleonPolicy, net: Any) -> None:
    seen = [bare(seed) for seed in range(3)]
    pixels = pixels_of(seen, SIZE, policy.layout.scale)
    ids = net.get_image_tokens(pixels)
    blocks = policy.layout.blocks(seen)
    assert [list(blocks[id(each)]) for each in seen] == ids.tolist()
    with torch.no_grad():
        features = net.get_image_features(pixels).pooler_output
        ours = policy.module.model.embed_tokens(torch.tensor([blocks[id(each)] for each in seen]))
    assert (features - ours).abs().max() < 1e-5


def test_the_processor_is_found_and_reads_as_the_policy_does(
    folder: Path, policy: ChameleonPolicy
) -> None:
    seen, special = bare(1), policy.layout.special
    blocks = {id(seen): (special.image,) * TOKENS}
    for processor in (
        ChameleonProcessor.from_pretrained(folder),
        AutoProcessor.from_pretrained(folder),
    ):
        assert type(processor) is ChameleonProcessor
        given: list[tuple[Any, Context]] = [
            (asked(processor, "a red circle"), ("a red circle",)),
            (asked(processor, "What?", seen), (seen, "What?")),
        ]
        for theirs, context in given:
            question = policy.layout.question(context, blocks, drawing=False)
            assert theirs.input_ids[0].tolist() == list(question)


@pytest.mark.parametrize(
    ("height", "width"),
    [(16, 16), (32, 32), (20, 33), (40, 17), (1, 1), (1, 12), (5, 3), (99, 31), (50, 1)],
)
def test_pictures_are_prepared_as_by_the_public_processor(
    policy: ChameleonPolicy, folder: Path, height: int, width: int
) -> None:
    seen = bare(7, height, width)
    theirs = asked(AutoProcessor.from_pretrained(folder), "What?", seen).pixel_values
    ours = pixels_of([seen], SIZE, policy.layout.scale)
    assert theirs.shape == ours.shape
    assert (theirs - ours).abs().max() < 1e-6


def test_a_saved_checkpoint_writes_the_same_in_transformers(
    folder: Path, policy: ChameleonPolicy, net: Any
) -> None:
    processor = AutoProcessor.from_pretrained(folder)
    for prompt, seen in (("a", None), ("What is it?", bare(4)), ("Why?", bare(5))):
        asking = asked(processor, prompt, seen)
        given = asking.input_ids.shape[1]
        ids = net.generate(**asking, max_new_tokens=12, do_sample=False)[0, given:].tolist()
        context: Context = (prompt,) if seen is None else (seen, prompt)
        greedy = [TextSampling(temperature=0.0, max_tokens=12)]
        (own,) = policy.sample_words([context], greedy, [0]).tokens
        assert [i for i in ids if i != policy.layout.special.eos] == own.tolist()


def test_greedy_guided_drawings_are_those_of_a_plain_loop_over_transformers(
    policy: ChameleonPolicy, net: Any
) -> None:
    """Two rows and no cache, in the words of Meta's InBatchInstructCFG with an image scale of 1."""
    seen, guidance = picture(5), 3.0
    special, tokens = policy.layout.special, torch.from_numpy(policy.layout.special.codes)
    block = tokens[torch.from_numpy(seen.codes).long()].tolist()
    shown = [special.begin_image, *block, special.end_image]
    words = policy.layout.tokenizer.encode("a red circle", add_special_tokens=False).ids
    for context, before, free in (
        (("a red circle",), [*words], []),
        ((seen, "a red circle"), [*shown, *words], shown),
    ):
        full = [special.bos, *before, special.separator, special.begin_image]
        without = [special.bos, *free, special.begin_image]
        chosen: list[int] = []
        with torch.no_grad():
            for _ in range(TOKENS):
                given, not_given = (
                    net.lm_head(
                        net.model(input_ids=torch.tensor([row + chosen])).last_hidden_state[0, -1]
                    )[tokens]
                    for row in (full, without)
                )
                best = (not_given + guidance * (given - not_given)).argmax()
                chosen.append(int(tokens[best]))
        greedy = [PictureSampling(temperature=0.0, guidance=guidance)]
        ((drawn,),) = policy.draw([context], greedy, [0])
        assert isinstance(drawn.segment, Picture) and drawn.segment.codes is not None
        assert special.codes[drawn.segment.codes].tolist() == chosen


def test_what_is_saved_again_is_the_same(folder: Path, tmp_path: Path) -> None:
    save(tmp_path / "again", load(folder))
    names = sorted(file.name for file in folder.iterdir())
    assert names == sorted(file.name for file in (tmp_path / "again").iterdir())
    for name in names:
        assert (folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name


def test_what_transformers_saves_is_read_beside_a_decoder(folder: Path, tmp_path: Path) -> None:
    """Since its version 5 it puts the picture processor's fields into processor_config.json."""
    theirs = tmp_path / "theirs"
    ChameleonForConditionalGeneration.from_pretrained(folder).save_pretrained(theirs)
    AutoProcessor.from_pretrained(folder).save_pretrained(theirs)
    stated = {file.name: file.read_bytes() for file in theirs.iterdir()}
    read = load(theirs, decoder=str(folder))
    assert {name: data for name, data in read.extras.items() if stated.get(name) != data} == {}
    own = load(folder)
    for one, other in ((read.net, own.net), (read.vq, own.vq), (read.decoder, own.decoder)):
        for name, tensor in one.state_dict().items():
            assert torch.equal(tensor, other.state_dict()[name]), name
    np.testing.assert_equal(read.scale, own.scale)
