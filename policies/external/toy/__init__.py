"""A language model with an outside decoder that draws the tiny world: its pipeline, and how it is trained.

Nothing here is needed to use one.
"""
