"""What an expectation holds a count to: 0, "<= 20", "10..50", or "< NAME" for the same count of another variant."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

_COMPARED = re.compile(r"(<=|>=|==|!=|<|>)\s*(.+)")
_RANGE = re.compile(r"(\d+)\s*\.\.\s*(\d+)")
_OPERATORS: dict[str, Callable[[int, int], bool]] = {
    "<=": operator.le, ">=": operator.ge, "==": operator.eq, "!=": operator.ne, "<": operator.lt, ">": operator.gt,
}  # fmt: skip
ALLOWED = 'a number, a comparison ("<= 20", "> 0"), a range ("10..50") or a comparison with a variant ("< NAME")'


@dataclass(frozen=True, slots=True)
class Bound:
    """least..most for a range; otherwise operator and number, or operator and the name of a variant."""

    text: str
    compare: str
    number: int = 0
    most: int = 0
    variant: str | None = None

    def holds(self, actual: int, of_variant: Callable[[str], int]) -> bool:
        """of_variant: the same count in the variant of that name."""
        if self.compare == "..":
            return self.number <= actual <= self.most
        other = self.number if self.variant is None else of_variant(self.variant)
        return _OPERATORS[self.compare](actual, other)


def parse(text: int | str, variants: Iterable[str] = ()) -> Bound:
    """Raises ValueError with what is allowed."""
    if isinstance(text, int):
        return Bound(f"== {text}", "==", text)
    text = text.strip()
    if text.isdigit():
        return Bound(f"== {text}", "==", int(text))
    ranged = _RANGE.fullmatch(text)
    if ranged:
        if int(ranged[1]) > int(ranged[2]):
            raise ValueError(f"{text!r} holds nothing: its first number is above its second")
        return Bound(text, "..", int(ranged[1]), int(ranged[2]))
    compared = _COMPARED.fullmatch(text)
    if compared and compared[2].isdigit():
        return Bound(text, compared[1], int(compared[2]))
    names = list(variants)
    if compared and compared[2] in names:
        return Bound(text, compared[1], variant=compared[2])
    if compared and not re.match(r"\w", compared[2]):
        raise ValueError(f"{text!r} is no bound; allowed: {ALLOWED}")
    if compared:
        known = ", ".join(f'"{name}"' for name in names) or "none: the scenario has no variants"
        raise ValueError(f"{compared[2]!r} is neither a number nor a variant (variants: {known})")
    raise ValueError(f"{text!r} is no bound; allowed: {ALLOWED}")
