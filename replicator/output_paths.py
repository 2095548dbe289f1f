"""What commands that play share: whether what they are to write at their end can be written (better told before the
play than after it), and how SIGTERM ends them."""

from __future__ import annotations

import os
import signal
from pathlib import Path


def as_interrupt(number: int, frame: object) -> None:
    """SIGTERM ends a play like Ctrl-C: nodes are ended, folders removed."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        raise KeyboardInterrupt
    signal.raise_signal(signal.SIGINT)


def unwritable(file: Path) -> str:
    """Why no such file can be written, "" where it can."""
    if file.is_dir():
        return f"{file}: cannot be written: it is a folder"
    if not file.parent.is_dir():
        return f"{file}: cannot be written: there is no folder {file.parent}"
    if not os.access(file if file.exists() else file.parent, os.W_OK):
        return f"{file}: cannot be written: permission denied"
    return ""


def unusable(folder: Path) -> str:
    """Why nothing can be written into a folder (which need not exist yet), "" where it can."""
    above = folder
    while not above.exists() and above != above.parent:
        above = above.parent
    if not above.is_dir():
        return f"{folder}: cannot be written: {above} is no folder"
    made: list[Path] = []
    try:
        for one in reversed([folder, *folder.parents]):
            if not one.exists():
                one.mkdir()
                made.append(one)
        return "" if os.access(folder, os.W_OK) else f"{folder}: cannot be written: permission denied"
    except OSError as problem:
        return f"{folder}: cannot be written: {problem.strerror}"
    finally:
        for one in reversed(made):
            one.rmdir()
