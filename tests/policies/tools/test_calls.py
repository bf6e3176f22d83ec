"""What is a call, and what is none: the parser, the automaton, and the words that a tokenizer has for it."""

from __future__ import annotations

import json
from functools import cache

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from policies.config import ConfigError
from policies.tools.calls import MOST_CHARACTERS, MOST_SEED, MOST_TEXT, Call, CallError, parse
from policies.tools.grammar import DEAD, FAR, Automaton, grammar
from policies.tools.tokens import CallGuide, Rules, Vocabulary
from tests.mutations import BYTE_CHANGES, SHARE, bounded, change_json_text, mutants
from tests.policies.vision_language.small import sentence_piece, tokenizer

NAMES, SIDES = ("draw", "paint", "drawer"), (256, 512, 1024)
GOOD = tuple(
    call.text().encode()
    for call in (
        Call("draw", "a red circle"),
        Call("paint", 'two cats, "so" to say \\ ö→猫 🦄', 7, (256, 1024)),
        Call("drawer", "x", 0),
        Call("draw", " a ", MOST_SEED, (512, 512)),
    )
)


@cache
def automaton() -> Automaton:
    return grammar(NAMES, SIDES)


def taken(text: bytes) -> bool:
    return automaton().run(text) == automaton().final


def test_a_call_is_read_as_it_was_written() -> None:
    for text in GOOD:
        assert parse(text.decode(), NAMES, SIDES).text().encode() == text
        assert taken(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is not JSON"), ("a red circle", "is not JSON"), ("[]", "is no JSON object"),
        ('{"tool": "draw"}', "prompt is None"), ('{"prompt": "x"}', "tool is None"),
        ('{"tool": "rm", "prompt": "x"}', "tool is 'rm': it must be one of draw, paint, drawer"),
        ('{"tool": ["draw"], "prompt": "x"}', r"tool is \['draw'\]"),
        ('{"tool": {"tool": "draw"}, "prompt": "x"}', "tool is {'tool': 'draw'}"),
        ('{"tool": "draw", "prompt": "  "}', "prompt is '  '"),
        ('{"tool": "draw", "prompt": "a\\u0000b"}', "of characters alone"),
        ('{"tool": "draw", "prompt": "\\ud800"}', "of characters alone"),
        ('{"tool": "draw", "prompt": "x", "seed": true}', "seed is True"),
        ('{"tool": "draw", "prompt": "x", "seed": 1.0}', "seed is 1.0"),
        ('{"tool": "draw", "prompt": "x", "seed": -1}', "seed is -1"),
        ('{"tool": "draw", "prompt": "x", "seed": NaN}', "NaN, which is no number"),
        ('{"tool": "draw", "prompt": "x", "seed": ' + "9" * 5000 + "}", "is not JSON"),
        ('{"tool": "draw", "prompt": "x", "size": [256]}', r"size is \[256\]: it must be two of"),
        ('{"tool": "draw", "prompt": "x", "size": [256, 257]}', r"size is \[256, 257\]"),
        ('{"tool": "draw", "prompt": "x", "size": "256x256"}', "size is '256x256'"),
        ('{"tool": "draw", "prompt": "x", "system": "rm"}', "A call has 'system'"),
        ('{"tool": "draw", "tool": "paint", "prompt": "x"}', "a key twice"),
        ('{"tool": "draw", "prompt": "x"}{"tool": "draw", "prompt": "x"}', "is not JSON"),
        ('{"tool": "draw", "prompt": "' + "x" * 4001 + '"}', "has 4001 characters"),
        ("[" * 20_000, "is not JSON"), (" " * (MOST_TEXT + 1), "is too long"),
    ],
)  # fmt: skip
def test_what_is_no_call_is_refused_in_one_sentence(text: str, said: str) -> None:
    with pytest.raises(CallError, match=said) as error:
        parse(text, NAMES, SIDES)
    message = str(error.value)
    message.encode()
    assert "\n" not in message and 20 < len(message) < 1000


def test_mutated_calls_are_calls_or_refused() -> None:
    """And whatever the automaton takes is a call, unless its prompt is too long."""
    changes = (*BYTE_CHANGES, change_json_text)
    calls = refused = 0
    for name, _, mutant in mutants(81, round(10_000 / SHARE), GOOD, changes):
        text = mutant.decode(errors="surrogateescape")
        with bounded(name):
            try:
                call = parse(text, NAMES, SIDES)
            except CallError as error:
                said = str(error)
                assert "\n" not in said and 20 < len(said) < 1000, name
                assert not taken(mutant) or len(text) > MOST_CHARACTERS, name
                refused += 1
            else:
                assert call.tool in NAMES and call.prompt.strip(" "), name
                assert parse(call.text(), NAMES, SIDES) == call, name
                calls += 1
    assert calls + refused == 10_000 and min(calls, refused) > 400


def test_every_state_can_be_ended_and_random_ways_through_are_calls() -> None:
    made, chance = automaton(), np.random.default_rng(5)
    assert (made.distance[1:] < FAR).all() and made.distance[DEAD] == FAR
    shortest = min((Call(name, "x").text() for name in NAMES), key=len)
    assert made.distance[made.start] == len(shortest)
    for _ in range(500):
        state, text = made.start, bytearray()
        while state != made.final:
            bytes_ = np.flatnonzero(made.table[state])
            if len(text) > 200:  # the shortest way out
                bytes_ = bytes_[made.distance[made.table[state, bytes_]] < made.distance[state]]
            byte = int(chance.choice(bytes_))
            text.append(byte)
            state = int(made.table[state, byte])
        call = parse(text.decode(), NAMES, SIDES)
        assert call.size is None or set(call.size) <= set(SIDES)


def test_texts_that_look_like_calls_in_a_prompt_stay_inside_it() -> None:
    inner = Call("paint", "y").text()
    call = Call("draw", inner)
    assert taken(call.text().encode()) and parse(call.text(), NAMES, SIDES) == call
    assert not taken(f'{{"tool": "draw", "prompt": "{inner}"}}'.encode())


def test_without_sides_a_call_has_no_size() -> None:
    made = grammar(("draw",), ())
    text = Call("draw", "x", 1, (256, 256)).text()
    assert (
        made.run(text.encode()) == DEAD
        and made.run(Call("draw", "x", 1).text().encode()) == made.final
    )
    with pytest.raises(CallError, match="size is .*: it must be left out"):
        parse(text, ("draw",), ())


# Words


def pieces() -> Tokenizer:
    """Words of several bytes: of structure, across it, parts of characters, and spaces."""
    made = json.loads(tokenizer().to_str())
    vocabulary = made["model"]["vocab"]
    shift = {id_: id_ + 100 for id_ in range(256, 400)}
    for token in made["added_tokens"]:
        token["id"] = shift[token["id"]]
    spell = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    words = [
        spell.pre_tokenize_str(w)[0][0]
        for w in ('{"', '{"tool', 'x"}', '", "', 'aw", "p', "  ", "ö→")
    ]
    words += [spell.pre_tokenize_str("猫")[0][0][:2], spell.pre_tokenize_str("猫")[0][0][1:]]
    for word in words:
        vocabulary[word] = len(vocabulary)
    return Tokenizer.from_str(json.dumps(made))


@pytest.mark.parametrize("make", [tokenizer, pieces, sentence_piece])
def test_the_bytes_of_words_are_those_of_the_texts_that_they_write(make: object) -> None:
    assert callable(make)
    made = make()
    vocabulary = Vocabulary(made, made.get_vocab_size() + 3)
    for text in ("plain", 'ö→猫 🦄 "\\', "a  b", *(each.decode() for each in GOOD)):
        ids = made.encode(text, add_special_tokens=False).ids
        assert (
            vocabulary.spelt(ids).decode().removeprefix(" " if make is sentence_piece else "")
            == text
        )
    if make is not sentence_piece:
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        assert sorted(b for b in vocabulary.bytes if len(b) == 1) == [
            bytes([b]) for b in range(256)
        ]
        assert len(alphabet) == 256
    assert vocabulary.bytes[-3:] == [b""] * 3


@pytest.mark.parametrize("make", [tokenizer, pieces])
def test_words_go_where_their_bytes_go(make: object) -> None:
    assert callable(make)
    made, chance = make(), np.random.default_rng(3)
    vocabulary = Vocabulary(made, made.get_vocab_size())
    for state in chance.integers(1, len(automaton().table), 40):
        after = vocabulary.after(automaton(), int(state))
        for id_, spelt in enumerate(vocabulary.bytes):
            assert after[id_] == (automaton().run(spelt, int(state)) if spelt else DEAD), spelt


@pytest.mark.parametrize("make", [tokenizer, pieces])
@pytest.mark.parametrize("most", [0, 5, 40])
def test_whatever_is_chosen_a_call_is_whole_within_its_limit(make: object, most: int) -> None:
    """Without a model: rows that choose any word that they may."""
    assert callable(make)
    made, chance = make(), np.random.default_rng(most)
    words, end = made.get_vocab_size(), made.token_to_id("<|im_end|>")
    rules = Rules(automaton(), Vocabulary(made, words), end)
    limits = [rules.fewest + most + i % 3 for i in range(60)]
    guide, said = CallGuide(rules, limits, may_end=False), [[] for _ in limits]
    live = np.arange(len(limits))
    while len(live):
        logits = guide.masked(torch.zeros(len(live), words)).numpy()
        chosen = [int(chance.choice(np.flatnonzero(np.isfinite(row)))) for row in logits]
        for row, id_ in zip(live, chosen, strict=True):
            said[row].append(id_)
        guide.advance(torch.tensor(chosen))
        left = np.flatnonzero(np.array(chosen) != end)
        guide.keep(torch.from_numpy(left))
        live = live[left]
    for ids, limit in zip(said, limits, strict=True):
        assert len(ids) <= limit and ids[-1] == end
        parse(rules.vocabulary.spelt(ids[:-1]).decode(), NAMES, SIDES)
        along = rules.along(ids, limit, may_end=False)
        assert along[np.arange(len(ids)), ids].all()
    assert not rules.allowed(rules.automaton.start, 500)[end]
    assert rules.allowed(rules.automaton.start, 500, may_end=True)[end]


def test_a_tokenizer_without_bytes_is_refused() -> None:
    made = Tokenizer(models.WordLevel({"red": 0, "[UNK]": 1}, unk_token="[UNK]"))
    with pytest.raises(ConfigError, match="whose tokens are no bytes"):
        Vocabulary(made, 2)
    short = Tokenizer(models.BPE({"a": 0}, []))
    short.decoder = decoders.ByteLevel()
    with pytest.raises(ConfigError, match="without a token for ' ' alone"):
        Vocabulary(short, 1)
