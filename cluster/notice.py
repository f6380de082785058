"""Send the driver's notices to stop to all workers.

A notice to stop comes to the driver, as a signal. Its workers ask Ray's own key-value store for it after
each step, once a second at most; the key is the job's, so that no later run finds it. A node that is
being drained (``ray drain-node``, a spot instance that is taken back) Ray's head names to everyone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Generic, TypeVar

import ray
from ray._private.state import state
from ray.experimental import internal_kv

_SECONDS_BETWEEN_LOOKS = 1.0
_NAMESPACE = "radiotrain"
_ValueT = TypeVar("_ValueT")


def tell_workers(notice: str) -> None:
    """Give a notice to stop to all workers of this driver."""
    with suppress(Exception):  # the grace period ends workers that were not reached
        internal_kv._internal_kv_put(_key(), notice.encode(), overwrite=True, namespace=_NAMESPACE)


class WorkerNotice:
    """The notice that this process's driver was given, None before one came."""

    def __init__(self) -> None:
        self._look = _Rarely(_driver_notice, None)

    def __call__(self) -> str | None:
        """Return its name."""
        return self._look()


class LeavingNodes:
    """Tells whether one of some nodes is being drained.

    Ray Train's `get_preemption_info` tells the same, but all workers have to meet for each answer.
    """

    def __init__(self, node_ids: Collection[str]) -> None:
        self._node_ids = frozenset(node_ids)
        self._look = _Rarely(self._any, False)

    def __call__(self) -> bool:
        """Look."""
        return self._look()

    def _any(self) -> bool:
        return not self._node_ids.isdisjoint(state.get_draining_nodes())


def own_node() -> str:
    """Return the id of the node that this process runs on."""
    node: str = ray.get_runtime_context().get_node_id()
    return node


class _Rarely(Generic[_ValueT]):
    """Asks at most once a second; the last answer stands where the head does not answer."""

    def __init__(self, ask: Callable[[], _ValueT], first: _ValueT) -> None:
        self._ask, self._answer, self._asked = ask, first, float("-inf")

    def __call__(self) -> _ValueT:
        now = time.monotonic()
        if now - self._asked >= _SECONDS_BETWEEN_LOOKS:
            self._asked = now
            with suppress(Exception):
                self._answer = self._ask()
        return self._answer


def _driver_notice() -> str | None:
    found = internal_kv._internal_kv_get(_key(), namespace=_NAMESPACE)
    return None if found is None else str(found.decode())


def _key() -> bytes:
    return f"stop-notice-{ray.get_runtime_context().get_job_id()}".encode()
