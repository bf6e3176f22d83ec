"""What a task's YAML file may say."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from evaluation.config import Some
from policies.config import Section, require
from policies.constraints import Server, Text, Whole

OWN = "own"


class TaskConfig(Section):
    section = "task"
    description: Text = ""
    """One line, which `evaluate --list` shows."""
    instances: Text = OWN
    """What is asked: own (the set that ships), a suite of evaluation/suites, or a JSONL file."""
    prompts: Some = 500
    """Prompts of a suite; a file is taken whole."""
    seed: Whole = 1234
    """The suite's prompts follow from it."""
    bare: bool = False
    """Questions are asked as they stand, without options and the form of the answer: for models that know their questions."""
    judge: Literal["rules", "itself", "server"] = "rules"
    """Who judges the answers: exact rules, the measured model, or judge_model at judge_server."""
    judge_server: Server = ""
    """An OpenAI-compatible server's address; its key is read from OPENAI_API_KEY."""
    judge_model: Text = ""
    """Which of the server's models judges."""
    attempts: Annotated[Whole, Field(ge=1, le=20)] = 3
    """How often a judge is asked that cannot be read; then the question counts 0, and is counted."""
    at_once: Annotated[Whole, Field(ge=1, le=1000)] = 8
    """Requests to a server in flight."""
    ocr: bool = False
    """Whether an OCR reads the drawings of text questions too: its words stand beside the judge's marks."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        served = self.judge == "server"
        require(bool(self.judge_server) == served, "task.judge_server", self.judge_server,
                "an address where task.judge is server, and empty otherwise")  # fmt: skip
        require(bool(self.judge_model) == served, "task.judge_model", self.judge_model,
                "a model's name where task.judge is server, and empty otherwise")  # fmt: skip
        own = self.instances == OWN or self.instances.endswith(".jsonl")
        require(not (self.judge == "itself" and self.bare and own), "task.judge", self.judge,
                f"rules or server where task.bare is true and task.instances is {self.instances!r}: a model "
                "that knows its questions alone judges by pictures, which a suite gives")  # fmt: skip
        return self
