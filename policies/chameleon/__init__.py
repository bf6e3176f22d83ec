"""Chameleon and Anole: transformers' classes, by our own sampling, and the image decoder that they lack.

Invariant: only the modules of this package import transformers.
"""
