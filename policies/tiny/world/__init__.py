"""The tiny world: a small language, drawings of it, and an oracle that says if a drawing is right.

Invariant: nothing here knows of any model. `language` samples and parses prompts, `render` draws
them, `questions` asks about them, `oracle` reads drawings; the other files serve these four.
"""
