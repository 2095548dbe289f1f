"""Conversations whose every byte is the same on every server: sessions, transactions, subscriptions, waiting, ends."""

from __future__ import annotations

from tests.core.conversations_connections import CONNECTIONS, FRAMES, UNAUTHENTICATED
from tests.core.conversations_transactions import TRANSACTIONS
from tests.core.conversations_waiting import LIMITS, SUBSCRIPTIONS, WAITING

__all__ = ("CONNECTIONS", "FRAMES", "LIMITS", "SUBSCRIPTIONS", "TRANSACTIONS", "UNAUTHENTICATED", "WAITING")
