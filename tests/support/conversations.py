"""Conversations whose every byte is the same on every server: sessions, transactions, subscriptions, waiting, ends."""

from __future__ import annotations

from tests.support.conversations_connections import CONNECTIONS, FRAMES, UNAUTHENTICATED
from tests.support.conversations_transactions import TRANSACTIONS
from tests.support.conversations_waiting import LIMITS, SUBSCRIPTIONS, WAITING

__all__ = ("CONNECTIONS", "FRAMES", "LIMITS", "SUBSCRIPTIONS", "TRANSACTIONS", "UNAUTHENTICATED", "WAITING")
