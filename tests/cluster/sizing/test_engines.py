"""An engine that is too small for its role is refused before anything starts."""

from __future__ import annotations

import pytest

from cluster.sizing import engines, memory
from policies.config import ConfigError, changed
from policies.registry import footprint
from trainer.config import RunConfig

SIZE = footprint(RunConfig().policy)


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if an engine was: what is looked at here comes after that."""
    monkeypatch.setattr(engines, "require_engine", lambda *_: None)


def config(role: str, guidance: float = 1.0, **engine: int) -> RunConfig:
    run = RunConfig()
    run = changed(run, solver=changed(run.solver, guidance=(guidance,)))
    own = changed(getattr(run, role), engine="vllm")
    return changed(run, engine=changed(run.engine, **engine), **{role: own})


def refusal(run: RunConfig) -> str:
    with pytest.raises(ConfigError) as caught:
        engines.check_engines(run, SIZE)
    return str(caught.value)


@pytest.mark.parametrize("role", ["proposer", "solver", "judge"])
def test_a_length_under_the_longest_answer_is_refused(role: str) -> None:
    longest = engines.LONGEST[role](RunConfig(), SIZE)
    message = refusal(config(role, max_length=longest - 1))
    assert message == (
        f"engine.max_length is {longest - 1}: the {role}'s longest instruction and its answer take "
        f"up to {longest} tokens; set it to {longest} or more, or to 0 for as many as the model holds"
    )
    engines.check_engines(config(role, max_length=longest), SIZE)


def test_a_cache_that_holds_no_answer_is_refused() -> None:
    assert SIZE.cache_bytes == 3072
    engines.check_engines(config("judge", cache_mib=1), SIZE)
    run = config("judge", cache_mib=1)
    run = changed(run, judge=changed(run.judge, max_tokens=400))
    message = refusal(run)
    assert message.startswith("engine.cache_mib is 1: one answer of the judge takes up to ")
    assert "set it to 2 or more, or judge.engine to own" in message


def test_a_guided_drawing_needs_room_for_both_of_its_rows() -> None:
    run = config("solver", cache_mib=1, guidance=3.0)
    run = changed(run, proposer=changed(run.proposer, max_tokens=120))
    assert "in 2 rows; set it to 2 or more" in refusal(run)
    engines.check_engines(changed(run, solver=changed(run.solver, guidance=(1.0,))), SIZE)


def test_memory_counts_the_engine() -> None:
    run = config("judge", cache_mib=300)
    expected = 2 * 4 * SIZE.parameters + 300 * memory.MIB + SIZE.workspace_bytes
    assert memory.judge(run, SIZE) == expected + memory.ENGINE_BYTES
