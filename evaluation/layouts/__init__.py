"""Pictures in the folders that the official scorers of benchmarks read: a module a benchmark.

Invariant: a benchmark says which prompts it has and where each one's pictures go, and nothing else. All
that draws, writes and goes on after a kill is common to them (`drawing.py`, `folder.py`).
"""
