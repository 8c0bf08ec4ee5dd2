# --8<-- [start:encode]
"""Options: each becomes a flag, a key of recipes, and a record in runs and weights."""

from codectk.options import Options, option


class EncodeOptions(Options):
    """How a picture is written."""

    quality: int = option(50, ge=1, le=100, help="Higher keeps more and takes more bytes.", cli="-q")


# --8<-- [end:encode]


# --8<-- [start:train]
class TrainOptions(Options):
    """How the transform is learned."""

    data: str = option("photos", help="Folder of pictures, or a dataset's name.")
    val_data: str | None = option(None, help="The same for validation; part of --data is held out if not given.")
    steps: int = option(1000, ge=1, help="Training steps.")
    batch_size: int = option(16, ge=1, help="Crops per step, over all processes.")
    crop: int = option(64, ge=8, multiple_of=8, unit="px", help="Side of a crop.")
    learning_rate: float = option(2e-4, gt=0, help="Of Adam at the start; it falls to zero along a cosine.")


# --8<-- [end:train]
