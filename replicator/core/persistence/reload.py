"""DEBUG RELOAD: the data goes through a snapshot and back, in memory."""

from __future__ import annotations

from replicator.core.effects import Level
from replicator.core.keyspace.database import Keyspace
from replicator.core.persistence.loads import Loads
from replicator.core.persistence.rdb import KeyspaceLoader
from replicator.core.persistence.snapshots import Snapshots
from replicator.core.replication.outgoing import Outgoing
from replicator.core.replication.replica import Replica
from replicator.core.turn import Turn
from replicator.core.wire.rdb import RdbError, RdbReader


class Reload:
    """See the module."""

    def __init__(
        self, turn: Turn, keyspace: Keyspace, outgoing: Outgoing, replica: Replica, snapshots: Snapshots, loads: Loads
    ) -> None:
        self.turn = turn
        self.keyspace = keyspace
        self.outgoing = outgoing
        self.replica = replica
        self.snapshots = snapshots
        self.loads = loads

    def reload(self, *, save: bool) -> None:
        """Raises RdbError."""
        if not save:
            raise RdbError("nothing was saved in this process to load from", 0)
        data = b"".join(chunk if isinstance(chunk, bytes) else chunk[0] for chunk in self.snapshots.chunks())
        keyspace = Keyspace(len(self.keyspace.databases))
        keyspace.now_ms = self.turn.now.unix_ms
        loader = KeyspaceLoader(keyspace, keep_expired=self.replica.active)
        reader = RdbReader(loader, check_crc=not self.loads.skip_checksum)
        reader.feed(data)
        reader.close()
        self.keyspace.adopt(keyspace)
        self.snapshots.evictor.adopt_uses(loader.uses)
        delete = self.keyspace.delete_name
        self.keyspace.recorded += [(index, [delete, key]) for index, key in loader.dropped]
        self.outgoing.commit(together=False)
        self.turn.log(Level.WARNING, "DB reloaded by DEBUG RELOAD")
