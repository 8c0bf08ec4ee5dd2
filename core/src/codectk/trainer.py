"""What a trainer is, and what of it survives an interruption."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from codectk.checkpoint import Checkpoint
    from codectk.train import Run


class Trainer(Protocol):
    """Trains one method. Derive from nothing; a class with these methods is a trainer."""

    def __init__(self, options: Any, run: "Run") -> None:
        """Check options and data; build nothing large yet."""
        ...

    def train(self) -> None:
        """Carry out the plan, written in terms of `run`."""
        ...

    def export(self) -> "Checkpoint":
        """Weights as `compress -w` reads them."""
        ...


class Describes(Protocol):
    """A trainer that can tell what it would train, for `--dry-run`."""

    def describe(self) -> Iterable[str]:
        """Build all that training needs, models and data too, and tell of it in lines; write nothing."""
        ...


class Stateful(Protocol):
    """Anything whose state can be saved: modules, optimizers, a trainer's own record."""

    def state_dict(self) -> dict[str, Any]:
        """Nested dicts, lists and tuples of tensors, numbers, strings and None."""
        ...

    def load_state_dict(self, state: dict[str, Any], /) -> Any:
        """Take on a state."""
        ...
