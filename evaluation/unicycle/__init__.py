"""UniCycle: can the model read back what it was asked to draw? (paper, section 3.4)

Invariant: an instance is a prompt with questions that the prompt alone answers. Its drawing is asked
each question on its own, each answer is judged with the prompt as the ground, and the marks add up to
Soft and Hard. `instances.py` says what an instance is, `building/` makes them, `asking.py` words the
questions, `rules.py` and `judging.py` mark the answers, `scoring.py` and `summary.py` add up.
"""

from __future__ import annotations

from pathlib import Path

OWN = Path(__file__).parent / "data" / "own.jsonl"
"""The set that ships; data/NOTICE says what it is made of."""
