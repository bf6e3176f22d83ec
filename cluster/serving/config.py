"""How a model is served: what begins with "serve." among overrides."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from policies.config import Section, require
from policies.constraints import Text, Whole

Some = Annotated[Whole, Field(ge=1, le=10**6)]
Seconds = Annotated[float, Field(gt=0, le=10**5)]


class ServeConfig(Section):
    section = "serve"
    name: Text = ""
    """What requests call the model; by default the name of the run or of the checkpoint's folder."""
    min_replicas: Some = 1
    max_replicas: Some = 1
    """Ray Serve starts more replicas up to this as requests queue."""
    cpus: Annotated[float, Field(ge=0, le=1000)] = 1.0
    gpus: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Of each replica; with any of a GPU it samples there."""
    batch: Annotated[Whole, Field(ge=1, le=1024)] = 32
    """So many drawings, or texts, are made together at most."""
    queue: Some = 1000
    """Requests that may wait; one more gets status 503."""
    deadline: Seconds = 600.0
    """Seconds in which a request must be answered, once it is read."""
    body_deadline: Seconds = 30.0
    """Seconds in which a request must arrive."""
    body_mib: Annotated[float, Field(gt=0, le=1024)] = 32.0
    """The longest request."""
    memory_mib: Annotated[float, Field(gt=0, le=2**24)] = 2048.0
    """Of the bodies and pictures of all requests that are not answered yet; one more gets status 503."""
    megapixels: Annotated[float, Field(gt=0, le=1000)] = 36.0
    """Of the pictures that one request shows, together."""
    pictures: Some = 16
    """The most pictures of one request, asked for or shown."""
    max_tokens: Some = 64
    """Of an answer whose request does not say."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        require(self.max_replicas >= self.min_replicas, "serve.max_replicas", self.max_replicas,
                f"at least serve.min_replicas, {self.min_replicas}")  # fmt: skip
        return self
