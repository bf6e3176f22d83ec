"""Show-o (arXiv 2408.12528): one transformer that writes token by token and draws by unmasking.

A drawing is a grid of discrete tokens that begin masked and are filled in over a few steps, the
surest first, each step seeing all of the picture.
"""
