"""Scripts cannot wait."""

from __future__ import annotations

import pytest

from tests.support.harness import Harness


@pytest.mark.parametrize(
    "call",
    [
        "redis.call('xread', 'BLOCK', '0', 'STREAMS', 's', '$')",
        "redis.call('XREADGROUP', 'GROUP', 'g', 'c', 'BLOCK', '0', 'STREAMS', 's', '>')",
    ],
)
def test_a_script_may_not_read_a_stream_with_block(call: str) -> None:
    node = Harness()
    node.call("XGROUP", "CREATE", "s", "g", "$", "MKSTREAM")
    answer = str(node.call("EVAL", f"return {call}", 1, "s"))
    assert "command is not allowed with BLOCK option from scripts" in answer
