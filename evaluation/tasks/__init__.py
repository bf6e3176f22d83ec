"""Evaluations that a command runs: one YAML file a task in this folder, and what carries them out.

Invariant: a task's result follows from its file, the weights, the inference setting and the judge, and
never from what was killed on the way or from the number of replicas.
"""
