"""LPIPS, DISTS and FID as metrics of pictures. Networks are loaded once in a process, and torch with them."""

import os
from collections import OrderedDict
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from codectk.arrays import Array, ArrayInfo, pad
from codectk.errors import InputError, OptionsError
from codectk.metric import Mean
from codectk.perceptual.fid import Moments, frechet_distance, patches

if TYPE_CHECKING:
    import torch

Features = NDArray[np.float32]

FEWEST_PICTURES = 50
"""FID of fewer says more about their number than about the codec."""

PATCHES_AT_ONCE = 16

REMEMBERED_BYTES = 1 << 28
"""Features of originals that are kept, so that a codec's further settings need not compute them again."""


class LPIPS(Mean):
    """LPIPS 0.1 with AlexNet, at full resolution; mean over pictures. 0 for equal ones.

    Sides below 31 are extended by repeating the last row and column, because the network takes none that are smaller.

    Args:
        device: where the network runs, as `codectk.device.pick_device` takes it.

    Raises:
        WeightsError: its weights are not here.
        OptionsError: torch is not here.
    """

    name = "lpips"

    def __init__(self, device: str = "auto") -> None:
        super().__init__()
        self.network = _network("codectk.perceptual.lpips:Lpips", device)

    def measure(self, x: Array, x_hat: Array, info: ArrayInfo) -> float:
        """The distance of one pair."""
        import torch

        side = self.network.variant.side
        pair = (_tensor(pad(part, info, 1, side)[0], self.network) for part in (x, x_hat))
        with torch.inference_mode():
            return float(self.network(*(2 * part - 1 for part in pair)))


class DISTS(Mean):
    """DISTS at full resolution; mean over pictures. 0 for equal ones. Arguments and errors as of `LPIPS`."""

    name = "dists"

    def __init__(self, device: str = "auto") -> None:
        super().__init__()
        self.network = _network("codectk.perceptual.dists:Dists", device)

    def measure(self, x: Array, x_hat: Array, info: ArrayInfo) -> float:
        """The distance of one pair."""
        import torch

        with torch.inference_mode():
            return float(self.network(_tensor(x, self.network), _tensor(x_hat, self.network)))


class FID:
    """Fréchet distance between Inception's features of all patches of the originals and of the decoded pictures.

    Patches of 256 × 256 on two grids, see `codectk.perceptual.fid.patches`. A measure of a whole set: it has no value
    for one picture. Arguments and errors as of `LPIPS`.
    """

    name = "fid"

    def __init__(self, device: str = "auto") -> None:
        self.extractor = _extractor(_network("codectk.perceptual.inception:Inception", device))
        self.reset()

    def update(self, x: Array, x_hat: Array, info: ArrayInfo) -> None:
        """Take in one pair; pictures below 256 × 256 have no patches and are only counted."""
        self.pictures += 1
        self.originals.update(self.extractor.remembered(x))
        self.decoded.update(self.extractor.features(x_hat))

    def compute(self) -> dict[str, float]:
        """The distance.

        Raises:
            InputError: fewer than 50 pictures, or fewer than two patches, were taken in.
        """
        if self.pictures < FEWEST_PICTURES:
            raise InputError(f"FID is not computed from {self.pictures} pictures.", f"Take {FEWEST_PICTURES} or more.")
        if self.originals.count < 2:
            raise InputError("FID has no patches of 256 × 256 to compare.", "Take larger pictures.")
        return {self.name: frechet_distance(self.originals, self.decoded)}

    def reset(self) -> None:
        """Forget all pairs."""
        from codectk.perceptual.inception import FEATURES

        self.pictures = 0
        self.originals, self.decoded = Moments(FEATURES), Moments(FEATURES)


def _network(target: str, device: str) -> Any:
    """The network on its device.

    Raises:
        OptionsError: torch is not here, or there is no such device.
        WeightsError: its weights are not here.
    """
    try:
        from codectk.perceptual.weights import FOLDER
    except ImportError:
        raise OptionsError(
            "Perceptual metrics need torch, which is not here.", 'Run `pip install "codectk-core[train]"`.'
        ) from None
    return _loaded(target, device, os.environ.get(FOLDER, ""))


@lru_cache(maxsize=8)
def _loaded(target: str, device: str, folder: str) -> Any:
    """See `_network`; `folder` is part of the key because weights of another folder are others."""
    from codectk.device import pick_device
    from codectk.specs import resolve

    return resolve(target)().to(pick_device(device))


def _tensor(x: Array, network: "torch.nn.Module") -> "torch.Tensor":
    """(H, W, C) or (B, H, W, C) of 8 bits → (B, 3, H, W), values 0 to 1; grey becomes three equal channels."""
    import torch

    batch = torch.from_numpy(np.ascontiguousarray(x.reshape(-1, *x.shape[-3:])))
    batch = batch.to(next(network.parameters()).device).permute(0, 3, 1, 2).float() / 255
    return batch.expand(-1, 3, -1, -1)


class _Extractor:
    """Inception's features of pictures, with a memory of originals."""

    def __init__(self, network: "torch.nn.Module") -> None:
        self.network = network
        self.memory: OrderedDict[bytes, Features] = OrderedDict()

    def features(self, x: Array) -> Features:
        """(N, 2048) of the N patches of one picture."""
        import torch

        from codectk.perceptual.inception import FEATURES

        found = list(patches(x))
        parts = [np.empty((0, FEATURES), np.float32)]
        for start in range(0, len(found), PATCHES_AT_ONCE):
            batch = np.stack(found[start : start + PATCHES_AT_ONCE])
            with torch.inference_mode():
                parts.append(self.network(_tensor(batch, self.network)).cpu().numpy())
        return np.concatenate(parts)

    def remembered(self, x: Array) -> Features:
        """The same of a picture that is likely to come again; it is known by its content."""
        digest = blake2b(x.tobytes(), key=repr(x.shape).encode()).digest()
        features = self.memory.get(digest)
        if features is None:
            features = self.memory[digest] = self.features(x)
            while sum(kept.nbytes for kept in self.memory.values()) > REMEMBERED_BYTES:
                self.memory.popitem(last=False)
        return features


@lru_cache(maxsize=2)
def _extractor(network: "torch.nn.Module") -> _Extractor:
    """The only one of a network."""
    return _Extractor(network)
