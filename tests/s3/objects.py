"""What lies in a bucket, and the crop of all that is preprocessed there."""

from __future__ import annotations

from typing import Any

CROP = ("--crop-shape", 24, 24, 12)


def objects(bucket: Any, url: str) -> dict[str, bytes]:
    """Return all objects below a URL, by name relative to it."""
    root = url.removeprefix("s3://")
    found = bucket.find(root)
    return {k[len(root) + 1 :]: v for k, v in bucket.cat(found).items()} if found else {}
