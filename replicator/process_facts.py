"""What a server and a Sentinel alike tell of their process, and how they take the directives tls-*."""

from __future__ import annotations

import resource
from dataclasses import fields

from replicator.core.config.config import Config
from replicator.runtime.tls.context import TlsSettings

# The directives tls-* that make contexts, as TlsSettings spells them.
TLS_NAMES = tuple(field.name for field in fields(TlsSettings) if field.name != "wanted")


def tls_settings(config: Config) -> TlsSettings:
    """The directives tls-* as the runtime takes them."""
    values = {name: config[f"tls-{name.replace('_', '-')}"] for name in TLS_NAMES}
    return TlsSettings(wanted=bool(config["tls-port"] or config["tls-replication"] or config["tls-cluster"]), **values)


def cpu_seconds() -> tuple[float, float, float, float]:
    """What this process and its children have used: system, user, children's system, children's user."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_stime, own.ru_utime, children.ru_stime, children.ru_utime
