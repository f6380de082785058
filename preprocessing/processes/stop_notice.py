"""Notices to stop: what schedulers, cloud providers and closed terminals send before they kill.

The first notice raises `Stopped` in the main thread wherever it is, as Ctrl-C raises
KeyboardInterrupt: whatever is written is whole at any time, so nothing finished is lost. Where more
can be kept, `put_off` lets the notice wait until the work asks for it (`came`) at a point where its
state is whole. A second notice ends the process at once.

Python and extensions drop an exception that a signal raises inside a finaliser or a callback.
Therefore a notice, and Ctrl-C too, is also remembered, and `check` raises it again.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import FrameType

# Slurm sends SIGTERM, or what `--signal` names, usually SIGUSR1 or SIGUSR2; a closed ssh SIGHUP; a limit on
# CPU time SIGXCPU; Kubernetes, systemd and EC2 SIGTERM.
NOTICES = (
    signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU,
)  # fmt: skip
# The shell and the kernel both tell of a closed terminal, and `timeout` tells a process and its group.
_SAME_NOTICE_S = 1.0
_RESUME = "run the same command again to resume"


class Stopped(BaseException):
    """A notice to stop has ended the work. Not an Exception, so that no handler of errors keeps it.

    Parameters
    ----------
    notice
        Name of the signal, or what else gave notice.
    where
        How far the work came, such as ``paused after step 3 of epoch 2``.
    """

    def __init__(self, notice: str, where: str = "stopped") -> None:
        keeps = "" if where.startswith("paused") else "nothing finished is lost, "
        super().__init__(f"{where} ({notice}): {keeps}{_RESUME}")
        self.notice, self.where = notice, where

    def __reduce__(self) -> tuple[type[Stopped], tuple[str, str]]:
        return type(self), (self.notice, self.where)

    @property
    def exit_status(self) -> int:
        """128 and the signal's number, as shells and schedulers know it; SIGTERM's where it was none."""
        number = getattr(signal, self.notice, signal.SIGTERM)
        return 128 + int(number)


@dataclass
class _State:
    """What this process was told, and by which handlers it hears."""

    came: signal.Signals | None = None
    came_at: float = 0.0
    is_overdue: bool = False
    interrupted: bool = False
    is_put_off: bool = False
    interrupts_put_off: bool = False
    tell: Callable[[str], None] | None = None
    grace_s: float | None = None
    heard: tuple[signal.Signals, ...] = ()
    terminals: tuple[int, ...] = field(default=())


_state = _State()


@contextmanager
def listening() -> Iterator[None]:
    """Hear notices and Ctrl-C in the block; a signal that is ignored (nohup) stays ignored."""
    global _state
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _state = _State(terminals=tuple(fd for fd in (1, 2) if _is_terminal(fd)))
    usual = (signal.SIG_DFL, signal.default_int_handler)
    before = {number: signal.getsignal(number) for number in (*NOTICES, signal.SIGINT)}
    _state.heard = tuple(number for number, handler in before.items() if handler in usual)
    hear_again()
    try:
        yield
    finally:
        for number in _state.heard:
            signal.signal(number, before[number])
        # What is called afterwards, in a process that goes on, was given no notice.
        _state = _State()


def hear_again() -> None:
    """Take signals back from a library that has put its own handlers in our place."""
    if threading.current_thread() is threading.main_thread():
        for number in _state.heard:
            signal.signal(number, _on_interrupt if number == signal.SIGINT else _on_notice)


def came() -> str | None:
    """Return the name of the notice that came, None before one has."""
    return None if _state.came is None else _state.came.name


def check() -> None:
    """Raise what came: Ctrl-C as KeyboardInterrupt, a notice as `Stopped`."""
    check_interrupt()
    if _state.came is not None:
        raise Stopped(_state.came.name)


def check_interrupt() -> None:
    """Raise Ctrl-C that was put off, or that Python dropped."""
    if _state.interrupted:
        raise KeyboardInterrupt


@contextmanager
def put_off(
    *,
    interrupts: bool = False,
    tell: Callable[[str], None] | None = None,
    grace_s: float | None = None,
) -> Iterator[None]:
    """Let notices in the block wait until they are asked for; in other threads than the main one do nothing.

    Parameters
    ----------
    interrupts
        Whether Ctrl-C waits, too; pressed again, it does not.
    tell
        Called with the notice's name when it comes.
    grace_s
        How long a notice may wait; then it is raised after all.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    state = _state
    before = (state.is_put_off, state.interrupts_put_off, state.tell, state.grace_s)
    state.is_put_off, state.interrupts_put_off = True, interrupts
    state.tell, state.grace_s = tell, grace_s
    if state.came is not None:
        _begin_grace(state.came)
    try:
        yield
    finally:
        state.is_put_off, state.interrupts_put_off, state.tell, state.grace_s = before


def _on_interrupt(number: int, frame: FrameType | None) -> None:
    again, _state.interrupted = _state.interrupted, True
    if again or not _state.interrupts_put_off:
        raise KeyboardInterrupt


def _on_notice(number: int, frame: FrameType | None) -> None:
    notice = signal.Signals(number)
    _leave_lost_terminals()
    if _state.is_overdue:
        raise Stopped(notice.name)
    if _state.came is not None:
        if time.monotonic() - _state.came_at > _SAME_NOTICE_S:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        return
    _state.came, _state.came_at = notice, time.monotonic()
    if not _state.is_put_off:
        raise Stopped(notice.name)
    _begin_grace(notice)


def _begin_grace(notice: signal.Signals) -> None:
    if _state.tell is not None:
        _state.tell(notice.name)
    if _state.grace_s is None:
        return
    state = _state

    def insist() -> None:
        if state.is_put_off and state.grace_s is not None:
            state.is_overdue = True
            signal.pthread_kill(threading.main_thread().ident or 0, notice)

    timer = threading.Timer(_state.grace_s, insist)
    timer.daemon = True
    timer.start()


def _is_terminal(descriptor: int) -> bool:
    with suppress(OSError):
        return os.isatty(descriptor)
    return False


def _leave_lost_terminals() -> None:
    """Write to nowhere what would go to a terminal that was closed: each line would be an error."""
    lost = [fd for fd in _state.terminals if not _is_terminal(fd)]
    if lost:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for fd in lost:
            os.dup2(nowhere, fd)
        os.close(nowhere)
        _state.terminals = tuple(fd for fd in _state.terminals if fd not in lost)
