"""A Show-o of the tiny world: its sizes, its words, and how it is trained.

Nothing here is needed to use a Show-o.
"""
