"""Every error that a user can meet: what is wrong, then what to do next."""

from contextlib import suppress


def one_line(error: BaseException) -> str:
    """Type and message of any error in one line, also of one whose own text raises another."""
    message = ""
    with suppress(Exception):
        message = str(error)
    return f"{type(error).__name__}: {message}".strip().rstrip(":").splitlines()[0]


class CodectkError(Exception):
    """Base of all errors that codectk raises on purpose.

    Args:
        problem: one sentence that names the file, option or plugin and says what is wrong with it.
        next_step: one sentence that says what the user can do about it.
    """

    def __init__(self, problem: str, next_step: str) -> None:
        super().__init__(problem, next_step)
        self.problem = problem
        self.next_step = next_step

    def __str__(self) -> str:
        return f"{self.problem} {self.next_step}"


class UnknownName(CodectkError):
    """No codec, trainer, dataset, metric, command or recipe has that name, or two plugins claim it."""


class OptionsError(CodectkError):
    """An option is unknown, out of range, of the wrong type, or impossible on this machine."""


class InputError(CodectkError):
    """An input file is missing, unreadable, damaged, or of a kind that the codec does not take."""


class OutputError(CodectkError):
    """An output file exists already or cannot be written."""


class ContainerError(CodectkError):
    """A `.ctk` file is damaged, cut, hostile, or newer than this program."""


class WeightsError(CodectkError):
    """A weights file is missing, damaged, or belongs to another codec."""


class WeightsMismatch(WeightsError):
    """A `.ctk` file was made with other weights than those at hand."""


class DesyncError(CodectkError):
    """The decoded symbols are not those that were encoded: the picture would be noise."""


class PluginError(CodectkError):
    """A plugin breaks the contract or cannot be imported."""


class TrainingDiverged(CodectkError):
    """The loss is no longer a finite number."""


class TrainingStopped(CodectkError):
    """Training was interrupted; its state is saved.

    Attributes:
        signal_number: the signal that asked for the stop.
    """

    def __init__(self, problem: str, next_step: str, signal_number: int) -> None:
        super().__init__(problem, next_step)
        self.args = (problem, next_step, signal_number)
        self.signal_number = signal_number
