"""The types of values."""

from __future__ import annotations

from enum import Enum


class Kind(Enum):
    """The types with the names that TYPE gives them."""

    STRING = "string"
    LIST = "list"
    SET = "set"
    SORTED_SET = "zset"
    HASH = "hash"
    STREAM = "stream"
