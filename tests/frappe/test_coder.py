"""The entropy coder: exact round trips, prefixes, hostile bytes, and fewer bytes than JPEG-LS."""

from types import SimpleNamespace

import numpy as np
import pytest

from codectk.errors import ContainerError
from codectk_frappe import bitstream
from codectk_frappe.coder import CONTEXTS, MIXERS, PATTERNS, Coder, cold_tables
from codectk_frappe.fitting import fit
from codectk_frappe.native import library
from codectk_frappe.options import ModelOptions

OPTIONS = ModelOptions.parse({"ps": "8x2,4x2,2", "decoder_ps": 8})


def latents(height: int, width: int, seed: int = 0, size: float = 3.0) -> list[np.ndarray]:
    """Planes whose spread varies over the picture, alike in all channels, as in real latents."""
    rng = np.random.default_rng(seed)
    planes = []
    for ps in OPTIONS.ps:
        h, w = height // ps, width // ps
        rows, columns = np.mgrid[0:h, 0:w] * ps
        spread = size * np.exp(2 * np.sin(rows / 37) * np.cos(columns / 23) - 8 / ps + 1)
        planes.append(np.clip(np.rint(rng.laplace(0, spread)), -127, 127).astype(np.int8))
    return planes


@pytest.fixture(scope="module")
def trained() -> Coder:
    pictures = [[p[np.newaxis] for p in latents(128, 128, seed)] for seed in range(1, 9)]
    return Coder(OPTIONS, fit(OPTIONS, pictures))


@pytest.fixture(params=["cold", "trained"])
def coder(request: pytest.FixtureRequest) -> Coder:
    if request.param == "trained":
        return request.getfixturevalue("trained")
    return Coder(OPTIONS, cold_tables(OPTIONS))


def test_the_library_has_as_many_contexts_as_the_tables() -> None:
    sizes = library().frappe_contexts(), library().frappe_patterns(), library().frappe_mixers()
    assert sizes == (CONTEXTS, PATTERNS, MIXERS)


@pytest.mark.parametrize("shape", [(8, 8), (8, 200), (200, 8), (72, 104), (264, 136)])
@pytest.mark.parametrize("size", [0.01, 0.5, 5, 60])
def test_planes_come_back_exactly(coder: Coder, shape: tuple[int, int], size: float) -> None:
    planes = latents(*shape, size=size)
    decoded = coder.decode(coder.encode(planes), *shape)
    assert all(np.array_equal(a, b) for a, b in zip(planes, decoded, strict=True))


@pytest.mark.parametrize("value", [-127, -1, 0, 1, 127])
def test_extreme_planes_come_back_exactly(coder: Coder, value: int) -> None:
    planes = [np.full((64 // ps, 96 // ps), value, np.int8) for ps in OPTIONS.ps]
    planes[0][::2] *= -1
    decoded = coder.decode(coder.encode(planes), 64, 96)
    assert all(np.array_equal(a, b) for a, b in zip(planes, decoded, strict=True))


def test_all_residuals_of_a_predicted_plane_come_back_exactly() -> None:
    tensors = cold_tables(OPTIONS)
    tensors["models"][:, :4] = (256, 256, -256, 0)
    coder = Coder(OPTIONS, tensors)
    planes = [np.random.default_rng(1).choice([-127, 127], (64 // ps, 64 // ps)).astype(np.int8) for ps in OPTIONS.ps]
    decoded = coder.decode(coder.encode(planes), 64, 64)
    assert all(np.array_equal(a, b) for a, b in zip(planes, decoded, strict=True))


@pytest.mark.parametrize("seed", range(8))
def test_planes_unlike_all_that_the_tables_expect_come_back_exactly(seed: int) -> None:
    rng, tensors = np.random.default_rng(seed), _with_mixers(cold_tables(OPTIONS))
    for name in ("tables", "patterns"):
        tensors[name] = rng.choice([64, 65535 - 64], tensors[name].shape).astype(np.uint16)
    coder = Coder(OPTIONS, tensors)
    planes = [rng.integers(-127, 128, (128 // ps, 136 // ps)).astype(np.int8) for ps in OPTIONS.ps]
    decoded = coder.decode(coder.encode(planes), 128, 136)
    assert all(np.array_equal(a, b) for a, b in zip(planes, decoded, strict=True))


def test_the_layout_of_the_tables_in_memory_does_not_matter() -> None:
    tensors = _with_mixers(cold_tables(OPTIONS))
    tensors["mixers"] = np.random.default_rng(0).integers(-(1 << 17), 1 << 17, tensors["mixers"].shape, np.int32)
    other = {name: np.asfortranarray(tensor) for name, tensor in tensors.items()}
    planes = latents(72, 104)
    assert Coder(OPTIONS, tensors).encode(planes) == Coder(OPTIONS, other).encode(planes)


def test_planes_that_are_not_of_one_picture_are_refused(coder: Coder) -> None:
    planes = latents(72, 104)
    for i, wrong in (
        (0, planes[0][:-1]),
        (2, planes[2][:, :-1].copy()),
        (4, planes[4].T.copy()),
        (4, planes[4].copy("F")),
        (1, planes[1].astype(np.int16)),
    ):
        with pytest.raises(ValueError, match="plane of patch size"):
            coder.encode([*planes[:i], wrong, *planes[i + 1 :]])
    data = coder.encode(planes)
    for sides in ((71, 104), (72, 100), (2**31, 8)):
        with pytest.raises(ValueError, match="no planes"):
            coder.decode(data, *sides)


def test_no_memory_is_not_called_a_damaged_file(coder: Coder, monkeypatch: pytest.MonkeyPatch) -> None:
    class NoMemory:
        def frappe_decode(self, *_: object) -> int:
            return -2

    data = coder.encode(latents(8, 8))
    monkeypatch.setattr("codectk_frappe.coder.library", NoMemory)
    with pytest.raises(MemoryError):
        coder.decode(data, 8, 8)


@pytest.mark.parametrize("fast", [True, False])
def test_vectors_of_the_processor_do_not_change_a_byte(
    trained: Coder, fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one machine writes, another reads: the functions for wide vectors and those without agree."""
    planes, lib = latents(136, 264), library()
    data = trained.encode(planes, fast)
    plain = SimpleNamespace(frappe_magnitudes=lib.frappe_magnitudes)
    for name in ("encode", "decode"):
        function, usual = getattr(lib, f"frappe_{name}_plain"), getattr(lib, f"frappe_{name}")
        function.argtypes, function.restype = usual.argtypes, usual.restype
        setattr(plain, f"frappe_{name}", function)
    monkeypatch.setattr("codectk_frappe.coder.library", lambda: plain)
    assert trained.encode(planes, fast) == data
    decoded = trained.decode(data, 136, 264, fast)
    assert all(np.array_equal(a, b) for a, b in zip(planes, decoded, strict=True))


def test_every_prefix_decodes_to_the_same_planes(coder: Coder) -> None:
    planes = latents(72, 104)
    data = coder.encode(planes)
    for k in range(1, len(data) + 1):
        decoded = coder.decode(data[:k], 72, 104)
        assert all(np.array_equal(a, b) for a, b in zip(planes, decoded, strict=False)) and len(decoded) == k


def test_a_prefix_of_the_channels_is_coded_alike(coder: Coder) -> None:
    planes = latents(72, 104)
    assert coder.encode(planes[:3]) == coder.encode(planes)[:3]


def test_bytes_after_the_end_are_refused(coder: Coder) -> None:
    data = coder.encode(latents(72, 104))
    for extra in (b"\0", b"\x01", b"12345"):
        with pytest.raises(ContainerError, match="channel 5"):
            coder.decode([*data[:-1], data[-1] + extra], 72, 104)


def test_damaged_bytes_are_an_error_or_planes(coder: Coder) -> None:
    rng, data = np.random.default_rng(3), coder.encode(latents(72, 104))
    refused = 0
    for _ in range(300):
        hostile = [rng.bytes(rng.integers(len(part) + 5)) for part in data]
        try:
            decoded = coder.decode(hostile, 72, 104)
        except ContainerError:
            refused += 1
        else:
            assert all(np.abs(plane.astype(int)).max() <= 127 for plane in decoded)
    assert refused > 0


def test_bytes_that_no_encoder_writes_are_refused() -> None:
    """Where all values are predicted, planes have one form: what decodes is what encodes again."""
    tensors = cold_tables(OPTIONS)
    tensors["models"][:, 0] = 256
    coder, rng, accepted = Coder(OPTIONS, tensors), np.random.default_rng(0), 0
    for start in [b"\xff\xff\xff"] * 200 + [b"\xff\xff\xff\xff"] * 200:
        data = [start + rng.bytes(int(rng.integers(9)))]
        try:
            planes = coder.decode(data, 72, 104)
        except ContainerError:
            continue
        accepted += 1
        assert coder.encode(planes) == data
    assert accepted > 0


def patterned(seed: int) -> list[np.ndarray]:
    """Planes whose values depend on which neighbours are zero, not on how large these are together."""
    rng, planes = np.random.default_rng(seed), []
    for ps in OPTIONS.ps:
        plane = np.zeros((256 // ps, 256 // ps), np.int8)
        for y in range(1, plane.shape[0]):
            for x in range(1, plane.shape[1]):
                one_of_them = (plane[y - 1, x] != 0) != (plane[y, x - 1] != 0)
                plane[y, x] = rng.choice((-1, 1)) if rng.random() < (0.9 if one_of_them else 0.1) else 0
        planes.append(plane)
    return planes


def test_mixing_takes_fewer_bytes_where_patterns_matter_and_comes_back_exactly() -> None:
    coder = Coder(OPTIONS, fit(OPTIONS, [[p[np.newaxis] for p in patterned(seed)] for seed in range(1, 4)]))
    planes = patterned(0)
    mixed, fast = coder.encode(planes), coder.encode(planes, fast=True)
    assert sum(map(len, mixed)) < 0.98 * sum(map(len, fast))
    for data, is_fast in ((mixed, False), (fast, True)):
        decoded = coder.decode(data, 256, 256, is_fast)
        assert all(np.array_equal(a, b) for a, b in zip(planes, decoded, strict=True))


def test_latents_take_far_fewer_bytes_than_in_jpeg_ls(trained: Coder) -> None:
    planes = latents(256, 384, seed=99)
    own = sum(map(len, trained.encode(planes)))
    peer = sum(len(bitstream.pack(plane[np.newaxis])) for plane in planes)
    assert own < 0.85 * peer


def _with_mixers(tables: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    count = len(OPTIONS.ps)
    patterns, mixers = np.full((count, PATTERNS), 1 << 15, np.uint16), np.full((count, MIXERS, 2), 1 << 15, np.int32)
    return tables | {"patterns": patterns, "mixers": mixers}


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("models", lambda m: m[:, :9]),
        ("models", lambda m: m.astype(np.int32)),
        ("models", lambda m: m + np.int16(2000)),
        ("models", lambda m: m - np.int16(100)),
        ("models", lambda m: np.where(np.arange(10) == 2, np.int16(-32768), m)),
        ("sources", lambda s: s + np.int16(1000)),
        ("sources", lambda s: s[:2]),
        ("tables", lambda t: t * np.uint16(0)),
        ("tables", lambda t: t[:, 1:]),
        ("patterns", lambda t: t * np.uint16(0)),
        ("patterns", lambda t: t[:, 1:]),
        ("mixers", lambda m: m + np.int32(1 << 19)),
        ("mixers", lambda m: m.astype(np.int64)),
    ],
)
def test_tables_that_do_not_fit_are_refused(part: str, change: object) -> None:
    tables = _with_mixers(cold_tables(OPTIONS))
    Coder(OPTIONS, tables)
    tables[part] = change(tables[part])  # type: ignore[operator]
    with pytest.raises(ValueError, match="coder"):
        Coder(OPTIONS, tables)
