"""What this distribution brings to codectk. Imports nothing heavy."""

from codectk.hookspecs import hookimpl
from codectk.specs import CodecSpec

CODECTK_API = 1


@hookimpl
def codectk_codecs() -> list[CodecSpec]:
    """The codec of coefficients."""
    return []
