"""Measure this machine."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from preprocessing.processes import machine
from preprocessing.storage import files
from radiotrain.data.storage import SHARED_MEMORY
from radiotrain.doctor import measure
from radiotrain.doctor.facts import FolderFacts, MachineFacts, RayFacts


def examine(
    folder: str, say: Callable[[str], None], start_ray: Callable[[], RayFacts] | None
) -> MachineFacts:
    """Measure this machine.

    Parameters
    ----------
    folder
        Where stores and runs are to lie. A file is written there and removed.
    say
        Told what is being done.
    start_ray
        Starts a Ray and ends it; None where that is not to be tried.
    """
    url = files.absolute(folder)
    temporary = tempfile.gettempdir()
    say("looking at packages, PyTorch and GPUs")
    python, packages = measure.python(), measure.packages()
    torch, driver = measure.torch_build(), measure.driver()
    say(f"writing to {url}")
    place = measure.folder(url)
    s3 = measure.s3(url)
    if start_ray is not None:
        say("starting a Ray")
    return MachineFacts(
        python=python,
        packages=packages,
        torch=torch,
        driver=driver,
        cores=machine.cpus(),
        memory_gb=machine.memory().total / 1e9,
        shared_memory_gb=measure.free_gb(SHARED_MEMORY),
        temporary=FolderFacts(temporary, measure.free_gb(Path(temporary))),
        folder=place,
        open_files=measure.open_files(),
        clock=measure.clock(),
        ports=measure.ports(),
        s3=s3,
        ray=start_ray() if start_ray is not None else None,
        # Ray itself makes one where there is none, so that it is looked at last.
        token=measure.token(),
    )
