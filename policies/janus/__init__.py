"""Janus and Janus-Pro: transformers' classes, by our own sampling.

Invariant: only the modules of this package import transformers.
"""
