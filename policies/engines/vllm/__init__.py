"""The only modules that import vLLM, whose environment is settled before they do.

Invariant: the engine runs in the process that made it, with the threads that this one has, and tells
nobody of it.
"""

import os

os.environ |= {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    # Only the first runner of models takes logits processors.
    "VLLM_USE_V2_MODEL_RUNNER": "0",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOG_STATS_INTERVAL": "3600",
    "HF_HUB_OFFLINE": "1",
}
os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
