"""The tiny world: what there is to draw and to say, and an oracle that tells if a drawing is right.

Invariant: nothing here knows of any model. `language` speaks and reads prompts, `render` draws
them, `questions` asks about them, `oracle` reads drawings; the other files serve these four.
"""
