"""Show-o2 (arXiv 2506.15564): one transformer for words and for the latents of Wan2.1's autoencoder, and
a head of more layers after it that draws by a flow. Without that head and without semantic layers the
same is Transfusion (arXiv 2408.11039), which has no public weights.
"""
