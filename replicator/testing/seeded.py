"""Sentinels that know each other and all replicas from their first line on: what they would find out within seconds is
in their files already, so that a test need not wait for it."""

from __future__ import annotations

import hashlib

from replicator.scenario.play.watchers import NAME, Watchers

Directive = tuple[str, tuple[str, ...]]


class Seeded(Watchers):
    """See above."""

    def directives(self, name: str) -> tuple[Directive, ...]:
        """The lines of a Sentinel's file."""
        player = self.player
        lines: list[Directive] = [("sentinel", ("myid", _id(name))), *super().directives(name)]
        for node, upstream in player.upstream.items():
            if upstream is not None:
                host, port = player.stage.address(node)
                lines.append(("sentinel", ("known-replica", NAME, host, str(port))))
        for other in self.names:
            if other != name:
                host, port = player.stage.address(other)
                lines.append(("sentinel", ("known-sentinel", NAME, host, str(port), _id(other))))
        return tuple(lines)


def _id(name: str) -> str:
    return hashlib.sha1(name.encode()).hexdigest()
