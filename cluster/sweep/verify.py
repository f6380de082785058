"""Verify the files of a sweep."""

from __future__ import annotations

from cluster.sweep.folder import SweepFolder, read_state
from preprocessing.common.errors import RadiotrainError


def check_sweep(url: str) -> list[str]:
    """Return what is wrong with a sweep's folder, a sentence each; its runs are checked elsewhere."""
    folder = SweepFolder(url)
    problems = []
    for read in (folder.read_sweep, folder.read_suggestions, folder.read_timeline):
        try:
            read()
        except RadiotrainError as error:
            problems.append(str(error))
    if problems:
        return problems
    try:
        plans = folder.read_plans(folder.read_sweep())
    except RadiotrainError as error:
        return [str(error)]
    for plan in plans:
        try:
            read_state(plan)
        except RadiotrainError as error:
            problems.append(str(error))
    return problems
