"""Who judges answers: exact rules, the model itself, or a model behind an OpenAI-compatible server.

Invariant: a judge measures and teaches nothing. Its name, its version and the hash of what it is asked
stand with every score; what it replied is kept by content before it counts, so that the same question
is never paid for twice.
"""
