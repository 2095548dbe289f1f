"""What OpenSSL can be told and Python's ssl has no name for: the cipher suites of TLS 1.3 and the session cache.

An SSLContext of CPython begins, behind its object header, with the pointer to its SSL_CTX (since Python 3.2). The same
library that the module _ssl calls is found through _ssl itself. Where either is not so (another interpreter, a Python
with a hidden OpenSSL inside), `reachable` is False, and what needs it is refused instead of being passed over.

Source: the manual pages SSL_CTX_set_ciphersuites(3), SSL_CTX_set_session_cache_mode(3), SSL_CTX_sess_set_cache_size(3),
SSL_CTX_set_timeout(3) and the constants of openssl/ssl.h.
"""

from __future__ import annotations

import _ssl
import ctypes
import ssl
import sys
from functools import cache
from typing import Any, Final

_SET_SESSION_CACHE_SIZE: Final = 42  # SSL_CTRL_SET_SESS_CACHE_SIZE
_SET_SESSION_CACHE_MODE: Final = 44  # SSL_CTRL_SET_SESS_CACHE_MODE
_CACHE_OFF: Final = 0x0000
_CACHE_SERVER: Final = 0x0002


@cache
def _library() -> Any:
    """The functions, typed; None where they cannot be reached."""
    path = getattr(_ssl, "__file__", None)
    if sys.implementation.name != "cpython" or path is None:
        return None
    library = ctypes.CDLL(path)
    try:
        library.SSL_CTX_set_ciphersuites.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
        library.SSL_CTX_set_ciphersuites.restype = ctypes.c_int
        library.SSL_CTX_ctrl.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_void_p]
        library.SSL_CTX_ctrl.restype = ctypes.c_long
        library.SSL_CTX_set_timeout.argtypes = [ctypes.c_void_p, ctypes.c_long]
        library.SSL_CTX_set_timeout.restype = ctypes.c_long
    except AttributeError:
        return None
    return library


def reachable() -> bool:
    """Whether the functions below do anything."""
    return _library() is not None


def _pointer(context: ssl.SSLContext) -> ctypes.c_void_p:
    return ctypes.c_void_p.from_address(id(context) + object.__basicsize__)


def set_ciphersuites(context: ssl.SSLContext, names: str) -> bool:
    """The suites of TLS 1.3, as "TLS_AES_128_GCM_SHA256:..."; whether they were understood."""
    library = _library()
    if library is None:
        return False
    return bool(library.SSL_CTX_set_ciphersuites(_pointer(context), names.encode()) == 1)


def set_session_cache(context: ssl.SSLContext, *, enabled: bool, size: int, timeout_s: int) -> None:
    """Whether a server remembers sessions, how many, and how long one may be resumed; size 0 has no bound."""
    library = _library()
    if library is None:
        return
    pointer = _pointer(context)
    mode = _CACHE_SERVER if enabled else _CACHE_OFF
    library.SSL_CTX_ctrl(pointer, _SET_SESSION_CACHE_MODE, mode, None)
    if enabled:
        library.SSL_CTX_ctrl(pointer, _SET_SESSION_CACHE_SIZE, size, None)
        library.SSL_CTX_set_timeout(pointer, timeout_s)
