"""What vLLM says of itself in every step, added up until somebody takes it."""

from __future__ import annotations

from typing import Any

from vllm.v1.metrics.loggers import StatLoggerBase

from policies.engines.backbone import Figures


class FigureLogger(StatLoggerBase):
    """Made by vLLM, one for its engine; `take` empties it."""

    def __init__(self, vllm_config: Any, engine_index: int = 0) -> None:
        self._found = Figures()

    def log_engine_initialized(self) -> None:
        pass

    def record(
        self, scheduler_stats: Any, iteration_stats: Any, mm_cache_stats: Any = None,
        engine_idx: int = 0,
    ) -> None:  # fmt: skip
        own = self._found
        if scheduler_stats is not None:
            own.waiting = max(own.waiting, scheduler_stats.num_waiting_reqs)
            own.running = max(own.running, scheduler_stats.num_running_reqs)
            own.cache_use = max(own.cache_use, scheduler_stats.kv_cache_usage)
            own.prefix_asked += scheduler_stats.prefix_cache_stats.queries
            own.prefix_found += scheduler_stats.prefix_cache_stats.hits
        if iteration_stats is not None:
            own.read += iteration_stats.num_prompt_tokens
            own.written += iteration_stats.num_generation_tokens

    def take(self) -> Figures:
        """What came since it was taken last."""
        found, self._found = self._found, Figures()
        return found
