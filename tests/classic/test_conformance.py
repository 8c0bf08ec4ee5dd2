"""The conformance kit on every codec to compare with."""

from pathlib import Path

from codectk.testing import CodecConformance
from codectk_classic.plugin import codectk_codecs

SPECS = {spec.name: spec for spec in codectk_codecs()}


class Classic(CodecConformance):
    @property
    def golden_folder(self) -> Path:
        return Path(__file__).parent / "golden" / self.spec.name


for _name, _spec in SPECS.items():
    globals()[f"Test{_name.capitalize()}"] = type(
        f"Test{_name.capitalize()}",
        (CodecConformance,),
        {"spec": _spec, "golden": Path(__file__).parent / "golden" / _name},
    )
