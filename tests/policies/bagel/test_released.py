"""What the small files of a BAGEL say, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from policies.bagel.released import autoencoder_config, read_config
from policies.interface import CheckpointError
from tests.policies.bagel.golden import config, shapes, write_small_files


def test_the_goldens_sizes() -> None:
    read = config()
    assert (read.language.hidden_size, read.language.head_dim, read.language.layers) == (64, 16, 2)
    assert (read.vision.layers, read.vision.side, read.vision.patch_values) == (2, 8, 588)
    assert read.autoencoder.widths == (32, 32, 32, 32) and read.autoencoder.blocks == 1
    assert (read.latent_values, read.latent_side, read.token_pixels) == (16, 8, 16)


def test_released_files_may_leave_out_or_misstate_what_the_scripts_overwrite(
    tmp_path: Path,
) -> None:
    write_small_files(tmp_path, vit={"num_hidden_layers": 3}, bagel={"max_latent_size": 32})
    file = tmp_path / "llm_config.json"
    fields = json.loads(file.read_text())
    for name in ("layer_module", "qk_norm", "tie_word_embeddings"):
        del fields[name]
    file.write_text(json.dumps(fields))
    assert read_config(tmp_path, shapes("bagel"), shapes("vae")) == config()


def test_without_its_table_the_file_says_how_large_drawings_are(tmp_path: Path) -> None:
    write_small_files(tmp_path, bagel={"max_latent_size": 32})
    fewer = {name: shape for name, shape in shapes("bagel").items() if "pos_embed" not in name}
    assert read_config(tmp_path, fewer, shapes("vae")).latent_side == 32


@pytest.mark.parametrize(
    ("section", "field", "value"),
    [
        ("llm", "layer_module", "Qwen2DecoderLayer"),
        ("llm", "qk_norm", False),
        ("llm", "hidden_act", "gelu"),
        ("llm", "rope_scaling", {"type": "yarn"}),
        ("llm", "use_sliding_window", True),
        ("llm", "num_attention_heads", 5),
        ("llm", "num_key_value_heads", 3),
        ("llm", "hidden_size", "64"),
        ("llm", "rope_theta", 0),
        ("llm", "vocab_size", 2**40),
        ("vit", "num_attention_heads", 5),
        ("vit", "hidden_act", "gelu"),
        ("vit", "image_size", 140),
        ("bagel", "connector_act", "relu"),
        ("bagel", "visual_gen", False),
        ("bagel", "interpolate_pos", True),
        ("bagel", "vae_config", {"z_channels": 16}),
        ("bagel", "timestep_shift", True),
    ],
)
def test_what_is_not_a_bagel_is_refused(
    tmp_path: Path, section: str, field: str, value: object
) -> None:
    write_small_files(tmp_path, **{section: {field: value}})
    with pytest.raises(CheckpointError, match=str(tmp_path)) as caught:
        read_config(tmp_path, shapes("bagel"), shapes("vae"))
    assert "; use the files that" in str(caught.value) and "\n" not in str(caught.value)


def test_files_that_are_missing_or_no_json_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"llm_config.json cannot be read"):
        read_config(tmp_path, shapes("bagel"), shapes("vae"))
    write_small_files(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(CheckpointError, match="holds no JSON object"):
        read_config(tmp_path, shapes("bagel"), shapes("vae"))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"encoder.conv_in.weight": ()}, "no tensor encoder.conv_in.weight"),
        ({"encoder.conv_in.weight": (48, 3, 3, 3)}, "48 rows in encoder.conv_in.weight"),
        ({"encoder.down.2.block.0.conv1.weight": (0, 32, 3, 3)}, "0 rows in encoder.down.2"),
    ],
)
def test_an_autoencoder_that_cannot_be_built_is_refused(
    changed: dict[str, tuple[int, ...]], said: str
) -> None:
    with pytest.raises(CheckpointError, match=said):
        autoencoder_config(Path("ae.safetensors"), shapes("vae") | changed)
    with pytest.raises(CheckpointError, match="encoder.conv_in.weight"):
        autoencoder_config(Path("ae.safetensors"), {})
