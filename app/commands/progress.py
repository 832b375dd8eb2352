"""How far a long command is, on standard error."""

from typing import TextIO

_WIDTH = 30


class Bar:
    """One line that is written over on a terminal; elsewhere a line for every tenth."""

    def __init__(self, out: TextIO, doing: str) -> None:
        self._out = out
        self._doing = doing
        self._terminal = out.isatty()
        self._told = -1

    def tell(self, share: float, phase: str) -> None:
        """share: done so far, from 0 to 1."""
        now = int(share * (100 if self._terminal else 10))
        if now <= self._told:
            return
        self._told = now
        if self._terminal:
            filled = "#" * int(share * _WIDTH)
            self._out.write(f"\r[{filled:<{_WIDTH}}] {now:3} % {phase:<40.40}")
        else:
            self._out.write(f"{self._doing}: {now * 10} % ({phase})\n")
        self._out.flush()

    def end(self) -> None:
        """Leave the line."""
        if self._terminal and self._told >= 0:
            self._out.write("\n")
