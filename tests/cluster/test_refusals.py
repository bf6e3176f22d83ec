from __future__ import annotations

from cluster.refusals import sentences
from policies.config import ConfigError
from policies.errors import UserError


class RemoteRefusal(UserError):
    """As Ray raises what a remote actor raised: of its class, and with its own text."""

    def __init__(self) -> None:
        super().__init__("ray::Actor.method() (pid=1)\n  File ...\nUserError: the disk is full")
        self.cause = UserError("the disk is full")


class Wrapped(Exception):
    """As Ray Train wraps what a worker raised."""

    def __init__(self, error: Exception) -> None:
        super().__init__("a traceback")
        self._base_exc = error


class WorkersFailed(Exception):
    """As Ray Train raises the failures of its workers."""

    def __init__(self, *failures: Exception) -> None:
        super().__init__("Training failed due to worker errors")
        self.worker_failures = dict(enumerate(map(Wrapped, failures)))


def test_what_can_be_mended_is_a_sentence() -> None:
    assert sentences(ConfigError("lr is 0")) == ["lr is 0"]
    assert sentences(UserError("the disk is full")) == ["the disk is full"]


def test_a_remote_error_is_told_without_its_traceback() -> None:
    assert sentences(RemoteRefusal()) == ["the disk is full"]


def test_who_tells_where_an_error_came_up_is_heard() -> None:
    told = RuntimeError("solver replica 1 failed: the disk is full")
    told.__cause__ = RemoteRefusal()
    assert sentences(told) == ["solver replica 1 failed: the disk is full"]


def test_flows_that_fail_together_are_told_together_and_once() -> None:
    nested = ExceptionGroup("flows", [RemoteRefusal(), ExceptionGroup("", [UserError("b")])])
    assert sentences(nested) == ["the disk is full", "b"]
    assert sentences(ExceptionGroup("flows", [UserError("x"), UserError("x")])) == ["x"]


def test_one_worker_explains_why_the_others_lost_it() -> None:
    failed = WorkersFailed(UserError("the checkpoint is damaged"), RuntimeError("connection lost"))
    assert sentences(failed) == ["the checkpoint is damaged"]


def test_a_defect_is_never_hidden() -> None:
    assert sentences(ValueError("a defect")) == []
    assert sentences(ExceptionGroup("flows", [UserError("x"), KeyError("a defect")])) == []
    assert sentences(WorkersFailed(RuntimeError("connection lost"))) == []
