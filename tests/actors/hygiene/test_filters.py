"""The filters with the real packages: their numbers, what they leave out, and what is refused."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import nudenet
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import CLIPModel, CLIPProcessor

from actors.config import JudgeConfig
from actors.hygiene.clip import Clip
from actors.hygiene.config import HygieneConfig
from actors.hygiene.filters import Filters
from actors.hygiene.requirements import require_filters
from actors.hygiene.safety import Safety
from policies.config import ConfigError
from tests.actors.hygiene.samples import FEATURES, landscape, photo, portrait, save_clip

torch.set_num_threads(1)
PROMPTS = ["a face", "the sky", "a face of somebody who has a very long description"]
PICTURES = [portrait(), landscape(1), landscape(2)]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_clip(tmp_path_factory.mktemp("clip") / "small")


def own_cosines(folder: Path) -> np.ndarray:
    """As transformers' own processor and model give them, one pair at a time."""
    model, processor = (
        CLIPModel.from_pretrained(folder).eval(),
        CLIPProcessor.from_pretrained(folder),
    )
    found = []
    model.requires_grad_(False)
    for prompt, picture in zip(PROMPTS, PICTURES, strict=True):
        read = processor(text=[prompt], images=[picture.pixels], return_tensors="pt",
                         truncation=True, max_length=10)  # fmt: skip
        out = model(**read)
        found.append(float(out.logits_per_image / model.logit_scale.exp()))
    return np.array(found)


def test_safety_says_what_nudenet_says_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "photo.png"
    photo().save(file)
    said = nudenet.NudeDetector().detect(str(file))
    assert [each["class"] for each in said] == ["FACE_FEMALE"]
    (seen,) = Safety(["FACE_FEMALE", "FEET_EXPOSED"]).measured(["a face"], PICTURES[:1])["unsafe"]
    assert seen == pytest.approx(said[0]["score"], abs=1e-4) and seen > 0.5
    bare = Safety(HygieneConfig().unsafe_parts).measured(PROMPTS, PICTURES)
    assert bare == {"unsafe": [0.0, 0.0, 0.0]}


def test_clip_says_what_transformers_says_whatever_else_is_measured(clip: Path) -> None:
    found = Clip(str(clip), "", "cpu").measured(PROMPTS, PICTURES)
    assert list(found) == ["clip"]
    np.testing.assert_allclose(found["clip"], own_cosines(clip), atol=1e-5)
    assert np.ptp(found["clip"]) > 0.01, "the pairs differ"
    many = Clip(str(clip), "", "cpu").measured(PROMPTS * 12, PICTURES * 12)["clip"]
    np.testing.assert_allclose(many, found["clip"] * 12, atol=1e-5)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("sizes", [(1,), (8, 5, 1)])
def test_a_head_of_linear_layers_gives_their_score(
    tmp_path: Path, clip: Path, suffix: str, sizes: tuple[int, ...]
) -> None:
    torch.manual_seed(1)
    ends = zip((FEATURES, *sizes), sizes, strict=False)
    layers = torch.nn.Sequential(
        *(part for end in ends for part in (torch.nn.Linear(*end), torch.nn.Dropout()))
    ).eval()
    single = len(sizes) == 1  # LAION's first heads; the later ones have layers.0, layers.2 ...
    held = layers[0].state_dict() if single else {f"layers.{k}": v for k, v in layers.state_dict().items()}  # fmt: skip
    file = tmp_path / f"head{suffix}"
    torch.save(held, file) if suffix == ".pth" else save_file(held, file)
    require_filters(HygieneConfig(clip=str(clip), aesthetic=str(file), aesthetic_from=0.0))
    model = Clip(str(clip), str(file), "cpu")
    with torch.no_grad():
        expected = layers(model.embedded(PROMPTS, PICTURES)[0])[:, 0].tolist()
    assert model.measured(PROMPTS, PICTURES)["aesthetic"] == pytest.approx(expected, abs=1e-5)


def test_filters_leave_out_what_is_over_or_under_their_bound(clip: Path) -> None:
    face = HygieneConfig(unsafe_from=0.3, unsafe_parts=("FACE_FEMALE", "FACE_MALE"))
    left_out = Filters(face, "cpu").unfit(PROMPTS, PICTURES)
    assert left_out[0] is not None and left_out[0].filter == "unsafe" and left_out[0].value > 0.3
    assert left_out[1:] == [None, None]
    cosines = Clip(str(clip), "", "cpu").measured(PROMPTS, PICTURES)["clip"]
    order = np.argsort(cosines)
    config = HygieneConfig(clip=str(clip), clip_from=cosines[order[1]])
    filtered = Filters(config, "cpu").unfit(PROMPTS, PICTURES)
    assert filtered[order[0]] == ("clip", cosines[order[0]])
    assert filtered[order[1]] is filtered[order[2]] is None, "what is just at the bound is fit"
    assert Filters(HygieneConfig(), "cpu").unfit(PROMPTS, PICTURES) == [None] * 3


def refusal(**fields: object) -> str:
    with pytest.raises(ConfigError) as caught:
        require_filters(JudgeConfig(hygiene=HygieneConfig(**fields)).hygiene)
    return str(caught.value)


def test_settings_that_need_each_other_are_refused_alone() -> None:
    assert refusal(clip_from=0.2).startswith("judge.hygiene.clip is '': it must be the folder")
    assert refusal(clip="/models/clip").startswith("judge.hygiene.clip is '/models/clip'")
    assert refusal(aesthetic="head.pth", clip="x", clip_from=0.2).startswith(
        "judge.hygiene.aesthetic is 'head.pth': it must be"
    )
    assert "unsafe_parts" in refusal(unsafe_from=0.5, unsafe_parts=("KNEES",))
    assert "unsafe_from" in refusal(unsafe_from=0.1)


def test_a_package_that_is_missing_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert refusal(unsafe_from=0.5) == (
        "judge.hygiene.unsafe_from is 0.5, which needs nudenet: pip install "
        "'unicorn-ray[safety]', or set it to null"
    )
    assert (
        "duplicate_bits is 4, which needs imagehash: pip install 'unicorn-ray[hygiene]'"
        in refusal(duplicate_bits=4)
    )
    require_filters(HygieneConfig())


def test_a_clip_that_is_not_there_or_damaged_is_named(tmp_path: Path) -> None:
    folder = save_clip(tmp_path / "clip")
    asked = {"clip": str(folder), "clip_from": 0.2}
    require_filters(HygieneConfig(**asked))
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-100])
    assert f"judge.hygiene.clip is '{folder}', whose files cannot be read" in refusal(**asked)
    weights.unlink()
    assert "where there is no model.safetensors: give the folder" in refusal(**asked)
    weights.write_bytes(whole)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "llama"}))
    assert "which is a 'llama': give the folder of a CLIP" in refusal(**asked)


def test_a_head_of_another_clip_is_refused(tmp_path: Path, clip: Path) -> None:
    file = tmp_path / "head.pth"
    asked = {"clip": str(clip), "aesthetic": str(file), "aesthetic_from": 5.0}
    assert "head.pth', which is no file of linear layers (FileNotFoundError" in refusal(**asked)
    file.write_bytes(b"nothing of the kind")
    assert "which is no file of linear layers" in refusal(**asked)
    torch.save(torch.nn.Linear(768, 1).state_dict(), file)
    assert "whose weights are (1, 768): they must lead from the 12 numbers" in refusal(**asked)
    torch.save({"weight": torch.zeros(1, FEATURES)}, file)
    assert "which is no file of linear layers (KeyError" in refusal(**asked)
    torch.save({}, file)
    assert "whose weights are none" in refusal(**asked)
