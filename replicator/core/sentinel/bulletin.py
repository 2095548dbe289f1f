"""What happens, told once: to the log, to subscribers of a channel of the event's name, to the notification script.

The names and texts are stock's ("+sdown master mymaster 127.0.0.1 6379"), because tools grep for them.

Source: https://redis.io/docs/latest/operate/oss_and_stack/management/sentinel/#pubsub-messages
"""

from __future__ import annotations

from collections.abc import Callable

from replicator.core.effects import Level
from replicator.core.sentinel.belief import Address, Instance, Primary
from replicator.core.turn import Turn

WARNING, NOTICE, VERBOSE, DEBUG = Level.WARNING, Level.NOTICE, Level.VERBOSE, Level.DEBUG


class Bulletin:
    """Where events are told.

    publish: sends a message to the subscribers of a channel. notify: asks for the notification script of a primary.
    shown: the host of an address as it is shown to others (announce-hostnames).
    """

    def __init__(
        self,
        turn: Turn,
        *,
        publish: Callable[[bytes, bytes], object],
        notify: Callable[[Primary, str, str], None],
        shown: Callable[[Address], str],
    ) -> None:
        self._turn = turn
        self._publish = publish
        self._notify = notify
        self.shown = shown

    def named(self, instance: Instance) -> str:
        """An instance as events show it: its kind, name and address, and behind @ those of its primary."""
        own = f"{instance.kind} {instance.name} {self.shown(instance.address)} {instance.address.port}"
        if isinstance(instance, Primary):
            return own
        primary = instance.owner
        return f"{own} @ {primary.name} {self.shown(primary.address)} {primary.address.port}"

    def say(self, level: Level, event: str, message: str, about: Instance | None = None) -> None:
        """An event with this very message. about: whose primary's notification script is to be told."""
        self._turn.log(level, f"{event} {message}")
        if level is DEBUG:
            return
        self._turn.announce(f"sentinel.{event}", ("text", message))
        self._publish(event.encode(), message.encode("utf-8", "surrogateescape"))
        if level is WARNING and about is not None and about.owner.notification_script:
            self._notify(about.owner, event, message)

    def tell(self, level: Level, event: str, about: Instance, text: str = "") -> None:
        """An event that names the instance it is about."""
        self.say(level, event, f"{self.named(about)}{f' {text}' if text else ''}", about)
