"""The folder of a Janus: read by transformers as by us, and refused when anything is wrong."""

from __future__ import annotations

from pathlib import Path

import torch

from policies.janus.checkpoint import load, save
from tests.policies.janus import golden, tiny_folder


def test_saved_and_loaded_is_the_same(tmp_path: Path) -> None:
    first = load(tiny_folder(tmp_path / "one"))
    save(tmp_path / "two", first)
    second = load(tmp_path / "two")
    assert first.special == second.special and first.extras == second.extras
    for name, tensor in first.net.state_dict().items():
        assert torch.equal(tensor, second.net.state_dict()[name]), name
    for file in sorted((tmp_path / "one").iterdir()):
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes(), file.name


def test_golden_net_computes_the_golden_features() -> None:
    net, tensors = golden()
    with torch.no_grad():
        features = net.model.get_image_features(tensors["pixel_values"]).pooler_output
    assert torch.allclose(features, tensors["out_image_features"], atol=1e-5)


def test_transformers_computes_the_same_logits(tmp_path: Path) -> None:
    from transformers import JanusForConditionalGeneration

    folder = tiny_folder(tmp_path / "tiny")
    net, ids = load(folder).net, torch.arange(60).view(2, 30)
    theirs = JanusForConditionalGeneration.from_pretrained(folder)
    with torch.no_grad():
        assert torch.equal(theirs(ids).logits, net(ids).logits)
