"""What families share whose one transformer writes words and draws latents by a rectified flow.

It reads samples of texts and pictures in turn; what these look like in a batch, and what its weights are
called around the transformer, is each family's own.
"""
