"""Pass EC2's spot interruption notice on to Ray.

Runs on each node of `ray_cluster.yaml` beside Ray, with nothing but the standard library::

    python -m cluster.spot_watch

Asks the instance's metadata service (IMDSv2) every few seconds. After a notice it drains this node:
Ray starts nothing new there, and trainings write a checkpoint after each step until it is gone
(`cluster.notice`). On an instance that is no spot instance, and where no service answers, it does
nothing. ``AWS_EC2_METADATA_SERVICE_ENDPOINT`` names another service, as for AWS's own programs.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from datetime import UTC, datetime

_ENDPOINT = "http://169.254.169.254"
_TOKEN_TTL_S = 21_600
_ANSWER_S = 2.0
_SECONDS_BETWEEN_LOOKS = 5.0
# What AWS promises between notice and end; of a notice without a time, that much is assumed.
_NOTICE_S = 120
# So much earlier than EC2 the trainings are to be elsewhere.
_MARGIN_S = 10


@dataclass(frozen=True)
class Interruption:
    """What ``spot/instance-action`` says.

    Parameters
    ----------
    action
        terminate, stop or hibernate.
    seconds_left
        Until then; never negative.
    """

    action: str
    seconds_left: int


def read_interruption(text: str, now: datetime) -> Interruption:
    """Read ``{"action": "terminate", "time": "2026-11-30T18:00:00Z"}``; a strange one counts as one, too."""
    try:
        values = json.loads(text)
        action = str(values["action"])
        left = (datetime.fromisoformat(values["time"]) - now).total_seconds()
    except (ValueError, KeyError, TypeError):
        return Interruption("terminate", _NOTICE_S)
    return Interruption(action, max(0, int(left)))


class MetadataService:
    """An instance's metadata service, version 2."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint.rstrip("/")
        self._token: str | None = None

    def interruption(self) -> Interruption | None:
        """Return the notice that there is.

        Raises
        ------
        OSError
            If the service does not answer.
        """
        try:
            text = self._get("latest/meta-data/spot/instance-action")
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            # A token that has run out.
            self._token = None
            raise
        return read_interruption(text, datetime.now(UTC))

    def _get(self, path: str) -> str:
        if self._token is None:
            ttl = {"X-aws-ec2-metadata-token-ttl-seconds": str(_TOKEN_TTL_S)}
            self._token = self._ask("latest/api/token", "PUT", ttl)
        return self._ask(path, "GET", {"X-aws-ec2-metadata-token": self._token})

    def _ask(self, path: str, method: str, headers: dict[str, str]) -> str:
        request = urllib.request.Request(f"{self._endpoint}/{path}", method=method, headers=headers)
        # Metadata never goes through a proxy.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=_ANSWER_S) as answer:
            text: str = answer.read().decode()
        return text


def drain_command(interruption: Interruption) -> list[str]:
    """Return the command that drains the node it is run on."""
    return [
        "ray",
        "drain-node",
        "--reason=DRAIN_NODE_REASON_PREEMPTION",
        f"--reason-message=EC2 takes the spot instance back ({interruption.action})",
        f"--deadline-remaining-seconds={max(1, interruption.seconds_left - _MARGIN_S)}",
    ]


def watch(service: MetadataService, seconds_between: float = _SECONDS_BETWEEN_LOOKS) -> None:
    """Wait for a notice, then drain this node; a Ray that does not answer is asked again."""
    while True:
        try:
            found = service.interruption()
        except OSError:
            found = None
        if found is not None:
            print(f"spot instance: {found.action} in {found.seconds_left} s", flush=True)
            if subprocess.run(drain_command(found), check=False).returncode == 0:
                return
        time.sleep(seconds_between)


if __name__ == "__main__":
    endpoint = os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", _ENDPOINT)
    watch(MetadataService(endpoint))
