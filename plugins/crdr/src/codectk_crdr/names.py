"""Names of tensors in files of others, and the model's own."""

WRAPPED = "module."
"""What stands before every name where a model was saved as several processes hold it."""

OLD_NAMES = {"_matrix": "matrices.", "_bias": "biases.", "_factor": "factors."}
"""Parameters of z's model in CompressAI before 1.2.7, and since."""

BUFFERS = frozenset(
    {
        *("_offset", "_quantized_cdf", "_cdf_length", "likelihood_lower_bound.bound"),
        *("target", "scale_table", "scale_bound", "lower_bound_scale.bound"),
    }
)
"""What CompressAI's entropy models hold besides parameters: constants, and tables that are made again here."""


def plain_name(name: str) -> str:
    """The model's name for a published tensor."""
    name = name.removeprefix(WRAPPED)
    head, dot, last = name.rpartition(".")
    for old, new in OLD_NAMES.items():
        if last.startswith(old) and last[len(old) :].isdigit():
            return f"{head}{dot}{new}{last[len(old) :]}"
    return name


def is_buffer(name: str) -> bool:
    """Whether a published tensor is no parameter, but made again from them."""
    _, *parts = name.split(".")
    return ".".join(parts[-1:]) in BUFFERS or ".".join(parts[-2:]) in BUFFERS
