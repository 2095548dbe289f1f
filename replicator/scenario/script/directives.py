"""What a scenario file sets in its nodes' configuration, held against the table of directives."""

from __future__ import annotations

import difflib

from replicator.core.config.config import SPECS
from replicator.core.config.kinds import ConfigError
from replicator.scenario.script.script import Scalar, Script, shown

# Where the processes listen, what they are called and where their files lie is the stage's affair.
OF_THE_STAGE = (
    "port", "bind", "dir", "daemonize", "logfile", "pidfile", "unixsocket", "supervised", "replicaof", "tls-port",
)  # fmt: skip


def problem(name: str, value: Scalar, *, running: bool = False) -> str:
    """Why a directive cannot have the value, "" if it can. running: it is set in a node that runs.

    Source: the table of core/config, which holds what Redis 7.0.15 refuses.
    """
    spec = SPECS.get(name)
    if spec is None:
        near = difflib.get_close_matches(name, SPECS, n=1, cutoff=0.6)
        return "there is no such directive" + (f'; did you mean "{near[0]}"?' if near else "")
    if spec.name in OF_THE_STAGE:
        return "is set by the stage and cannot be given"
    if running and spec.immutable:
        return "cannot be changed in a running node"
    text = shown(value)
    words = text.split(" ") if spec.kind.several else [text]
    try:
        spec.kind.parse(words, spec.default)
    except ConfigError as refused:
        return f"{text!r} is refused: {refused}"
    return ""


def without_effect(script: Script) -> list[str]:
    """The directives of the script that do nothing in our nodes, in their order."""
    configs = [script.config, *(plan.config for plan in script.nodes.values())]
    configs += [step.config.set for step in script.steps if step.config is not None]
    names = [name for config in configs for name in config]
    return [name for name in dict.fromkeys(names) if not SPECS[name].effect]
