"""A Transfusion is a Show-o2 without its head of layers and its semantic ones, and keeps what every
family keeps."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from policies.showo2.checkpoint import load
from policies.showo2.policy import Showo2Policy
from policies.showo2.released import WHOLE
from tests.policies.conformance import *  # noqa: F403
from tests.policies.conformance import Family
from tests.policies.showo2.small import TRANSFUSION, picture, write_transfusion
from tests.policies.showo2.test_policy import sampled_texts

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def family() -> Family:
    return Family(
        policy=Showo2Policy,
        write_folder=write_transfusion,
        picture=picture,
        prompts=("a red circle", "the cat sits", "ö→猫", "What is it?"),
        unreadable=("a cat \ud800",),
        overlong="cat " * 200,
        sampled_texts=sampled_texts,
        sampled_pictures=None,
        sharp=1.5,
        noisy=True,
        by_heart=0.1,
        size=(16, 32),
    )


def test_its_folder_says_that_it_is_one(tmp_path: Path) -> None:
    write_transfusion(tmp_path, 0)
    said = json.loads((tmp_path / WHOLE).read_text())
    assert (said["clip_latent_dim"], said["num_diffusion_layers"]) == (0, 0)
    found = load(tmp_path).module
    assert found.config == replace(TRANSFUSION, own_side=found.config.own_side)
    parts = {name.split(".")[0] for name in found.state_dict()}
    assert parts == {"showo", "image_embedder_gen", "time_embed", "diffusion_head_b"}
