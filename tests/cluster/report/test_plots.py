"""The curves of a report: some are always there, others where a recipe asked for what they show."""

from __future__ import annotations

from cluster.report.view import plots


def test_what_a_recipe_did_not_ask_for_has_no_curve() -> None:
    titles = [plot.title for plot in plots([], [(1, {"audit/accepted": 50.0})])]
    assert "Yield" in titles
    assert not {"Where the Judge is trusted", "Prompts that were kept aside"} & set(titles)


def test_trust_is_shown_by_category_and_steps_back_by_their_scores() -> None:
    audited = [
        (2, {"trust/j/counting": 91.0, "step_back/score": 6.5}),
        (3, {"trust/j/counting": 88.0, "trust/j/text rendering": 40.0, "step_back/score": 6.7}),
    ]
    trust, aside = plots([], audited)[-2:]
    assert trust.title == "Where the Judge is trusted"
    assert trust.names == ("counting", "text rendering")
    assert aside.title == "Prompts that were kept aside" and "6.7" in aside.chart
