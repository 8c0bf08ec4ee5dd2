"""A good command, and one with a fault."""

from pathlib import Path
from typing import Any

from codectk.options import Options, option


class CountOptions(Options):
    """What to count up to, and where from."""

    source: Path = option(help="File to count in.")
    count: int = option(3, ge=0, help="Number to count to.")


class GoodCommand:
    """Says how far it counted."""

    def __new__(cls, options: CountOptions) -> Any:
        return {"counted": options.count}


class StandsBehindABuiltInWord(GoodCommand):
    """Would be `codectk evaluate …`."""
