"""What a plugin says about each codec, trainer, dataset, metric and command, without importing it.

Targets are strings `"module:Name"`; `resolve` imports them when they are needed. So listing, help and `info` stay fast
whatever a plugin depends on.
"""

import pkgutil
import re
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

NO_OPTIONS = "codectk.options:NoOptions"

BUILT_IN_COMMANDS = (
    "list",
    "info",
    "train",
    "compress",
    "decompress",
    "truncate",
    "evaluate",
    "bench",
    "demo",
    "import-weights",
    "export",
    "plugins",
    "doctor",
    "new-plugin",
)
"""Words that follow `codectk` and belong to no plugin."""

Portability = Literal["any-machine", "same-machine"]
Direction = Literal["higher", "lower"]


def resolve(target: str) -> Any:
    """The object that a `"module:Name"` string names.

    Raises:
        ImportError, AttributeError: the module or the name does not exist.
    """
    return pkgutil.resolve_name(target)


def normalise(name: str) -> str:
    """The one spelling of a name: `-` and `_` are the same everywhere."""
    return name.replace("-", "_")


@dataclass(frozen=True, kw_only=True)
class Guarantee:
    """A bound that holds for every array that a codec takes: whenever the option is set, the metric is not above it.

    It holds for the finite values; NaN and infinities come back as they were, or `encode` refuses them.

    Attributes:
        option: encode option that holds the bound, for example `"abs_error"`; unset (None) promises nothing.
        metric: name of a registered metric of direction "lower", for example `"max_error"`.
    """

    option: str
    metric: str


@dataclass(frozen=True, kw_only=True)
class CodecSpec:
    """A codec.

    Attributes:
        name: what `-c` takes; also stored in every file that the codec writes.
        summary: one line for `codectk list`.
        target: class that follows `codectk.codec.Codec`.
        kinds: the array kinds it codes, from `codectk.arrays.KINDS`, best first.
        encode_options, decode_options: `codectk.options.Options` models.
        bitstream_version: written into files; it rises whenever the meaning of the bytes changes.
        reads: all bitstream versions that this release still decodes.
        needs_weights: it cannot work without a weights file.
        takes_weights: it can work with or without one; files say which.
        default_weights: weights shipped with the plugin, as `"package:path/inside"`.
        rate_option: the encode option that trades size for quality, if there is one.
        lossless: it returns the input exactly at every setting.
        progressive: the first k segments decode to a coarser result, for every k from 1.
        files: endings of the files whose own content it codes, such as `(".jpg", ".jpeg")`; see `encode_file` and
            `decode_file` of `codectk.codec.FileCodec`. Pictures in other files are coded as arrays.
        portability: whether a file decodes to the same symbols on every machine; claimed only with tests to show it.
        guarantees: bounds that hold for every file.
        importer: function that makes weights of codectk from files of another layout, for `codectk import-weights`. It
            is called as `importer(files, options)` with the paths that the user names, in that order, and with
            `import_options`; it returns a `codectk.checkpoint.Checkpoint` and raises `CodectkError` for files that are
            damaged, hostile or something else. No pickle may be read.
        import_options: `codectk.options.Options` model of the importer's settings.
        exporter: function that makes weights fit for files that open elsewhere from trained ones, for `codectk export`.
            It is called as `exporter(checkpoint, options, device)` with `export_options`, and returns the new
            `codectk.checkpoint.Checkpoint` and a dict of figures, such as what it costs.
        export_options: `codectk.options.Options` model of the exporter's settings.
        picture: function that shows weights, for `codectk info WEIGHTS --picture`. It is called as
            `picture(checkpoint)` and returns (height, width, 4) uint8: red, green, blue and alpha.
        details: function that says what a file of this codec holds, for `codectk info FILE`. It is called as
            `details(header, segments)` with a `codectk.container.Header` and the segments, whose check sums are right
            and whose content may still be hostile. It returns a mapping of values that JSON can hold; one that is a
            mapping itself, or a list of mappings, is shown as a table. Where the file has bounds that hold, the entry
            `bounds` names them by metric, such as `{"max_error": 0.01}`. It must not import torch.
        paper: citation.
        licence: SPDX identifier of the code; weights carry their own.
    """

    kind_of_thing: ClassVar[str] = "codec"

    name: str
    summary: str
    target: str
    kinds: tuple[str, ...]
    encode_options: str = NO_OPTIONS
    decode_options: str = NO_OPTIONS
    bitstream_version: int = 1
    reads: tuple[int, ...] = (1,)
    needs_weights: bool = False
    takes_weights: bool = False
    default_weights: str | None = None
    rate_option: str | None = None
    lossless: bool = False
    progressive: bool = False
    files: tuple[str, ...] = ()
    portability: Portability = "same-machine"
    guarantees: tuple[Guarantee, ...] = ()
    importer: str | None = None
    import_options: str = NO_OPTIONS
    exporter: str | None = None
    export_options: str = NO_OPTIONS
    picture: str | None = None
    details: str | None = None
    paper: str = ""
    licence: str = "Apache-2.0"


@dataclass(frozen=True, kw_only=True)
class TrainerSpec:
    """A trainer.

    Attributes:
        name: what `codectk train` takes. A plugin's only trainer bears the plugin's name; several are dotted.
        summary: one line for `codectk list`.
        target: class that follows `codectk.train.Trainer`.
        options: `codectk.options.Options` model of its settings.
        recipes: folder of YAML files for `--recipe`, as `"package:path/inside"`.
        codec: name of the codec that its export serves, if any.
        importer: function that makes weights such as its export's from files of another layout, for `codectk
            import-weights`; see `CodecSpec`. A codec of the same name is asked first.
        import_options: `codectk.options.Options` model of the importer's settings.
        bench: function that measures how fast the networks that it trains are, for `codectk bench -t NAME`. It is
            called as `bench(options, conditions)` with `bench_options` and `codectk.bench.Conditions`, and returns a
            mapping that JSON can hold, shown as that of `CommandSpec.target` is.
        bench_options: `codectk.options.Options` model of what is measured.
    """

    kind_of_thing: ClassVar[str] = "trainer"

    name: str
    summary: str
    target: str
    options: str = NO_OPTIONS
    recipes: str | None = None
    codec: str | None = None
    importer: str | None = None
    import_options: str = NO_OPTIONS
    bench: str | None = None
    bench_options: str = NO_OPTIONS


@dataclass(frozen=True, kw_only=True)
class DatasetSpec:
    """A dataset.

    Attributes:
        name: what `--data` takes where no folder of that name exists.
        summary: one line for `codectk list`.
        target: class or function that follows `codectk.dataset.Dataset`, called as `target(split)`.
        kinds: the array kinds of its samples.
        splits: what `split` may be.
        licence: terms of the data, in a few words.
    """

    kind_of_thing: ClassVar[str] = "dataset"

    name: str
    summary: str
    target: str
    kinds: tuple[str, ...]
    splits: tuple[str, ...] = ("train", "val")
    licence: str = ""


@dataclass(frozen=True, kw_only=True)
class MetricSpec:
    """A metric.

    Attributes:
        name: column name in results.
        summary: one line for `codectk list`.
        target: class that follows `codectk.metric.Metric`.
        unit: for example `"dB"`; empty for a pure number.
        direction: which way is better.
        kinds: array kinds it accepts; empty for all.
        corpus: it has a value for a set of arrays alone, not for one of them.
        fewest: arrays that such a set must have.
        network: it runs a network: the target takes the keyword `device`, as `codectk.device.pick_device` does, and
            raises `CodectkError` where its weights are not at hand.
    """

    kind_of_thing: ClassVar[str] = "metric"

    name: str
    summary: str
    target: str
    unit: str = ""
    direction: Direction
    kinds: tuple[str, ...] = ()
    corpus: bool = False
    fewest: int = 1
    network: bool = False


@dataclass(frozen=True, kw_only=True)
class CommandSpec:
    """A command of a plugin's own, for what is no training, coding or measuring.

    Attributes:
        name: the plugin's word and the command's, dotted: `mine.merge` is `codectk mine merge`.
        summary: one line for `codectk list`.
        target: function that does the work, called as `target(options)` with `options`. It returns a mapping of what
            was done, whose entries are shown as lines, and as a table where one is a mapping itself or a list of
            mappings; with `--json` all of it as JSON. It raises `CodectkError` for what a user can mend.
        options: `codectk.options.Options` model of its settings, which become flags; a field without a default is a
            flag that must be given.

    Raises:
        ValueError: the name is not two words with a dot between them.
    """

    kind_of_thing: ClassVar[str] = "command"

    name: str
    summary: str
    target: str
    options: str = NO_OPTIONS

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z][\w-]*\.[A-Za-z][\w-]*", self.name):
            raise ValueError(f"command name {self.name!r} is not two words with a dot, such as mine.merge")

    @property
    def word(self) -> str:
        """What follows `codectk`: the plugin's word."""
        return self.name.partition(".")[0]
