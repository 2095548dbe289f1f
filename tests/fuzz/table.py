"""All targets by name."""

from __future__ import annotations

from tests.fuzz import beside, commands, decoders, peers, scripts
from tests.fuzz.target import Target

TARGETS: dict[str, Target] = {
    **{name: decoders.target(decoder) for name, decoder in decoders.DECODERS.items()},
    **commands.TARGETS,
    **scripts.TARGETS,
    **peers.TARGETS,
    **beside.TARGETS,
}
