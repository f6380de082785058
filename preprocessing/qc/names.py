"""What a patient's files are called: safe on every file system, whatever the id is."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence

_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,79}")
_LOOKS_MADE = re.compile(r".*-[0-9a-f]{16}")
# Names of devices on Windows, whatever their suffix.
_RESERVED = re.compile(r"con|prn|aux|nul|com\d|lpt\d", re.IGNORECASE)


def file_names(patient_ids: Sequence[str]) -> tuple[str, ...]:
    """Return a file name without suffix for each patient; no two differ by case only.

    An id that is a safe name is its own file name. Any other gets the letters and digits it has,
    and a digest of the whole id.
    """
    folded = Counter(patient_id.casefold() for patient_id in patient_ids)
    return tuple(p if _is_name(p) and folded[p.casefold()] == 1 else _made(p) for p in patient_ids)


def _is_name(patient_id: str) -> bool:
    return (
        _SAFE.fullmatch(patient_id) is not None
        and _RESERVED.fullmatch(patient_id) is None
        and _LOOKS_MADE.fullmatch(patient_id) is None
    )


def _made(patient_id: str) -> str:
    words = re.sub(r"[^A-Za-z0-9]+", "-", patient_id).strip("-")[:40] or "patient"
    # Ids may hold what UTF-8 cannot, such as the halves of a badly decoded letter.
    digest = hashlib.sha256(patient_id.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{words}-{digest}"
