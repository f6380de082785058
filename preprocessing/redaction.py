"""Names and passwords in addresses: found, and left out of what is shown."""

from __future__ import annotations

import re

# What stands between the scheme and the last @ before the path, as in https://name:word@host/.
_USER = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)[^/\s?#]*@")


def has_credentials(text: str) -> bool:
    """Tell whether a text holds an address with a name, password or token in it."""
    return _USER.search(text) is not None


def without_credentials(text: str) -> str:
    """Return a text whose addresses have ``…`` instead of names and passwords."""
    return _USER.sub(r"\g<scheme>…@", text)
