"""What a round's prompts are about: shares, and turns where they are equal."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.category_shares import CategoryShares
from actors.roles.templates import load_templates
from actors.roles.topics import field_of, topics
from policies.config import ConfigError

TINY = load_templates("tiny")
FIELDS = tuple(CategoryShares.model_fields)
PAPER = CategoryShares(
    general_object=24, object_relations=20, general_knowledge=5, spatio_reasoning=9,
    temporal_reasoning=5, text_rendering=11, natural_science=5, portrait=9, stylization=9, counting=3,
)  # fmt: skip


def counts(number: int, shares: CategoryShares) -> Counter[str]:
    return Counter(field_of(topic.category) for topic in TINY.topics(number, shares))


def test_every_category_has_its_share() -> None:
    assert [field_of(name) for name in TINY.categories] == list(FIELDS)


@pytest.mark.parametrize("number", [100, 400, 5000])
def test_the_paper_s_shares_are_exact_in_every_hundred(number: int) -> None:
    assert counts(number, PAPER) == {
        name: share * number / 100 for name, share in PAPER.items()
    }  # fmt: skip


def test_any_block_of_a_round_has_nearly_the_shares() -> None:
    """So demonstrations can be chosen anew in every category after a block."""
    for number in (10, 37, 80, 320):
        for name, count in counts(number, PAPER).items():
            assert abs(count - PAPER[name] * number / 100) <= 1


@given(
    st.lists(st.sampled_from([0.0, 0.5, 1.0, 3.0, 24.0]), min_size=10, max_size=10).filter(any),
    st.integers(0, 120),
)
def test_more_topics_only_add_to_fewer(weights: list[float], number: int) -> None:
    shares = CategoryShares(**dict(zip(FIELDS, weights, strict=True)))
    made = TINY.topics(number, shares)
    assert made == TINY.topics(number + 7, shares)[:number]
    assert [topic.number for topic in made] == list(range(number))
    assert all(shares[field_of(topic.category)] > 0 for topic in made)


def test_a_category_goes_through_its_subcategories_whatever_its_share() -> None:
    kinds = {name: of.subcategories for name, of in TINY.categories.items()}
    for category, own in kinds.items():
        seen = [t.subcategory for t in topics(kinds, PAPER, 300) if t.category == category]
        assert seen == [own[i % len(own)] for i in range(len(seen))]


def test_shares_of_nothing_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"proposer.category_shares is .* above 0 for one"):
        CategoryShares(**dict.fromkeys(FIELDS, 0.0))
