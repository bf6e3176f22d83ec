"""How noise is put on latents to learn, as the pipeline's own scheduler was made for.

Invariant: the target, at every time, is what the pipeline's denoiser predicts there: noise, velocity
or the clean latents of a diffusion (arXiv 2006.11239, 2202.00512), or the velocity of a flow.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from policies import flow
from policies.errors import describe
from policies.external.pipeline import library
from policies.interface import CheckpointError

PREDICTED = ("epsilon", "v_prediction", "sample")


class Schedule:
    """Of the pipeline's `scheduler`, whose file is `where`. Raises CheckpointError."""

    def __init__(self, scheduler: Any, where: Path) -> None:
        config = scheduler.config
        predicted = config.get("prediction_type", "epsilon")
        self.count: int = config.num_train_timesteps
        self.flows = "FlowMatch" in type(scheduler).__name__ or predicted == "flow_prediction"
        if self.flows:
            self.shift = float(config.get("flow_shift") or config.get("shift") or 1.0)
            return
        if predicted not in PREDICTED:
            raise CheckpointError(
                f"{where} has prediction_type={describe(predicted)}: family external learns "
                f"{', '.join(PREDICTED)} and flow_prediction; use another pipeline."
            )
        self.predicted = predicted
        self.noises: Any = library().DDPMScheduler.from_config(config)

    def noised(self, clean: Tensor, random: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Of float32 latents of any shape: what they become at a time by chance, that time as the
        denoiser is told it (float32, a scalar), and what it shall predict."""
        noise = torch.from_numpy(random.standard_normal(clean.shape, dtype=np.float32))
        if self.flows:
            raw = torch.tensor(float(random.standard_normal()))
            time = flow.learning_times(raw, self.shift)
            return flow.noisy(clean, noise, time), time * self.count, flow.target(clean, noise)
        at = torch.tensor([int(random.integers(self.count))])
        noisy = self.noises.add_noise(clean[None], noise[None], at)[0]
        wanted = noise if self.predicted == "epsilon" else clean
        if self.predicted == "v_prediction":
            wanted = self.noises.get_velocity(clean[None], noise[None], at)[0]
        return noisy, at[0].float(), wanted
