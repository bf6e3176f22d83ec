"""The BAGEL that ships as `policies/bagel/base`: its sizes, its words, and how it is trained.

Nothing here is needed to use a BAGEL.
"""
