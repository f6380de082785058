"""Try whether Ray starts on this machine."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time

from radiotrain.doctor.facts import RayFacts

_TIMEOUT_S = 120


def try_start() -> RayFacts:
    """Start a Ray that asks for a token, let it do a task, end it; in a process of its own."""
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    environment = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"} | token
    try:
        done = subprocess.run(
            [sys.executable, "-m", "cluster.doctor.start"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return RayFacts(None, f"no answer in {_TIMEOUT_S} s")
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["it ended without a word"]
        return RayFacts(None, said[-1][:300])
    return RayFacts(float(json.loads(done.stdout.splitlines()[-1])))


def main() -> None:
    """Start, ask, end, and print how long the first two took."""
    begin = time.monotonic()
    import ray
    from ray._private.authentication.authentication_utils import is_token_auth_enabled

    from cluster.session import start_local

    start_local(num_cpus=1)
    if not ray.get(ray.remote(is_token_auth_enabled).remote()):
        raise SystemExit("it does not ask for its token")
    print(json.dumps(time.monotonic() - begin))
    ray.shutdown()


if __name__ == "__main__":
    main()
