"""A vision-language model of transformers: it reads texts and pictures, writes, scores and learns texts.

Families whose pictures come from elsewhere are made of it.
"""
