"""Golden files of every codec of `kit_faults`, written as an author would."""

import os
from pathlib import Path

from kit_faults import plugin
from run_kit import weights

from codectk.compression import load_codec
from codectk.testing.golden import write_golden

for spec in plugin.codec_specs():
    checkpoint = weights(spec.name) if spec.needs_weights else None
    loaded = load_codec(spec.name, checkpoint)
    write_golden(loaded, Path(os.environ["KIT_FOLDER"]) / spec.name, weights=checkpoint)
