"""By which names a page of this machine may be asked for.

A web page from elsewhere can make its own host's name point to this machine (DNS rebinding), and a browser then
lets it read what a dashboard here answers. Its requests carry that name in their Host header.
"""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import urlsplit


def is_own_host(header: str | None, *names: str) -> bool:
    """Tell whether a request's Host header is an address, localhost, or a name of this machine.

    Parameters
    ----------
    header
        Such as ``localhost:6006``.
    names
        Other names that this machine is reached by.
    """
    try:
        host = urlsplit(f"//{header or ''}").hostname or ""
    except ValueError:
        return False
    if _is_address(host):
        return True  # no name server has a say in it
    own = socket.gethostname().lower()
    return host in {"localhost", own, own.partition(".")[0], *(n.lower() for n in names)}


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
