"""Importing this module fills the registry: every family of commands, in one list."""

from __future__ import annotations

from replicator.core.commands import (
    strings,
)

FAMILIES = (strings,)
