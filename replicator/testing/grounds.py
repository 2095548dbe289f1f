"""Where a test's nodes stand: processes behind the forwarder, as in a live play, and a front door before the primary.

The front door is one address that leads to whoever is the primary: what a proxy or a virtual address does in
production. When another node is promoted, connections through the door to the old one are reset. All strangers are one
party, "clients", so that a rule between clients and nodes holds for any program that a test starts.
"""

from __future__ import annotations

import socket
from random import Random

import trio

from replicator.scenario.play.player import Player
from replicator.scenario.play.stage import Request
from replicator.scenario.stages.forwarder import Forwarder
from replicator.scenario.stages.processes import ProcessStage
from replicator.testing.ward import CLIENTS

_DOOR = 99  # its number among the clients' addresses, behind all that may be used


class Grounds(ProcessStage):
    """token: wakes the loop from other threads, once it runs."""

    token: trio.lowlevel.TrioToken | None = None

    def play(self, player: Player) -> None:
        """Carry a player; returns when it has finished."""
        self.forwarder = Forwarder(lambda address: self._party.get(address, CLIENTS), Random(self.seed))
        self._through: dict[tuple[str, int], tuple[str, trio.SocketStream]] = {}
        self._leads_to = ""
        self._door = socket.socket()
        self._door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._door.bind(self.door)
        self._door.listen(512)
        self._door.setblocking(False)
        try:
            super().play(player)
        finally:
            self._door.close()

    @property
    def door(self) -> tuple[str, int]:
        """The address that leads to the primary."""
        return self.block.client(_DOOR), self.port

    def wake(self) -> None:
        """From any thread: look at the player again."""
        if self.token is not None:
            try:
                self.token.run_sync_soon(lambda: self._poke.set())
            except trio.RunFinishedError:
                pass  # the play has ended meanwhile

    def asked(self, sock: socket.socket) -> str:
        """The node that a client's connection leads to; "" if that is not known (any more)."""
        try:
            near, far = sock.getsockname()[:2], sock.getpeername()[:2]
        except OSError:
            return ""
        if far == self.door:
            return self._through.get(near, ("", None))[0]
        return next((node for node in self._nodes if self.address(node) == far), "")

    def _met_at(self) -> list[str]:
        return [*super()._met_at(), self.door[0]]

    def tls_file(self, name: str) -> str:
        """The path of a file of this run's papers."""
        return str(self._folder / "tls" / name)

    def pid(self, node: str) -> int | None:
        """The process id of a node that was started."""
        process = self._processes.get(node)
        return None if process is None or process.returncode is not None else process.pid

    def _carry_out(self, requests: list[Request]) -> None:
        if self.token is None:
            self.token = trio.lowlevel.current_trio_token()
            self._nursery.start_soon(self._serve_door)
        super()._carry_out(requests)
        primary = self._player.directory.primary
        if primary != self._leads_to:
            self._leads_to = primary
            for connection in list(self.forwarder.connections()):
                if connection.near in self._behind_door() and connection.callee != primary:
                    connection.reset()

    def _behind_door(self) -> list[trio.SocketStream]:
        return [stream for _, stream in self._through.values()]

    async def _serve_door(self) -> None:
        accepting = trio.SocketListener(trio.socket.from_stdlib_socket(self._door))
        while True:
            try:
                stream = await accepting.accept()
            except OSError:
                continue  # the caller gave up before it was accepted
            self._nursery.start_soon(self._lead, stream)

    async def _lead(self, stream: trio.SocketStream) -> None:
        node = self._player.directory.primary
        try:
            caller = stream.socket.getpeername()[:2]
        except OSError:
            stream.socket.close()
            return
        self._through[caller] = (node, stream)
        try:
            await self.forwarder.carry(stream, node, (self.block.private(self._nodes.index(node)), self.port))
        finally:
            # Kept while a client may still ask where its last answer came from, until the address is used again.
            if len(self._through) > 4096:
                self._through = {key: value for key, value in self._through.items() if value[1] is not stream}
