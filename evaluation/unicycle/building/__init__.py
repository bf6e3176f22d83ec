"""Makes UniCycle's instances by rule: a set of our own that ships, and one from a user's TIIF checkout.

Invariant: instances follow from the files that they are made of and a seed. What no rule can read is
left out and counted, never guessed.
"""
