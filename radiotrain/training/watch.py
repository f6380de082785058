"""Looks at each step's loss without making a GPU wait for it."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from preprocessing.common.errors import InputError
from radiotrain.distributed import Worker

if TYPE_CHECKING:
    from radiotrain.training.training import Step

_StepT = TypeVar("_StepT")


class NonFiniteLossError(InputError):
    """The loss, or the gradient, of a step is infinite or no number.

    Attributes
    ----------
    step
        Which one; None where the error has crossed processes.
    """

    def __init__(self, sentence: str, step: Any = None) -> None:
        super().__init__(sentence)
        self.step = step

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self),)


@dataclass(frozen=True)
class Seen(Generic[_StepT]):
    """A step, and what came of it on this worker.

    Parameters
    ----------
    finite
        bool (B,) on the device: whether each of this worker's patients has a finite loss.
    """

    step: _StepT
    finite: Tensor


class Watch(Generic[_StepT]):
    """Tells the first step whose loss or gradient was not finite.

    On a CPU at once, before the weights take the step. On a GPU one step later: reading a value
    of the step in flight would let the GPU run dry.
    """

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        self._waiting: deque[tuple[Seen[_StepT], Tensor, Any]] = deque()

    def look(self, step: _StepT, values: Tensor, finite: Tensor) -> Seen[_StepT] | None:
        """Take a step's values (any floating tensor); return the first bad step known by now."""
        good = torch.isfinite(values).all()
        event = None
        if self._on_gpu:
            good, event = _fetch(good)
        self._waiting.append((Seen(step, finite), good, event))
        return self._first_bad(leave=1 if self._on_gpu else 0)

    def finish(self) -> Seen[_StepT] | None:
        """Look at what is left, at the end of an epoch."""
        return self._first_bad(leave=0)

    def _first_bad(self, leave: int) -> Seen[_StepT] | None:
        while len(self._waiting) > leave:
            seen, good, event = self._waiting.popleft()
            if event is not None:
                event.synchronize()
            if not bool(good):
                self._waiting.clear()
                return seen
        return None


class SharedFlag:
    """Tells at the same step on all workers whether any of them raised a flag.

    On a CPU at once, on a GPU one step later, as `Watch`.
    """

    def __init__(self, device: torch.device) -> None:
        self._leave = 1 if device.type == "cuda" else 0
        self._waiting: deque[tuple[Tensor, Any]] = deque()

    def look(self, value: Tensor) -> bool:
        """Take a step's sum over all workers; tell whether one of the steps known by now had any."""
        self._waiting.append(_fetch(value) if self._leave else (value, None))
        if len(self._waiting) <= self._leave:
            return False
        known, event = self._waiting.popleft()
        if event is not None:
            event.synchronize()
        return bool(known > 0)


def _fetch(value: Tensor) -> tuple[Tensor, Any]:
    """Begin to copy a value from a GPU; the event says when it is there."""
    host = torch.empty(value.shape, dtype=value.dtype, pin_memory=True)
    host.copy_(value, non_blocking=True)
    return host, torch.cuda.current_stream(value.device).record_event()


def not_finite(
    step: Step, given: Mapping[str, Any], finite: Tensor, worker: Worker
) -> NonFiniteLossError:
    """Say whose loss was not finite, on all workers together.

    Parameters
    ----------
    given
        What this worker's network was given; see `Training.replay`.
    finite
        bool (B,), whether each of its patients had a finite loss.
    """
    ids = np.array(given["patient_ids"])
    unfit = ~torch.isfinite(given["images"]).flatten(1).all(1).numpy()
    lost = ~finite.cpu().numpy()
    parts = worker.gather((ids[unfit].tolist(), ids[lost].tolist()))
    images, losses = ([name for part in parts for name in part[k]] for k in (0, 1))
    # Batch norm passes one patient's NaN on to all, whose losses then say nothing.
    what, advice = f"the images of patients {_few(images)} are", "look at them and leave them out"
    if not images:
        whose = f" of patients {_few(losses)}" if losses else "'s gradient"
        what = f"the loss{whose} is"
        advice = "lower train.lr, set train.gradient_clip, or set precision to float32"
    where = f"in epoch {step.epoch + 1}, step {step.number + 1}"
    return NonFiniteLossError(f"{what} not finite {where}: {advice}", step)


def _few(names: Sequence[str], largest: int = 8) -> str:
    shown = ", ".join(names[:largest])
    return f"{shown} and {len(names) - largest} more" if len(names) > largest else shown
