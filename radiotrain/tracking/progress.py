"""Progress within an epoch."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from radiotrain.runs.epoch_metrics import human_time

Reporter = Callable[[str], None]

_SECONDS_BETWEEN_LINES = 10.0


class StepProgress:
    """Told of each step; says where the epoch is.

    Parameters
    ----------
    reporter
        Takes lines, where there is no terminal.
    is_terminal
        Whether standard error is one.
    clock
        Seconds; the machine's by default.
    """

    def __init__(
        self,
        reporter: Reporter,
        is_terminal: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reporter, self._clock = reporter, clock
        self._bar = _Bar() if is_terminal else None
        self._epoch: int | None = None
        self._said = self._begun = clock()
        self._patients_at_begin = self._steps_at_begin = 0

    def step(
        self,
        epoch: int,
        num_epochs: int,
        done: int,
        num_steps: int,
        loss: float | None,
        num_patients_done: int,
    ) -> None:
        """Hear that a step is done.

        Parameters
        ----------
        epoch
            Counted from 0.
        done
            Steps of the epoch that are done, out of `num_steps`.
        loss
            Of the last step; None where asking for it would make the device wait.
        num_patients_done
            In this epoch, over all workers.
        """
        now = self._clock()
        if epoch != self._epoch:
            # Speed is counted from the first step's end: that step warms up what is slow once.
            self._epoch, self._begun = epoch, now
            self._steps_at_begin, self._patients_at_begin = done, num_patients_done
        where = f"epoch {epoch + 1}/{num_epochs}"
        speed = self._speed(now, done, num_steps, num_patients_done)
        said = [] if loss is None else [f"loss {loss:.3g}"]
        if self._bar is not None:
            self._bar.show(where, done, num_steps, ", ".join(said + speed))
        elif now - self._said >= _SECONDS_BETWEEN_LINES and done < num_steps:
            self._said = now
            self._reporter(f"{where}: " + ", ".join([f"step {done}/{num_steps}", *said, *speed]))

    def _speed(self, now: float, done: int, num_steps: int, num_patients: int) -> list[str]:
        seconds, steps = now - self._begun, done - self._steps_at_begin
        if seconds <= 0 or steps <= 0:
            return []
        patients_per_s = (num_patients - self._patients_at_begin) / seconds
        left = human_time((num_steps - done) * seconds / steps)
        return [f"{patients_per_s:.1f} patients/s", f"{left} to the epoch's end"]

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class _Bar:
    """A bar an epoch, gone when the epoch is done."""

    def __init__(self) -> None:
        self._progress: Progress | None = None

    def show(self, where: str, done: int, num_steps: int, said: str) -> None:
        if self._progress is None:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(bar_width=20),
                MofNCompleteColumn(),
                TextColumn("{task.fields[said]}"),
            )
            self._progress = Progress(*columns, console=Console(stderr=True), transient=True)
            self._progress.start()
            self._progress.add_task(where, total=num_steps, said="")
        task = self._progress.task_ids[0]
        self._progress.update(task, description=where, completed=done, said=said)
        if done >= num_steps:
            self.close()

    def close(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
