"""What every trainer must keep to."""

import json
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from codectk.arrays import Array
from codectk.checkpoint import Checkpoint
from codectk.compression import LoadedCodec, load_codec
from codectk.container import unpack
from codectk.errors import CodectkError, TrainingStopped
from codectk.images import write_image
from codectk.log import Watcher
from codectk.options import RunOptions
from codectk.recipes import merged, read_recipe, recipes
from codectk.registry import get_registry
from codectk.specs import CodecSpec, TrainerSpec, normalise
from codectk.testing import samples
from codectk.testing.processes import changed_by
from codectk.testing.specs import SpecConformance

PHOTOS = 6
SIDES = (96, 120)

TRAIN = """
import json
from pathlib import Path
from codectk.options import RunOptions
from codectk.registry import get_registry
from codectk.runs import train
from codectk.specs import TrainerSpec
registered = get_registry().find(TrainerSpec, sys.argv[1])
options = registered.load(registered.spec.options).parse(json.loads(sys.argv[2]))
train(registered, options, Path("run"), RunOptions(device="cpu", workers=0))
"""


class Counter(Watcher):
    """Counts steps, and asks the run to stop after some.

    Args:
        stop_after: number of steps; None never stops.
    """

    def __init__(self, stop_after: int | None = None) -> None:
        self.steps, self.stop_after = 0, stop_after

    def step(self, done: int, values: Mapping[str, float]) -> None:
        """Called after every step."""
        self.steps += 1
        if self.steps == self.stop_after:
            signal.raise_signal(signal.SIGTERM)


class TrainerConformance(SpecConformance):
    """Tests of one trainer. Needs torch: `codectk-core[train]`.

    Attributes:
        spec: its `TrainerSpec`.
    """

    spec: ClassVar[TrainerSpec]

    def options(self, data: Path) -> dict[str, Any]:
        """Options of a training of a few steps.

        Args:
            data: a folder of small photo-like pictures.
        """
        raise NotImplementedError("give options of a training of a few steps: def options(self, data)")

    def data(self, folder: Path) -> Path:
        """Make the folder of pictures that `options` gets; override it for other kinds of data."""
        folder.mkdir()
        for number in range(PHOTOS):
            write_image(folder / f"{number}.png", *samples.array("image/rgb8", SIDES, seed=number))
        return folder

    def run(self, folder: Path, data: Path, resume: bool = False, watcher: Watcher | None = None) -> Checkpoint:
        """Train into a folder, on the CPU."""
        from codectk.runs import train

        registered = self.registered()
        options = registered.load(self.spec.options).parse(self.options(data))
        run_options = RunOptions(device="cpu", workers=0)
        checkpoint = train(registered, options, folder, run_options, resume, watcher)
        assert checkpoint is not None
        return checkpoint

    def straight(self, tmp_path_factory: pytest.TempPathFactory) -> tuple[Checkpoint, int, Path, Path]:
        """One run from start to end for all tests of a class: weights, number of steps, run folder, data."""
        cls = type(self)
        if "_straight" not in vars(cls):
            root = tmp_path_factory.mktemp("run")
            data, counter = self.data(root / "data"), Counter()
            checkpoint = self.run(root / "run", data, watcher=counter)
            cls._straight = (checkpoint, counter.steps, root / "run", data)  # type: ignore[attr-defined]
        made: tuple[Checkpoint, int, Path, Path] = vars(cls)["_straight"]
        return made

    def test_recipes_hold_options_of_the_trainer(self) -> None:
        """Every recipe that ships can be given to `--recipe`."""
        model = self.registered().load(self.spec.options)
        for path in recipes(self.spec.recipes):
            merged([model, RunOptions], read_recipe(self.spec.recipes, path.stem))

    def test_it_trains_on_the_cpu(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        """At least two steps, told to whoever watches, and a log."""
        _, steps, folder, _ = self.straight(tmp_path_factory)
        assert steps >= 2, f"{steps} steps were told; training is a loop over run.steps"
        log = (folder / "log.csv").read_text().splitlines()
        assert len(log) > 1, "nothing was logged; use run.log"

    def test_a_stopped_run_goes_on_to_the_same_weights(
        self, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
    ) -> None:
        """Stopped after the first step, in the middle and before the last, and resumed each time."""
        straight, steps, _, data = self.straight(tmp_path_factory)
        for stop in sorted(stop for stop in {1, steps // 2, steps - 1} if 0 < stop < steps):
            folder = tmp_path / f"stopped-{stop}"
            with pytest.raises(TrainingStopped):
                self.run(folder, data, watcher=Counter(stop))
            resumed = self.run(folder, data, resume=True)
            assert resumed.digest == straight.digest, f"stopped after step {stop} of {steps}: other weights"

    def test_it_writes_into_its_run_folder_alone(
        self, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The data and the working folder are left as they were."""
        (tmp_path / "empty").mkdir()
        monkeypatch.chdir(tmp_path / "empty")
        data = self.data(tmp_path / "data")
        before = _files(data)
        self.run(tmp_path / "run", data)
        assert not list((tmp_path / "empty").iterdir()), "files were left in the working folder"
        assert _files(data) == before, "the data folder was changed"

    def test_it_leaves_the_process_as_it_was(self, tmp_path: Path) -> None:
        """Threads, flags and environment; the random numbers of torch belong to the run."""
        data = self.data(tmp_path / "data")
        words = [self.registered().full_name, json.dumps(self.options(data))]
        changed = set(changed_by(TRAIN, *words)) - {"torch's random numbers"}
        assert not changed, f"the trainer changes {', '.join(sorted(changed))}"

    def test_its_weights_say_what_they_are(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        """Codec, distribution and bitstream version are those of the codec that they are for."""
        checkpoint, _, folder, _ = self.straight(tmp_path_factory)
        assert Checkpoint.open(folder / "weights.safetensors").digest == checkpoint.digest
        if self.spec.codec is None:
            assert checkpoint.distribution == self.registered().distribution
            return
        found = get_registry().find(CodecSpec, self.spec.codec)
        assert normalise(checkpoint.codec) == normalise(found.spec.name), f"the weights are for {checkpoint.codec}"
        assert checkpoint.distribution == found.distribution, f"the weights name {checkpoint.distribution}"
        assert checkpoint.bitstream_version in found.spec.reads, f"bitstream version {checkpoint.bitstream_version}"

    def test_its_weights_compress_and_decompress(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        """The codec takes the exported file as it is."""
        if self.spec.codec is None:
            pytest.skip("the trainer serves no codec")
        _, _, folder, _ = self.straight(tmp_path_factory)
        loaded = load_codec(self.spec.codec, folder / "weights.safetensors")
        x, info = samples.array(loaded.spec.kinds[0])
        x_hat = _through(loaded, x, info)
        assert (x_hat.shape, x_hat.dtype) == (x.shape, x.dtype)
        assert np.array_equal(x_hat, _through(loaded, x, info))

    def test_a_folder_without_data_is_a_plain_error(self, tmp_path: Path) -> None:
        """A user who names the wrong folder is told so."""
        (tmp_path / "nothing").mkdir()
        with pytest.raises(CodectkError):
            self.run(tmp_path / "run", tmp_path / "nothing")


def _files(folder: Path) -> dict[Path, bytes]:
    """All below a folder that is no folder itself."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _through(loaded: LoadedCodec, x: Array, info: Any) -> Array:
    return loaded.decompress(unpack(loaded.compress(x, info).data))
