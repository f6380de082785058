"""Describe why workers ended.

A worker raises or dies; Ray's controller hears of it and tries again, or does not; the driver tells
the user.
"""

from __future__ import annotations

import re
import socket
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ray.train import UserCallback
from torch import distributed

from preprocessing.common.errors import RadiotrainError
from preprocessing.storage import files
from radiotrain.distributed import Worker

# What Ray's account of a death contains, and what it comes to; the first that is found.
_CAUSES_OF_DEATH = {
    "out_of_memory|low on memory": "was killed by Ray because its host ran out of memory",
    r"node (has )?died|node .*terminated|is unavailable": (
        "does not answer any more: its host, or the network to it, was lost"
    ),
    "worker process has died": (
        "was killed from outside, by the system for want of memory, or crashed (Ray's logs on that"
        " host say more, in session_latest/logs of its folder for temporary files)"
    ),
}
# What Ray adds below the reason why an actor could not be started.
_NEVER_RAN = "The actor never ran"


class WorkersError(Exception):
    """Workers ended by something that is not the user's mistake; one sentence names each."""


@dataclass(frozen=True)
class WorkerFailure:
    """What ended one worker.

    Parameters
    ----------
    worker
        Which one, such as ``worker 1 of 2 on host7``; ranks count from 0, as in Ray's logs.
    sentence
        What it said, or what is known of its death.
    world_size
        Of its group; None where it did not live to tell.
    mistake
        The class of the user's mistake, where it is one.
    is_echo
        Whether it only tells that another worker did not answer.
    """

    worker: str
    sentence: str
    world_size: int | None = None
    mistake: type[RadiotrainError] | None = None
    is_echo: bool = False


class WorkerFailedError(Exception):
    """Carries a worker's failure to Ray's controller, whatever exception it was."""

    def __init__(self, failure: WorkerFailure) -> None:
        super().__init__(f"{failure.worker}: {failure.sentence}")
        self.failure = failure

    def __reduce__(self) -> tuple[type[WorkerFailedError], tuple[WorkerFailure]]:
        return type(self), (self.failure,)


def _notices_url(run_url: str) -> str:
    return files.join(run_url, "ray", "failures.txt")


def read_notices(run_url: str) -> list[str]:
    """Return what was said of failures that were not the last, in the run folder."""
    return files.read_text(_notices_url(run_url)).splitlines()


def write_notices(run_url: str, notices: Sequence[str]) -> None:
    """Write what is to be said of failures into the run folder."""
    files.write_text(_notices_url(run_url), "".join(f"{notice}\n" for notice in notices))


def describe_failure(error: Exception, worker: Worker, run_url: str) -> WorkerFailure:
    """Put a worker's exception into words that any process can read; keep its traceback."""
    name = f"worker {worker.rank} of {worker.world_size} on {socket.gethostname()}"
    if isinstance(error, RadiotrainError):
        return WorkerFailure(name, str(error), worker.world_size, mistake=type(error))
    kept = files.join(run_url, "ray", f"traceback-{worker.rank}.txt")
    with suppress(Exception):
        files.write_text(kept, traceback.format_exc())
    said = f"{type(error).__name__}: {_first_line(error)} (traceback in {kept})"
    is_echo = _is_echo(error)
    if is_echo:
        said = f"lost touch with another worker, which is gone or hangs: {said}"
    return WorkerFailure(name, said, worker.world_size, is_echo=is_echo)


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), "no message")


def _is_echo(error: Exception) -> bool:
    """Tell whether a collective failed, as it does on all who wait for a worker that is gone."""
    if isinstance(error, distributed.DistError):
        return True
    return isinstance(error, RuntimeError) and bool(
        re.search("gloo|nccl", str(error), re.IGNORECASE)
    )


class FailureNotices(UserCallback):  # type: ignore[misc]
    """Says what ended workers; a user's mistake is not tried again.

    Ray tries again after whatever a worker raised, but not after what its own callback raises.
    """

    def __init__(self, run_url: str, max_failures: int) -> None:
        self._run_url, self._max_failures = run_url, max_failures
        self._notices: list[str] = []

    def after_exception(
        self, run_context: Any, worker_exceptions: Mapping[int, BaseException]
    ) -> None:
        """Take the exceptions of one look at the workers, by rank."""
        reason = sum_up(worker_exceptions)
        if isinstance(reason, RadiotrainError):
            raise reason
        notice = f"{reason}: going on from the last checkpoint, at most {self._max_failures} times"
        # A node that is being taken away is looked at again and again.
        if notice not in self._notices[-1:]:
            self._notices.append(notice)
            with suppress(Exception):
                write_notices(self._run_url, self._notices)


def sum_up(failures: Mapping[int, BaseException]) -> RadiotrainError | WorkersError:
    """Return one exception for what ended some workers, by rank.

    Mistakes are named before anything else, and what only follows from the death of another
    worker is left out. A mistake keeps its class, and its words where every worker says the same.
    """
    known = [_failure(rank, failures[rank]) for rank in sorted(failures)]
    mistakes = [failure for failure in known if failure.mistake is not None]
    causes = mistakes or [failure for failure in known if not failure.is_echo] or known
    text = "; ".join(f"{failure.worker}: {failure.sentence}" for failure in causes)
    if causes[0].mistake is None:
        return WorkersError(text)
    agree = len({failure.sentence for failure in mistakes}) == 1
    everyone = len(mistakes) == mistakes[0].world_size
    return causes[0].mistake(causes[0].sentence if agree and everyone else text)


def _failure(rank: int, error: BaseException) -> WorkerFailure:
    if isinstance(error, WorkerFailedError):
        return error.failure
    # Ray wraps the death of a worker's process.
    died = getattr(error, "health_check_failure", None)
    if died is None:
        return WorkerFailure(f"worker {rank}", f"{type(error).__name__}: {_first_line(error)}")
    text = str(died)
    pid, host = (re.search(rf"\b{name}: (\S+)", text) for name in ("pid", "ip"))
    place = f" (process {pid[1]} on {host[1]})" if pid and host else ""
    return WorkerFailure(f"worker {rank}{place}", cause_of_death(text))


def cause_of_death(text: str) -> str:
    """Return what Ray's account of a process's end comes to, in words that follow its name."""
    for pattern, cause in _CAUSES_OF_DEATH.items():
        if re.search(pattern, text, re.IGNORECASE):
            return cause
    lines = [line for line in text.strip().splitlines() if _NEVER_RAN not in line]
    return (lines or [text])[-1]
