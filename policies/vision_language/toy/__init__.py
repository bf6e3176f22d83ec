"""A vision-language model of the tiny world in LLaVA's layout: its sizes, its words, and how it is trained.

Nothing here is needed to use one.
"""
