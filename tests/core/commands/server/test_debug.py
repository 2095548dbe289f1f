"""DEBUG: what testers turn."""

from __future__ import annotations

from tests.support.nodes import LocalNode


def test_while_the_cron_is_paused_idle_clients_stay_and_then_they_go() -> None:
    node = LocalNode("--enable-debug-command", "yes", "--timeout", "2")
    tester, idle = node.open(), node.open()
    assert tester.send("DEBUG", "PAUSE-CRON", "1") == b"OK"
    for _ in range(5):
        node.advance(1000)
        assert tester.send("PING") == b"PONG"
    assert not idle.closed
    assert tester.send("DEBUG", "PAUSE-CRON", "0") == b"OK"
    node.advance(1000)
    assert idle.closed
