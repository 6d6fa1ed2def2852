"""What a trouble tried, and what of ours it broke."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Found:
    tried: str
    broken: list[str] = field(default_factory=list)
    counts: dict[str, float] = field(default_factory=dict)
