"""The Proposer: writes prompts, category by category (paper, section 3.3.1).

Invariant: what is written for a topic follows from the task's name, the seed, the weights and
the demonstrations; a topic that gave nothing readable is None, and never made up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from actors.config import ProposerConfig, external_player, named_together
from actors.replay.records import Proposal, Task
from actors.roles.answers import ask, parse_proposal
from actors.roles.templates import Templates
from actors.roles.topics import Topic
from policies.interface import Policy, TextSampling
from policies.seeds import derive


class Proposer:
    def __init__(self, policy: Policy, config: ProposerConfig, templates: Templates) -> None:
        self._policy = policy
        self._config = config
        self._templates = templates
        self._external = external_player("proposer", config.server, config.server_model)

    def propose(
        self,
        task: Task,
        seed: int,
        topics: Sequence[Topic],
        demonstrations: Mapping[str, Sequence[str]],
    ) -> list[Proposal | None]:
        """One prompt a topic, after its own demonstrations or else those of its category; None
        where none of `attempts` answers could be read. A proposal's index is its topic's number."""
        contexts = [
            self._templates.propose(
                topic.category, topic.subcategory, self._shown(demonstrations, topic), topic.persona
            )
            for topic in topics
        ]
        sampling = TextSampling(self._config.temperature, max_tokens=self._config.max_tokens)
        key = (seed, task.round, task.role, task.index)

        def parse(row: int, own: int, text: str) -> Proposal | None:
            topic = topics[row]
            read = parse_proposal(text, topic.category, topic.number, own)
            return read and replace(read, external=named_together(topic.external, self._external))

        answers = ask(
            self._policy.write, contexts, sampling,
            lambda row, attempt: derive(*key, row, attempt), parse, self._config.attempts,
        )  # fmt: skip
        return [proposal for proposal, _ in answers]

    def _shown(self, demonstrations: Mapping[str, Sequence[str]], topic: Topic) -> Sequence[str]:
        shown = topic.demonstrations or demonstrations.get(topic.category, ())
        return shown[: self._config.demonstrations]
