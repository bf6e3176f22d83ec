"""The instructions: what ships is complete, and what is wrong in a file is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from actors.category_shares import CategoryShares
from actors.roles.template_files import FIELDS
from actors.roles.templates import DATA, load_templates
from policies.config import ConfigError, PolicyConfig
from policies.interface import Picture
from policies.registry import load_policy
from policies.tiny.world.language import CATEGORIES

PICTURE = Picture(np.zeros((8, 8, 3), np.uint8))
TINY = DATA / "templates" / "tiny.yaml"


def written(tmp_path: Path, **changes: object) -> str:
    """tiny.yaml with other entries, None to leave one out."""
    data = {**yaml.safe_load(TINY.read_text()), **changes}
    file = tmp_path / "own.yaml"
    file.write_text(yaml.safe_dump({k: v for k, v in data.items() if v is not None}))
    return str(file)


def test_the_tiny_instructions_are_those_of_the_tiny_language() -> None:
    tiny = load_templates("tiny")
    asked = "propose counting , one kind"
    assert tiny.propose("counting", "one kind", []) == (asked,)
    shown = ["two red circles", "one star"]
    assert tiny.propose("counting", "one kind", shown) == (
        f"{asked} . like two red circles . one star",
    )
    assert tiny.rate("a red circle") == ("rate", "a red circle")
    assert tiny.judge("counting", "a red circle", PICTURE) == ("judge", "a red circle", PICTURE)
    assert tiny.caption(PICTURE) == (PICTURE, "describe")
    assert tiny.answer(PICTURE, "what color ?") == (PICTURE, "answer", "what color ?")
    assert tiny.draw("a red circle") == ("a red circle",)
    assert tiny.reflection("a red circle", PICTURE, "{}") == ("a red circle", PICTURE, "{}")


def test_the_tiny_world_has_the_categories_and_subcategories_of_the_templates() -> None:
    categories = load_templates("tiny").categories
    assert {name: of.subcategories for name, of in categories.items()} == CATEGORIES
    assert list(categories) == list(CATEGORIES) == list(load_templates("json").categories)


def test_every_category_is_described() -> None:
    for name, of in load_templates("json").categories.items():
        assert len(of.rule) > 100, name
        assert len(of.rubric) >= 3 and len(of.standard) >= 4 and len(of.subcategories) >= 2, name
        bands = [band.split(":")[0].split("-") for band in of.standard]
        spanned = [n for band in reversed(bands) for n in range(int(band[0]), int(band[-1]) + 1)]
        assert spanned == list(range(11)), name


def test_the_real_instructions_say_what_the_paper_says() -> None:
    real = load_templates("json")
    proposing = "\n".join(map(str, real.propose("portrait", "close-up", ["a $5 note {x}"])))
    for part in (real.categories["portrait"].rule, '"major_category": "portrait"', "exactly one",
                 "close-up", "\n- a $5 note {x}"):  # fmt: skip
        assert part in proposing
    judging = real.judge("portrait", "a face", PICTURE)
    assert judging[-1] is PICTURE and '{"analysis": "...", "score":' in str(judging[0])
    assert "1. The framing" in str(judging[0]) and "10: framing" in str(judging[0])
    assert "Category: portrait\nPrompt: a face\n" in str(judging[0])
    assert real.caption(PICTURE, variant=1)[1] == "Describe this picture."
    assert real.variants("caption") > 1 and real.variants("judge") > 1
    for name in FIELDS:
        assert real.variants(name) >= 1


def test_topics_take_turns_through_categories_and_then_subcategories() -> None:
    tiny = load_templates("tiny")
    topics = tiny.topics(100, CategoryShares())
    assert [topic.category for topic in topics[:10]] == list(CATEGORIES)
    assert [topic.subcategory for topic in topics[0:100:10]][:4] == [
        "single", "multiple", "texture", "single"
    ]  # fmt: skip
    assert topics[42].number == 42


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"judge": [["judge", "$promt", "$picture"]]}, r"judge: there is no field \$promt.*nearest is \$prompt"),
        ({"judge": [["judge", "$picture"]]}, r"judge: the field \$prompt is missing"),
        ({"propose": [["$category , $subcategory"]]}, r"the field \$demonstrations is missing"),
        ({"caption": [["see $picture"]]}, r"\$picture must stand alone"),
        ({"draw": [["5$ $prompt"]]}, r"a lone \$ .* must be written \$\$"),
        ({"rate": None}, "instructions must be exactly .*look at rate"),
        ({"ratee": [["$prompt"]]}, "look at ratee"),
        ({"rate": []}, "rate must be a list of variants"),
        ({"rate": ["rate $prompt"]}, "rate is 'rate \\$prompt': it must be a list of one or more texts"),
        ({"rate": [["rate", 3, "$prompt"]]}, "must be a list of one or more texts"),
        ({"demonstrations": None}, 'must have the texts "before" and "between"'),
        ({"repair": [["$prompt"]]}, r"repair: the field \$picture is missing"),
        ({"persona": "as "}, "persona must be the text before a persona, and every variant of propose"),
        ({"propose": [["$category $subcategory $demonstrations $persona"]]}, "give both, or neither"),
        ({"replies": {"others": "{}"}}, r"every variant of judge must say \$reply; give both"),
        ({"judge": [["$prompt $reply", "$picture"], ["$prompt", "$picture"]]}, "replies must be a mapping"),
        ({"judge": [["$prompt $reply", "$picture"]], "replies": {"others": '{"score": 1}'}},
         "replies: others is .* with the keys analysis, score, or target_quantity"),
        ({"judge": [["$prompt $reply", "$picture"]],
          "replies": dict.fromkeys(("others", "conting"), '{"analysis": "", "score": 1}')},
         "replies must be exactly .*look at conting"),
        ({"subcategories": {"counting": ["one"]}}, "subcategories must be exactly"),
        ({"subcategories": 3}, "subcategories must be exactly"),
        ({"subcategories": {**{key: ["one"] for key in CATEGORIES}, "counting": []}},
         "subcategories of counting is"),
    ],
)  # fmt: skip
def test_a_wrong_template_file_is_refused_by_name(
    tmp_path: Path, changes: dict[str, object], told: str
) -> None:
    with pytest.raises(ConfigError, match=told) as error:
        load_templates(written(tmp_path, **changes))
    assert "own.yaml" in str(error.value)


def test_an_own_file_works_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    own = load_templates(written(tmp_path, draw=[["cost $$5 : $prompt"]]))
    assert own.draw("a $prompt") == ("cost $5 : a $prompt",)
    for text in ("a: [", "- a list"):
        (tmp_path / "bad.yaml").write_text(text)
        with pytest.raises(ConfigError, match="bad.yaml is"):
            load_templates(str(tmp_path / "bad.yaml"))


@pytest.mark.parametrize(
    "data",
    [b"\xff", b"a: [" * 3000, b"a: !!timestamp noon", b'a: "\\UFFFFFFFF"', b"a: !!bool maybe"],
    ids=lambda data: data[:20].decode(errors="replace"),
)
def test_a_file_that_yaml_chokes_on_is_named(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "own.yaml"
    file.write_bytes(data)
    with pytest.raises(ConfigError, match=r"own\.yaml is not YAML: .") as error:
        load_templates(str(file))
    assert "\n" not in str(error.value)


def test_unknown_names_say_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"actors.templates is 'jsn': .* json, tiny .*'json'"):
        load_templates("jsn")
    with pytest.raises(ConfigError, match=r"'countin' has no rules; .* counting"):
        load_templates("tiny").propose("countin", "one kind", [])
    with pytest.raises(ConfigError, match=r"policy.family is 'tinny': .* nearest is 'tiny'"):
        load_policy(PolicyConfig(family="tinny"))


def test_a_file_from_before_there_was_a_repair_can_be_used(tmp_path: Path) -> None:
    own = load_templates(written(tmp_path, repair=None))
    assert own.variants("repair") == 0 and own.variants("reflection") == 1
    assert not own.takes_personas and not own.counts("counting")


def test_counting_has_a_scale_and_an_answer_of_its_own() -> None:
    real = load_templates("json")
    bands = [band.split(":")[0] for band in real.categories["counting"].standard]
    assert bands == ["10", "8-9", "5-7", "3-4", "0-2"]
    assert [name for name in real.categories if real.counts(name)] == ["counting"]
    for variant in range(real.variants("judge")):
        counting, other = (
            str(real.judge(name, "a", PICTURE, variant)) for name in ("counting", "portrait")
        )
        assert '"target_quantity"' in counting and '"target_quantity"' not in other
        assert '"analysis": "...", "score":' in counting and '"analysis": "..."' in other


def test_nine_rubrics_judge_ten_categories() -> None:
    of = load_templates("json").categories
    assert len({(each.rubric, each.standard) for each in of.values()}) == 9
    assert of["general object"].rubric == of["object relations"].rubric
    assert of["general object"].standard == of["object relations"].standard


def test_a_picture_can_come_first_and_the_texts_keep_their_order() -> None:
    tiny = load_templates("tiny")
    assert tiny.judge("counting", "a red circle", PICTURE, picture_first=True) == (
        PICTURE, "judge", "a red circle"
    )  # fmt: skip


def test_a_persona_stands_in_the_instruction_and_none_leaves_no_trace() -> None:
    real = load_templates("json")
    plain = real.propose("counting", "one kind", [])
    played = real.propose("counting", "one kind", [], "a $5 baker")
    assert "a $5 baker\nCategory" in str(played[0]) and plain[1:] == played[1:]
    assert "write its prompts.\nCategory: counting" in str(plain[0])
