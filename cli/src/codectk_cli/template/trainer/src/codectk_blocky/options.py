"""Options: each becomes a flag, a key of recipes, and a record in runs and weights."""

from codectk.options import Options, option


class TrainOptions(Options):
    """How the predictor is learned."""

    data: str = option("photos", help="Folder of pictures, or a dataset's name.")
    val_data: str | None = option(None, help="The same for validation; part of --data is held out if not given.")
    steps: int = option(300, ge=1, help="Training steps.")
    batch_size: int = option(8, ge=1, help="Crops per step, over all processes.")
    crop: int = option(64, ge=2, unit="px", help="Side of a crop.")
    learning_rate: float = option(1e-2, gt=0, help="Of Adam.")
