"""BAGEL: one mixture of transformers that reads words and pictures and draws by a rectified flow.

Its public layout is that of `ByteDance-Seed/BAGEL-7B-MoT`.
"""
