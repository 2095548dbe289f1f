"""The errors of TLS as OpenSSL prints them, which is how stock servers log them.

    error:0A000086:SSL routines::certificate verify failed

The eight digits pack the library's number and the reason's. Behind it, where there is one, stands in brackets what
exactly is wrong with a certificate.
"""

from __future__ import annotations

import re
import ssl
from typing import Final

from replicator.runtime.tls.reasons import CODES

_LIBRARIES: Final = {"SSL": "SSL routines", "X509": "x509 certificate routines", "PEM": "PEM routines"}
_PLAIN: Final = re.compile(r"^(?:\[[^\]]*\] ?)?(.*?)(?: \(_ssl\.c:\d+\))?$", re.DOTALL)
UNEXPECTED_END: Final = "error:0A000126:SSL routines::unexpected eof while reading"


class Broken(OSError):
    """A connection whose TLS failed. Without an errno: its text is the reason."""


def text_of(error: OSError) -> str:
    """One line for the log."""
    if not isinstance(error, ssl.SSLError):
        number = error.errno or 0
        return f"error:{0x80000000 | number:08X}:system library::{error.strerror or error}"
    if isinstance(error, ssl.SSLEOFError):
        return UNEXPECTED_END
    library, reason = error.library or "SSL", error.reason or ""
    match = _PLAIN.match(str(error.args[-1]) if error.args else "")
    assert match is not None
    message = reason.replace("_", " ").lower() if reason else match[1].strip().rstrip(".")
    code = f"{CODES.get(reason, error.errno or 0):08X}"
    detail = ""
    if isinstance(error, ssl.SSLCertVerificationError) and error.verify_message:
        detail = f" ({error.verify_message})"
    return f"error:{code}:{_LIBRARIES.get(library, library + ' routines')}::{message}{detail}"
