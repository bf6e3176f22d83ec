"""What models that are trained from nothing share: workers, optimizers, words, and eyes that learn first.

Invariant: workers meet only in the sum of their gradients, so all of them keep the same weights. Nothing
here is needed to use a model.
"""
