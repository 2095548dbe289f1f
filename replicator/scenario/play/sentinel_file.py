"""sentinel.conf as a stage makes it for a Sentinel's first start; what the Sentinel makes of it stays."""

from __future__ import annotations

from replicator.scenario.play.stage import StartNode

NAME = "sentinel.conf"


def text_of(request: StartNode) -> str:
    """The file's text: each directive a line."""
    lines = []
    for name, arguments in request.directives:
        lines.append(" ".join((name, *(_word(one) for one in arguments))))
    return "\n".join(lines) + "\n"


def _word(text: str) -> str:
    plain = text and all(0x20 < ord(char) < 0x7F and char not in "\"'\\#" for char in text)
    return text if plain else '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
