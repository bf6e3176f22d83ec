"""Engines that run a policy's transformer in place of its own sampler.

Invariant: an engine is an option. Nothing outside `policies.engines.vllm` imports one, and that is
imported only where a replica of a role that asks for it starts.
"""
