"""Which engine may play which role of which family: those that a test holds to the family's own
answers.

Invariant: a pairing stands here only with a test that compares the engine with the family's own
sampler, and the test is named; another test looks that it is there.
"""

from __future__ import annotations

PARITY = "tests/policies/engines/test_parity.py"
JANUS = "tests/policies/engines/test_janus_parity.py"

ADMITTED: dict[tuple[str, str, str], str] = {
    ("vllm", "tiny", "proposer"): f"{PARITY}::test_texts_are_the_same",
    ("vllm", "tiny", "solver"): f"{PARITY}::test_pictures_are_the_same",
    ("vllm", "tiny", "judge"): f"{PARITY}::test_judgements_are_the_same",
    ("vllm", "janus", "proposer"): f"{JANUS}::test_proposals_are_the_same",
    ("vllm", "janus", "judge"): f"{JANUS}::test_judgements_are_the_same",
}
"""The test of each (engine, family, role)."""
