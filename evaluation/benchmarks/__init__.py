"""The benchmarks of the field: what each asks, and how its answers are scored by its own rules."""
