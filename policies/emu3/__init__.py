"""Emu3: one vocabulary of words and codes, next token only, on transformers' classes.

Invariant: only the modules of this package import transformers, and the image tokenizer never leaves
eval mode: its batch norms would change the codes of a picture.
"""
