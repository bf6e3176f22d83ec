"""Every metric that a run exports to Prometheus, by the kind of process that exports it.

Invariant: a name is written here and nowhere else in the program. Ray puts `ray_` before it and
`_total` behind a counter's; every series has the tag `run`. What they look like on a dashboard is
in cluster/grafana.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """`tags` come after `run`. `buckets` are a histogram's upper bounds."""

    kind: Literal["counter", "gauge", "histogram"]
    name: str
    help: str
    tags: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def exported(self) -> str:
        """The name that Prometheus knows it by; a histogram's is followed by _bucket and others."""
        return f"ray_unicorn_{self.name}" + ("_total" if self.kind == "counter" else "")


# Replicas of any role, and the first training worker as role "trainer". A stage is the kind of
# request (actors/roles/requests.py), or the trainer's step or publish.
TASKS = Metric("counter", "tasks", "Tasks that were finished.", ("role", "stage"))
BUSY = Metric("counter", "busy_seconds", "Seconds spent on tasks.", ("role", "stage"))
TOKENS = Metric(
    "counter", "tokens", "Tokens that passed forward through the model.", ("role", "stage")
)
IMAGES = Metric("counter", "images", "Drawings that were made.", ("role", "stage"))
UNPARSABLE = Metric(
    "counter", "unparsable", "Answers that no attempt made readable.", ("role", "stage")
)
REPLICA_VERSION = Metric(
    "gauge", "replica_version", "Weight version of the replica's last task.", ("role",)
)

# Replicas with an engine.
ENGINE_TOKENS = Metric(
    "counter", "engine_tokens", "Tokens that engines read and wrote.", ("role", "kind")
)
ENGINE_PREFIX = Metric(
    "counter", "engine_prefix_tokens",
    "Tokens of contexts that engines looked for among what was read before, and found.",
    ("role", "kind"),
)  # fmt: skip
ENGINE_REQUESTS = Metric(
    "gauge", "engine_requests", "Most requests of the last task that waited, and ran, at once.",
    ("role", "kind"),
)  # fmt: skip
ENGINE_CACHE = Metric(
    "gauge", "engine_cache_use", "Most of the cache that the last task took, 0 to 1.", ("role",)
)

# The driver, of its pools.
WANTED = Metric("gauge", "replicas_wanted", "Replicas that the pool wants to have.", ("role",))
RUNNING = Metric("gauge", "replicas_running", "Replicas that can take a task.", ("role",))
LOST = Metric("gauge", "replicas_lost", "Replicas lost since the driver started.", ("role",))
WAITING = Metric("gauge", "tasks_waiting", "Tasks that wait for a free replica.", ("role",))
IN_FLIGHT = Metric("gauge", "tasks_in_flight", "Tasks that replicas hold.", ("role",))

# The driver, of the run.
ROUND = Metric("gauge", "round", "The round that is being sampled.")
DISK_FREE = Metric("gauge", "disk_free_bytes", "Free bytes on the disk of the run folder.")
PAUSED = Metric("gauge", "paused", "1 while the run waits for a disk that takes no writes.")
SCORE = Metric(
    "gauge", "score", "The newest value of each score in metrics.jsonl.", ("score", "category")
)

# The replay buffer.
GROUPS = Metric("counter", "groups", "Groups stored, by the reason for rejection, or accepted.",
                ("category", "reason"))  # fmt: skip
JUDGE_SCORE = Metric("histogram", "judge_score", "The Judge's scores of the stored drawings.",
                     ("category",), tuple(map(float, range(1, 11))))  # fmt: skip
FILTERED = Metric("counter", "filtered", "Stored drawings that a filter left out.", ("filter",))
REPLAY_GROUPS = Metric("gauge", "replay_groups", "Groups in the replay log.")
REPLAY_BYTES = Metric("gauge", "replay_bytes", "Size of the replay log in bytes.")
REPLAY_LAG = Metric("gauge", "replay_lag_groups", "Groups that training has not read yet.")

# The first training worker.
LOSS = Metric("gauge", "train_loss", "Mean loss of the last step in nats per token.", ("pattern",))
GRAD_NORM = Metric("gauge", "train_grad_norm", "Norm of the last gradient before clipping.")
STEP = Metric("gauge", "train_step", "Optimizer steps taken so far.")
DIVERGED = Metric("counter", "diverged", "Steps given up because the gradient was not finite.")
VERSION = Metric("gauge", "weight_version", "The newest published weight version.")
PUBLISHED_AT = Metric(
    "gauge", "weight_published_at", "Unix time in seconds when the newest version was published."
)
PUBLISH_SECONDS = Metric(
    "gauge", "weight_publish_seconds", "Seconds that publishing the newest version took."
)

ALL = tuple(each for each in globals().values() if isinstance(each, Metric))
