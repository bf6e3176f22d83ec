"""Carries a task out: draws each prompt, asks each question about its drawing, has the answers judged.

Invariant: what a step made is kept before the next one begins, and what is kept is not made again: a
drawing's seed follows from its place in the task, an answer from the drawing that is kept. The pools of
Solvers and Judges do the work, so that more replicas change how long it takes and nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from actors.pool.pool import Pool
from actors.replay.records import Task
from actors.retry import made_again, within
from actors.roles.requests import AnswerQuestions, DrawEach
from evaluation.config import Settings
from evaluation.judges.asking import Answered, Judge, judged
from evaluation.judges.cache import Cache
from evaluation.judges.ocr import Ocr, has_text, kept, ocr_summary, reading
from evaluation.selection import fixed_sampling
from evaluation.tasks.config import TaskConfig
from evaluation.tasks.folder import TaskFolder, runs
from evaluation.unicycle import rules
from evaluation.unicycle.asking import asked, reference
from evaluation.unicycle.instances import Instance
from evaluation.unicycle.judging import NO_DRAWING, Verdict, by_rules
from evaluation.unicycle.scoring import hard, soft
from evaluation.unicycle.summary import Scored, summary
from policies.seeds import derive

Tell = Callable[[str], None]
Found = dict[str, Any]
Said = list[str] | None


class TaskBench:
    """`judge` is None for exact rules; `version` is that of the weights which the pools are asked for."""

    def __init__(
        self, task: TaskConfig, config: Settings, folder: TaskFolder, solvers: Pool, judges: Pool,
        judge: Judge | None, tell: Tell, version: int = 0, ocr: Ocr | None = None,
    ) -> None:  # fmt: skip
        self.task, self.folder, self.judge, self.tell = task, folder, judge, tell
        self.solvers, self.judges, self.version, self.ocr = solvers, judges, version, ocr
        self.cache = Cache(folder.path.parent / "judge-cache", folder.pause_s)
        self.seed, self.deadline = config.seed, config.actors.task_deadline
        self.size, self.sampling = config.evaluation.prompts_per_task, fixed_sampling(config)
        # Each slice's pictures are held here while they are asked about.
        self.room = asyncio.Semaphore(1 + max(config.solver.replicas, config.solver.max_replicas))
        self.done = 0

    async def run(self, instances: Sequence[Instance]) -> Found:
        """Returns the summary, which the folder keeps with every sample."""
        parts = [
            instances[at : at + self.size] for at in range(0, len(instances), self.size)
        ]  # fmt: skip
        async with asyncio.TaskGroup() as tasks:
            for number, part in enumerate(parts):
                tasks.create_task(made_again(partial(self._read, number, part, len(instances))))
        said = await asyncio.to_thread(self._said, instances)
        scored, used = await self._judged(instances, said)
        found = {**summary(scored), "judge": self._named(used)}
        read: dict[str, str | None] = {}
        if self.ocr is not None:
            read = await asyncio.to_thread(self._read_text, self.ocr, instances)
            found["ocr"] = ocr_summary(self.ocr.identity, instances, read)
        samples = [
            self._sample(place, *each, read)
            for place, each in enumerate(zip(scored, said, strict=True))
        ]
        file = await asyncio.to_thread(self.folder.keep_result, self.judge_name, samples, found)
        self.tell(f"every sample is in {file.parent}")
        return found

    async def _read(self, number: int, part: Sequence[Instance], total: int) -> None:
        """Draws what is missing of a slice, and asks what is not answered yet."""
        async with self.room:
            await self._draw(number, part)
            await self._answer(number, part)
        self.done += len(part)
        self.tell(f"drawn and asked: {self.done} of {total}")

    async def _draw(self, number: int, part: Sequence[Instance]) -> None:
        drawn = await asyncio.to_thread(lambda: [self.folder.drawn(each.id) for each in part])
        task = self._task(number)
        for places in runs(drawn):
            missing = part[places.start : places.stop]
            request = DrawEach(task, self.sampling, places.start)
            shown = await self.solvers.run(request, [each.prompt for each in missing])
            pictures = await within(shown, self.deadline, f"the drawings of {task}")
            for each, picture in zip(missing, pictures, strict=True):
                await asyncio.to_thread(self.folder.keep_drawing, each.id, picture)

    async def _answer(self, number: int, part: Sequence[Instance]) -> None:
        left = await asyncio.to_thread(
            lambda: [each for each in part if not self.folder.answered(each.id)]
        )
        pictures = [await asyncio.to_thread(self.folder.drawing, each.id) for each in left]
        # A drawing that failed shows nothing.
        shown = [picture.pixels.any() for picture in pictures]
        questions = [
            (picture, question.text if self.task.bare else asked(question))
            for each, picture, there in zip(left, pictures, shown, strict=True)
            if there
            for question in each.questions
        ]
        task, answers = self._task(number), list[str]()
        if questions:
            said = await self.judges.run(AnswerQuestions(task), questions)
            answers = await within(said, self.deadline, f"the answers of {task}")
        rest = iter(answers)
        for each, there in zip(left, shown, strict=True):
            own = [next(rest) for _ in each.questions] if there else None
            await asyncio.to_thread(self.folder.keep_answers, each.id, own)

    def _task(self, number: int) -> Task:
        return Task(0, "evaluator", number, self.version)

    def _said(self, instances: Sequence[Instance]) -> list[Said]:
        """The answers to the questions about each; None where there was no drawing."""
        return [self.folder.answers(each.id, len(each.questions)) for each in instances]

    async def _judged(
        self, instances: Sequence[Instance], said: Sequence[Said]
    ) -> tuple[list[Scored], Found]:
        pairs = [
            Answered(each, question, answer)
            for each, own in zip(instances, said, strict=True)
            for question, answer in zip(each.questions, own or (), strict=own is not None)
        ]
        used: Found = {}
        if self.judge is None:
            verdicts = [by_rules(each.question, each.answer) for each in pairs]
        else:
            found = await judged(self.judge, self.cache, pairs, self._attempts())
            verdicts, used = found.verdicts, {**found.counted, "models": found.models}
        rest = iter(verdicts)
        scored = [
            Scored(
                each, tuple(next(rest) if own is not None else NO_DRAWING for _ in each.questions)
            )
            for each, own in zip(instances, said, strict=True)
        ]
        return scored, used

    def _read_text(self, ocr: Ocr, instances: Sequence[Instance]) -> dict[str, str | None]:
        """What the OCR reads in the drawing of each instance that asks for text; None where there is
        no drawing."""
        read: dict[str, str | None] = {}
        texts = [each for each in instances if has_text(each)]
        self.tell(f"the OCR reads {len(texts)} drawings")
        for each in texts:
            pixels = self.folder.drawing(each.id).pixels
            read[each.id] = kept(ocr, self.cache, pixels) if pixels.any() else None
        return read

    def _attempts(self) -> int:
        """The model itself replies greedily, so that a second attempt would be the first again."""
        return self.task.attempts if self.task.judge == "server" else 1

    def _named(self, used: Found) -> Found:
        version = rules.VERSION if self.judge is None else self.judge.identity
        prompts = {} if self.judge is None else {"prompt_hash": self.judge.prompt_hash}
        return {"name": self.judge_name, "version": version, **prompts, **used}

    @property
    def judge_name(self) -> str:
        return self.task.judge_model or self.task.judge

    def _sample(
        self, place: int, scored: Scored, said: Said, read: Mapping[str, str | None]
    ) -> Found:
        each = scored.instance
        number, row = divmod(place, self.size)
        answers: Sequence[str | None] = said or [None] * len(each.questions)
        return {
            "id": each.id,
            "kind": each.kind,
            "prompt": each.prompt,
            "seed": derive(self.seed, 0, "evaluator", number, row),
            "drawing": f"../drawings/{each.id}.png",
            "soft": soft(scored.marks()),
            "hard": hard(scored.marks()),
            "questions": [
                {"kind": q.kind, "text": q.text, "options": list(q.options), "reference": reference(q),
                 "answer": answer, **_verdict(verdict),
                 **({"ocr": reading(q, read[each.id])} if q.kind == "text" and each.id in read else {})}
                for q, answer, verdict in zip(each.questions, answers, scored.verdicts, strict=True)
            ],
        }  # fmt: skip


def _verdict(verdict: Verdict) -> Found:
    return {"mark": verdict.mark, "status": verdict.status, "clamped": verdict.clamped}
