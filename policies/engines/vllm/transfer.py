"""Gives vLLM new weights in place, by its own interface for that.

Invariant: the arrays that come are those that all replicas of the node map. They are read where
they lie, in this process, and never written to; vLLM keeps a packed copy.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor
from vllm.distributed.weight_transfer.base import (
    WeightTransferEngine,
    WeightTransferInitInfo,
    WeightTransferUpdateInfo,
)
from vllm.distributed.weight_transfer.factory import WeightTransferEngineFactory
from vllm.model_executor.model_loader.reload import (
    finalize_layerwise_reload,
    initialize_layerwise_reload,
)

from policies.named_tensors import require_names

BACKEND = "unicorn_mapped"


@dataclass
class Nothing(WeightTransferInitInfo):
    """There is nothing to connect to."""


@dataclass
class Weights(WeightTransferUpdateInfo):
    """Whole weights by their public names."""

    weights: Mapping[str, Tensor] = field(default_factory=dict)


class MappedTransfer(WeightTransferEngine[Nothing, Weights]):
    init_info_cls = Nothing
    update_info_cls = Weights

    def init_transfer_engine(self, init_info: Nothing) -> None:
        # It warns of every rotary table, which is no weight and stays; what is missing is refused here.
        logging.getLogger(initialize_layerwise_reload.__module__).setLevel(logging.ERROR)

    def start_weight_update(self) -> None:
        initialize_layerwise_reload(self.model)

    def receive_weights(self, update_info: Weights) -> None:
        """Raises CheckpointError where a weight of the model is not among them."""
        loaded = self.model.load_weights(update_info.weights.items())
        require_names(
            "load_weights: the engine's model", loaded, dict(self.model.named_parameters())
        )

    def finish_weight_update(self) -> None:
        finalize_layerwise_reload(self.model, self.model_config)

    def shutdown(self) -> None:
        pass


WeightTransferEngineFactory.register_engine(BACKEND, MappedTransfer)
