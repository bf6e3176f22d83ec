"""The folder of a Janus: read by transformers as by us, and refused when anything is wrong."""

from __future__ import annotations

import errno
import json
import resource
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import AddedToken, Tokenizer
from transformers import AutoTokenizer, JanusForConditionalGeneration

from policies import saving
from policies.interface import CheckpointError
from policies.janus.checkpoint import load, save
from policies.janus.tokens import OPTIONAL, REQUIRED
from tests.policies.janus import golden, same, tiny_folder

CONFIG, MODEL, TOKENIZER = "config.json", "model.safetensors", "tokenizer.json"
INDEX = "model.safetensors.index.json"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_folder(tmp_path / "tiny")


def test_saved_and_loaded_is_the_same(folder: Path, tmp_path: Path) -> None:
    first = load(folder)
    save(tmp_path / "two", first)
    second = load(tmp_path / "two")
    assert first.special == second.special and first.extras == second.extras
    same(first.net, second.net)
    for file in sorted(folder.iterdir()):
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes(), file.name


def test_golden_net_computes_the_golden_features() -> None:
    net, tensors = golden()
    with torch.no_grad():
        features = net.model.get_image_features(tensors["pixel_values"]).pooler_output
    assert torch.allclose(features, tensors["out_image_features"], atol=1e-5)


def test_transformers_computes_the_same_logits(folder: Path) -> None:
    net, ids = load(folder).net, torch.arange(60).view(2, 30)
    theirs = JanusForConditionalGeneration.from_pretrained(folder)
    same(net, theirs)
    assert not net.training
    with torch.no_grad():
        assert torch.equal(theirs(ids).logits, net(ids).logits)


def test_buffers_are_those_of_a_net_that_was_built_in_memory(folder: Path) -> None:
    net = load(folder).net
    built = JanusForConditionalGeneration(net.config)
    wanted, found = dict(built.named_buffers()), dict(net.named_buffers())
    assert wanted.keys() == found.keys() and "position_ids" in str(list(wanted))
    for name, buffer in wanted.items():
        assert buffer.dtype == found[name].dtype and torch.equal(buffer, found[name]), name
    assert {tensor.device.type for tensor in net.state_dict().values()} == {"cpu"}


@pytest.mark.parametrize("dtype", (torch.float32, torch.bfloat16, torch.float16))
def test_weights_become_the_dtype_that_is_asked_for(
    folder: Path, tmp_path: Path, dtype: torch.dtype
) -> None:
    whole = load_file(folder / MODEL)
    half = load(folder, dtype)
    for name, tensor in half.net.state_dict().items():
        assert torch.equal(tensor, whole[name].to(dtype)), name
    save(tmp_path / "half", half)
    assert json.loads((tmp_path / "half" / CONFIG).read_text())["dtype"] == str(dtype)[6:]
    again = load(tmp_path / "half").net
    assert again.dtype == torch.float32
    for name, tensor in again.state_dict().items():
        assert torch.equal(tensor, whole[name].to(dtype).float()), name


def test_weights_are_no_part_of_their_file(folder: Path) -> None:
    net = load(folder).net
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    data = (folder / MODEL).read_bytes()
    (folder / MODEL).write_bytes(bytes(len(data)))
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def sharded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> JanusForConditionalGeneration:
    """The folder is saved into itself, in several files."""
    loaded = load(folder)
    monkeypatch.setattr(saving, "SHARD", "1MB")
    save(folder, loaded)
    return loaded.net


def test_shards_are_the_same_and_replaced(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = sharded(folder, monkeypatch)
    assert not (folder / MODEL).exists() and len(list(folder.glob("*.safetensors"))) > 2
    same(net, load(folder).net)
    same(net, JanusForConditionalGeneration.from_pretrained(folder))
    monkeypatch.setattr(saving, "SHARD", "5GB")
    save(folder, load(folder))
    assert [file.name for file in folder.glob("*.safetensors")] == [MODEL]
    same(net, load(folder).net)


def test_what_the_system_says_is_told_as_it_says_it(folder: Path, tmp_path: Path) -> None:
    loaded, before = load(folder), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, before[1]))
    try:
        with pytest.raises(OSError) as caught:
            save(tmp_path / "two", loaded)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(tmp_path / "two"))
    assert not (tmp_path / "two" / CONFIG).exists()
    with pytest.raises(CheckpointError, match="is missing"):
        load(tmp_path / "two")


MARKS = (*REQUIRED.values(), *OPTIONAL.values())


def test_a_text_is_only_ever_text(folder: Path) -> None:
    loaded = load(folder)
    marks = set(vars(loaded.special).values())
    for text in (*MARKS, "<image_placeholder", f"a{''.join(MARKS)}\n b", "schön 🦄 你好\0"):
        ids = loaded.tokenizer.encode(text, add_special_tokens=False).ids
        assert marks.isdisjoint(ids) and loaded.tokenizer.decode(ids) == text
    ids = loaded.tokenizer.encode("ab").ids
    assert loaded.tokenizer.decode([loaded.special.bos, *ids, loaded.special.eos]) == "ab"


def test_special_tokens_are_transformers(folder: Path) -> None:
    special, theirs = load(folder).special, AutoTokenizer.from_pretrained(folder)
    assert [getattr(special, field) for field in REQUIRED] == [
        theirs.convert_tokens_to_ids(name) for name in REQUIRED.values()
    ]
    assert (special.user, special.assistant) == tuple(
        theirs.convert_tokens_to_ids(name) for name in OPTIONAL.values()
    )


def test_tokens_of_single_letters_are_letters(folder: Path) -> None:
    """DeepSeek's has 13; the library takes them for bytes when it decodes."""
    data = (folder / TOKENIZER).read_text().replace('"ö"', '"no byte"')  # as in DeepSeek's
    made = Tokenizer.from_str(data)
    made.add_tokens([AddedToken("ö", normalized=True)])
    made.save(str(folder / TOKENIZER))
    read = load(folder).tokenizer
    assert made.decode(made.encode("schön").ids) != "schön"  # when this fails, nobody needs ours
    ids = read.encode("schön").ids
    assert ids == made.encode("schön").ids and read.token_to_id("ö") in ids
    assert read.decode(ids) == "schön"


@pytest.mark.parametrize(
    ("field", "settings"),
    [
        ("truncation", {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}),
        ("padding", {"strategy": {"Fixed": 20}, "direction": "Left", "pad_to_multiple_of": None,
                     "pad_id": 0, "pad_type_id": 0, "pad_token": "!"}),
    ],
)  # fmt: skip
def test_no_text_is_cut_or_padded(folder: Path, field: str, settings: dict[str, object]) -> None:
    plain = load(folder).tokenizer.encode("a red circle").ids
    described = json.loads((folder / TOKENIZER).read_text())
    (folder / TOKENIZER).write_text(json.dumps(described | {field: settings}))
    assert load(folder).tokenizer.encode("a red circle").ids == plain
    theirs = AutoTokenizer.from_pretrained(folder)
    assert theirs("a red circle").input_ids == plain


def test_speakers_may_be_missing(folder: Path) -> None:
    described = json.loads((folder / TOKENIZER).read_text())
    kept = [token for token in described["added_tokens"] if token["content"] in REQUIRED.values()]
    (folder / TOKENIZER).write_text(json.dumps(described | {"added_tokens": kept}))
    special = load(folder).special
    assert special.user is special.assistant is None
