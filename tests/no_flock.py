"""A process whose system has no `flock`, as on Lustre without ``-o flock``: the kernel itself refuses the call."""

from __future__ import annotations

import ctypes
import os
import struct

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _MODE_FILTER = 38, 22, 2
_LOAD_WORD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_FLOCK = {"x86_64": 73, "aarch64": 32}


def deny_flock(number: int) -> None:
    """Answer `flock` with an error number from now on, in this process and all that it begins."""
    steps = [
        (_LOAD_WORD, 0, 0, 0),  # the system call's number
        (_JUMP_IF_EQUAL, 0, 1, _FLOCK[os.uname().machine]),
        (_RETURN, 0, 0, _ERRNO | number),
        (_RETURN, 0, 0, _ALLOW),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    program = ctypes.create_string_buffer(
        struct.pack("HxxxxxxQ", len(steps), ctypes.addressof(code))
    )
    system = ctypes.CDLL(None, use_errno=True)
    for words in ((_PR_SET_NO_NEW_PRIVS, 1, 0), (_PR_SET_SECCOMP, _MODE_FILTER, program)):
        if system.prctl(*words, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "the kernel takes no filter")
