"""The Python interface of CAESAR-Freq's guide: a dataset of windows, and an object that compresses it to bytes.

    ScientificDataset ─ DataLoader ─ CAESARFreq.compress(loader, eb) ─> bytes of a .ctk file
    bytes ─ CAESARFreq.decompress ─> [V, S, T, H, W], float32

Torch is imported when the classes are used, not before.
"""

from collections.abc import Mapping
from math import ceil, prod
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from codectk.arrays import Array, ArrayInfo
from codectk.compression import load_codec
from codectk.container import MAX_ARRAY_BYTES, unpack
from codectk.errors import InputError, OptionsError
from codectk.fields import read_field, value_range
from codectk.options import IntList, Options, option
from codectk_caesar_freq import layout

if TYPE_CHECKING:
    from torch import Tensor

CODEC = "caesar_freq"
USUAL_TRANSFORM = ("haar", 8)

Values = NDArray[np.float32]


class DatasetOptions(Options):
    """What of a file is used, and how it is cut into windows. Lengths along T count frames, along H and W values."""

    data_path: str = option(help="Field of [V, S, T, H, W]: .npz with an array `data`, or any other format of fields.")
    name: str = option("", help="For the record.")
    variable_idx: IntList | None = option(None, help="Variables to use.")
    section_range: IntList | None = option(None, min_length=2, max_length=2, help="First section, and end.")
    frame_range: IntList | None = option(None, min_length=2, max_length=2, help="First frame, and end.")
    resolution: IntList | None = option(None, min_length=2, max_length=2, help="Height and width of the middle to use.")
    n_frame: int = option(16, ge=1, help="Frames of a window.")
    n_overlap: int = option(0, ge=0, help="Frames that neighbouring windows share.")
    test_size: IntList = option((256, 256), min_length=2, max_length=2, help="Height and width of a tile.")
    norm_type: Literal["mean_range", "min_max", "mean_range_hw"] = option(
        "mean_range", help="Offset and scale: mean and range, the same of each frame, or middle and half the range."
    )
    inst_norm: Literal[True] = option(True, help="Offset and scale of each window.")
    train: Literal[False] = option(False, help="Windows to train on are made by `codectk train`.")


class ScientificDataset:
    """Windows of a field: one variable, section, run of frames and tile each. A torch DataLoader takes it as it is.

    Tiles lie side by side; a field that they do not divide is mirrored at its ends, evenly on both sides. After the
    last frame, the last frames follow in reverse until a window is full.

    Args:
        args: path of the file, or a mapping of `DatasetOptions`, as in CAESAR's published code.
        changes: options besides those.

    Raises:
        OptionsError: there is no such option, or the choice is empty.
        InputError: there is no such file, or it holds no field.
    """

    def __init__(self, args: str | PathLike[str] | Mapping[str, Any], **changes: Any) -> None:
        given = dict(args) if isinstance(args, Mapping) else {"data_path": str(args)}
        self.options = DatasetOptions.parse({**given, **changes})
        o = self.options
        if o.n_overlap >= o.n_frame or min(o.test_size) < 1:
            raise OptionsError("Windows that overlap whole, or tiles without values, have no end.", "Change n_overlap.")
        self.data = _chosen(read_field(Path(o.data_path)).x, o)
        _, _, frames, height, width = self.data.shape
        self._step = o.n_frame - o.n_overlap
        self._windows = max(1, ceil((frames - o.n_frame) / self._step) + 1)
        whole = (self._windows - 1) * self._step + o.n_frame
        self._frames = np.pad(np.arange(frames), (0, max(0, whole - frames)), "symmetric")
        self._rows, self._columns = (_mirrored(n, side) for n, side in zip((height, width), o.test_size, strict=True))
        self._tiles = len(self._rows) // o.test_size[0], len(self._columns) // o.test_size[1]

    def __len__(self) -> int:
        """Number of windows."""
        return prod((*self.data.shape[:2], *self._tiles, self._windows))

    def __getitem__(self, i: int) -> dict[str, Any]:
        """Window i.

        Returns:
            `input`: float32 [1, n_frame, h, w], (value - offset) / scale; `offset` and `scale`: of as many axes;
            `index`: variable, section and tile, first frame and end.

        Raises:
            IndexError: there are not so many windows.
        """
        import torch

        if not 0 <= i < len(self):
            raise IndexError(f"There are {len(self)} windows, so none is number {i}.")
        place = np.unravel_index(i, (*self.data.shape[:2], *self._tiles, self._windows))
        v, s, row, column, window = map(int, place)
        (h, w), first = self.options.test_size, window * self._step
        end = first + self.options.n_frame
        rows, columns = self._rows[row * h : (row + 1) * h], self._columns[column * w : (column + 1) * w]
        x = self.data[v, s][np.ix_(self._frames[first:end], rows, columns)]
        offset, scale = _norm(x, self.options.norm_type)
        found = {"input": (x - offset) / scale, "offset": offset, "scale": scale}
        section = (s * self._tiles[0] + row) * self._tiles[1] + column
        tensors = {key: torch.from_numpy(value.astype(np.float32)[None]) for key, value in found.items()}
        return {**tensors, "index": [v, section, first, end]}

    def input_data(self) -> "Tensor":
        """All values that are used, float32 [V, S, T, H, W]."""
        import torch

        return torch.from_numpy(self.data.copy())

    def recons_data(self, x: "Tensor") -> "Tensor":
        """Without frames that follow the last one, [V, S, T, H, W]."""
        return x[:, :, : self.data.shape[2]]

    def deblocking_hw(self, x: "Tensor") -> "Tensor":
        """Tiles [V, S · tiles, T, h, w] put together and without what was mirrored, [V, S, T, H, W].

        Raises:
            InputError: these are not so many tiles of that size.
        """
        (h, w), (down, across) = self.options.test_size, self._tiles
        variables, sections, _, height, width = self.data.shape
        if x.ndim != 5 or tuple(x.shape[:2]) != (variables, sections * down * across) or tuple(x.shape[3:]) != (h, w):
            raise InputError(f"Tiles of shape {tuple(x.shape)} are not those of this dataset.", "Give all of them.")
        grid = x.reshape(variables, sections, down, across, -1, h, w).permute(0, 1, 4, 2, 5, 3, 6)
        whole = grid.reshape(variables, sections, -1, down * h, across * w)
        top, left = (down * h - height) // 2, (across * w - width) // 2
        return whole[..., top : top + height, left : left + width]


class CAESARFreq:
    """The codec with the arguments of the guide. Nothing is kept between `compress` and `decompress`.

    Args:
        model_path: weights; without any, or without `use_diffusion`, the codec works by transforms alone.
        use_diffusion: keyframes are coded and the frames between them predicted, by diffusion.
        use_single_step: they are predicted by the single-step network instead.
        device: torch's name of a device; the CPU takes the place of a CUDA device that is not there.
        n_frame: frames of a window, of predictions.
        interpo_rate: frames from one keyframe to the next.
        diffusion_steps: steps of the diffusion; those of the weights count.
        wavelet, dct_block_size, use_dwt: fixed transforms; with the usual values the codec takes what gives the
            smallest file. Weights hold their own.
        low_freq_size: planes that the frequency compressor codes; that of the weights counts.
    """

    def __init__(
        self,
        model_path: str | PathLike[str] | None = None,
        use_diffusion: bool = True,
        use_single_step: bool = False,
        device: str = "cuda",
        n_frame: int = 16,
        interpo_rate: int = 3,
        diffusion_steps: int = 32,
        wavelet: str = "haar",
        dct_block_size: int = 8,
        use_dwt: bool = True,
        low_freq_size: int = 16,
    ) -> None:
        self.model_path = Path(model_path) if model_path is not None else None
        self.use_diffusion, self.use_single_step = use_diffusion, use_single_step
        self.device = _device(device)
        self.n_frame, self.interpo_rate, self.diffusion_steps = n_frame, interpo_rate, diffusion_steps
        self.wavelet, self.dct_block_size, self.use_dwt = wavelet, dct_block_size, use_dwt
        self.low_freq_size = low_freq_size

    @property
    def mode(self) -> str:
        """How frames are coded: `transform`, `diffusion` or `single_step`."""
        if self.model_path is None or not self.use_diffusion:
            return "transform"
        return "single_step" if self.use_single_step else "diffusion"

    def compress(self, dataloader: Any, eb: float = 1e-3) -> tuple[bytes, int]:
        """Code a field: the root mean square error of each 8×8 patch is at most `eb` times the range of all values.

        Args:
            dataloader: a torch DataLoader over a `ScientificDataset`, such a dataset, one of codectk's (whose fields
                become variables), or the values themselves: tensor or array [V, S, T, H, W], or of fewer axes. They are
                coded as float32, as the guide has it; `codectk.compress` keeps other types.
            eb: see above.

        Returns:
            The bytes of a whole `.ctk` file, and their number.

        Raises:
            InputError: it is none of these, or its values are beyond float32.
            OptionsError: a setting is out of range.
            WeightsError: the weights are missing or damaged.
        """
        x = _values(dataloader)
        loaded = load_codec(CODEC, self._weights(self.mode != "transform"), self.device)
        data = loaded.compress(
            x, ArrayInfo("field/f32", x.shape, value_range(x)), loaded.encode_options(self._settings(eb))
        )
        return data.data, len(data.data)

    def decompress(self, compressed: bytes, max_bytes: int = MAX_ARRAY_BYTES) -> "Tensor":
        """The field of a `.ctk` file, on the CPU.

        Args:
            compressed: what `compress` made, here or elsewhere.
            max_bytes: refuse larger fields.

        Returns:
            float32 [V, S, T, H, W]; axes that the field had not have length 1.

        Raises:
            ContainerError: the bytes are damaged, or another codec's.
            WeightsError: the weights that they need are not those given.
        """
        import torch

        file = unpack(bytes(compressed), "the compressed field", max_bytes)
        loaded = load_codec(CODEC, self._weights(file.header.weights_digest is not None), self.device)
        x = loaded.decompress(file, source="the compressed field")
        return torch.from_numpy(layout.as_five(np.asarray(x, np.float32)))

    def _weights(self, needed: bool) -> Path | None:
        return self.model_path if needed else None

    def _settings(self, eb: float) -> dict[str, Any]:
        if self.mode != "transform":
            return {"eb": eb, "mode": self.mode, "n_frame": self.n_frame, "interpo_rate": self.interpo_rate}
        transform = (self.wavelet if self.use_dwt else "none", self.dct_block_size)
        if transform == USUAL_TRANSFORM:
            return {"eb": eb}
        return {"eb": eb, "wavelet": transform[0], "dct_block_size": transform[1]}


def _device(name: str) -> str:
    import torch

    return "cpu" if name.startswith("cuda") and not torch.cuda.is_available() else name


def _values(source: Any) -> Values:
    """The values of whatever the guide calls a data loader, float32 [V, S, T, H, W].

    Raises:
        InputError: it is none, or its values are no numbers, or beyond float32.
    """
    from torch import Tensor
    from torch.utils.data import DataLoader

    if isinstance(source, DataLoader):
        source = source.dataset
    if hasattr(source, "input_data"):
        source = source.input_data()
    if isinstance(source, Tensor):
        source = source.detach().cpu().numpy()
    if isinstance(source, np.ndarray):
        return _single(source)
    try:
        samples = [_single(np.asarray(sample.x)) for sample in (source[i] for i in range(len(source)))]
        return np.concatenate(samples)
    except (AttributeError, TypeError, ValueError):
        raise InputError(
            f"A {type(source).__name__} is no field, and no dataset of fields of one shape.",
            "Give an array [V, S, T, H, W], or a DataLoader over a ScientificDataset.",
        ) from None


def _single(x: Array) -> Values:
    """Values as float32 [V, S, T, H, W]."""
    if x.dtype.kind not in "fiu" or not 1 <= x.ndim <= 5 or not x.size:
        raise InputError(f"An array of {x.dtype} and shape {x.shape} is no field.", "Give numbers of 1 to 5 axes.")
    with np.errstate(over="ignore"):
        values: Values = layout.as_five(x).astype(np.float32)
    if np.isinf(values).sum() > (np.isinf(x).sum() if x.dtype.kind == "f" else 0):
        raise InputError("The values are beyond float32.", "Scale them, or use codectk.compress, which keeps float64.")
    return values


def _chosen(x: Array, options: DatasetOptions) -> Values:
    """The part of a field that is used.

    Raises:
        OptionsError: there is no such part, or it is empty.
    """
    whole = layout.as_five(x)
    variables = list(options.variable_idx) if options.variable_idx is not None else slice(None)
    ranges = [
        slice(*pair) if pair is not None else slice(None) for pair in (options.section_range, options.frame_range)
    ]
    height, width = options.resolution or whole.shape[3:]
    top, left = (whole.shape[3] - height) // 2, (whole.shape[4] - width) // 2
    try:
        part = whole[variables][:, *ranges]
    except IndexError:
        raise OptionsError(
            f"There are {whole.shape[0]} variables.", "Change variable_idx; numbers begin at 0."
        ) from None
    if min(top, left) < 0 or not part.size or min(height, width) < 1:
        raise OptionsError(f"Nothing of shape {whole.shape} is in that choice.", "Change the ranges or the resolution.")
    return _single(part[..., top : top + height, left : left + width])


def _mirrored(length: int, side: int) -> NDArray[np.intp]:
    """Positions along an axis, mirrored evenly at both ends up to a multiple of a side."""
    missing = -length % side
    return np.pad(np.arange(length), (missing // 2, missing - missing // 2), "reflect")


def _norm(x: Values, kind: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Offset and scale of a window (T, H, W), in double precision; a scale of 0 becomes 1."""
    axes = (1, 2) if kind == "mean_range_hw" else (0, 1, 2)
    low, high = (f(x, axis=axes, keepdims=True).astype(np.float64) for f in (np.min, np.max))
    scale = high - low
    if kind == "min_max":
        offset, scale = low + scale / 2, scale / 2
    else:
        offset = np.mean(x, axis=axes, keepdims=True, dtype=np.float64)
    return offset, np.where(scale > 0, scale, 1.0)
