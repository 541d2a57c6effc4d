"""What is noticed about data: one line to read, with what a list of files to leave out and a report need."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

Severity = Literal["error", "warning", "note"]


class Finding(str):
    """A line about data that also knows how grave it is, what it names, and what to do.

    It is its own text, so it can be said, joined and searched like any other note.

    Args:
        text: the line.
        kind: what was found, in one word: `unreadable`, `leak`, `copies`, `labels`, …
        severity: `error` where scores or labels will be wrong until something is done, `warning` where they may be,
            `note` for what is only to be known.
        names: all files or rows that it is about; the line itself names a few.
        remedy: what to do.
        leave_out: what a list of files to leave out gets.
    """

    kind: str
    severity: Severity
    names: tuple[str, ...]
    remedy: str
    leave_out: tuple[str, ...]

    def __new__(
        cls,
        text: str,
        *,
        kind: str,
        severity: Severity = "warning",
        names: Sequence[str] = (),
        remedy: str = "",
        leave_out: Sequence[str] = (),
    ) -> Finding:
        """A line with what it knows."""
        finding = super().__new__(cls, text)
        finding.kind, finding.severity, finding.remedy = kind, severity, remedy
        finding.names, finding.leave_out = tuple(names), tuple(leave_out)
        return finding

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values."""
        return {
            "severity": self.severity,
            "kind": self.kind,
            "text": str(self),
            "remedy": self.remedy,
            "count": len(self.names),
            "names": list(self.names),
        }
