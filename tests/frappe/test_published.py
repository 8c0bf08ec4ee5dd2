"""Published weights become weights of codectk that give the published numbers; whatever else there is, is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file, save_file
from safetensors.torch import save_file as save_torch

from codectk import container
from codectk.arrays import ArrayInfo
from codectk.checkpoint import Checkpoint
from codectk.compression import load_codec
from codectk.errors import CodectkError, InputError, OptionsError, WeightsError
from codectk_frappe.codec import FrappeCodec
from codectk_frappe.model import Encoders, to_grid
from codectk_frappe.options import EncodeOptions, ModelOptions
from codectk_frappe.published import ImportOptions, encoder_shapes, import_weights

from . import reference

PUBLISHED = Path(__file__).parent / "golden" / "published"
MODEL = "FRAPPE_pytorch_model.safetensors"
GOLDEN = ["conv", "transformer"]

VARIANTS: dict[str, dict[str, Any]] = {
    "coarser than the grid": {"ps": [16, 8, 4], "decoder_ps": 4},
    "a size that comes back": {"ps": [8, 4, 4, 8], "decoder_ps": 4},
    "LF8": {"ps": [8, 4], "encoder_arch": "LF8"},
    "layer scale": {"ps": [8, 4], "decoder_layerscale": True, "decoder_arch": "CTC"},
    "other kernel and ratio": {"ps": [8, 2], "decoder_kernel_size": 5, "decoder_mlp_ratio": 2.7, "decoder_arch": "ct"},
    "all at once": {
        **{"ps": [16, 16, 8, 2], "decoder_ps": 8, "encoder_arch": "LF8", "linear_input": True},
        **{"decoder_layerscale": True, "decoder_kernel_size": 1, "decoder_arch": "TC"},
    },
}
BASE = {
    **{"input_channels": 3, "decoder_ps": 8, "decoder_dim": 6, "decoder_kernel_size": 3, "decoder_arch": "C"},
    **{"decoder_mlp_ratio": 4.0, "decoder_layerscale": False, "decoder_layerscale_init": 1e-6},
    **{"encoder_arch": "SC8", "linear_input": False},
}

Files = tuple[Path, Path]
Edit = Callable[[dict[str, Any], dict[str, np.ndarray]], Any]


def published(folder: Path, edit: Edit | None = None, **changes: Any) -> Files:
    """Random weights in the published layout, small enough for any edit."""
    config = {**BASE, "ps": [8, 4, 2], **changes}
    config = {"n_trained": len(config["ps"]), **config}
    options = ModelOptions.parse({name: value for name, value in config.items() if name in BASE or name == "ps"})
    rng = np.random.default_rng(5)
    filters = {name: _random(rng, name, shape) for name, shape in encoder_shapes(options, len(options.ps)).items()}
    tensors: dict[str, np.ndarray] = {}
    for n in range(1, len(options.ps) + 1):
        tensors |= {f"merged.{n}.{x}": filters[x][: s[0]].copy() for x, s in encoder_shapes(options, n).items()}
        tensors |= {f"merged.{n}.decoder.{x}": _random(rng, x, s) for x, s in options.decoder_shapes(n).items()}
        tensors[f"merged.{n}.decoder.{len(options.decoder_arch) + 2}.weight"] *= np.float32(0.3)
    if edit is not None:
        edit(config, tensors)
    folder.mkdir(exist_ok=True, parents=True)
    files = folder / "config.json", folder / MODEL
    files[0].write_text(json.dumps(config))
    save_file(tensors, files[1])
    return files


def _random(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> np.ndarray:
    tensor = rng.normal(size=shape) / np.sqrt(max(1, np.prod(shape[1:])))
    if "encoders" in name:
        scales = {"0.weight": 15.0, "_σ": 10.0}
        tensor = tensor * next((scale for end, scale in scales.items() if name.endswith(end)), 1.0)
    if name.endswith("bias"):
        tensor = tensor / 5
    if name == "0.weight":
        tensor = tensor / 60  # of a decoder, which takes integers up to 127
    if name.endswith("γ") or "norm" in name or "main.1" in name:
        tensor = tensor / 4 + 1
    if name.endswith("sigma"):
        tensor = np.abs(tensor) + 20
    return tensor.astype(np.float32)


def imported(files: Files, *channels: int) -> Checkpoint:
    return import_weights(files, ImportOptions(channels=channels))


def golden(name: str) -> Files:
    return PUBLISHED / name / "config.json", PUBLISHED / name / MODEL


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def decoded(codec: FrappeCodec, latents: list[np.ndarray], n: int) -> np.ndarray:
    """The decoder's output (3, H, W) before it is made into bytes."""
    tensors = [torch.from_numpy(latent)[None].float() for latent in latents]
    with torch.inference_mode():
        grid = to_grid(tensors, codec.options.groups(n), codec.options.pitch)
        return codec._decoder(n)(grid)[0].numpy()


@pytest.mark.parametrize("name", GOLDEN)
def test_published_numbers_come_out_of_the_imported_weights(name: str) -> None:
    expected = np.load(PUBLISHED / name / "expected.npz")
    picture = pixels(PUBLISHED / name / "input.png")
    checkpoint = imported(golden(name))
    codec = FrappeCodec.load(checkpoint, "cpu")
    encoders = Encoders(codec.options).eval()
    state = {k.removeprefix("encoders."): torch.from_numpy(v) for k, v in checkpoint.tensors.items() if "encoders" in k}
    encoders.load_state_dict(state)
    x = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
    assert codec.rate_points == (1, 2, 3, 4)
    for n in codec.rate_points:
        latents = codec.analysis.latents(picture, n)
        with torch.inference_mode():
            companded = encoders.latents(x, n)
        for s, latent in enumerate(latents):
            assert np.array_equal(latent, expected[f"latents.n{n}.s{s}"])
            assert np.abs(companded[s][0].numpy() - expected[f"companded.n{n}.s{s}"]).max() < 2e-4
        assert np.abs(decoded(codec, latents, n) - expected[f"recon.n{n}"]).max() < 1e-5
        assert {p.dtype for p in codec._decoder(n).parameters()} == {torch.float32}


@pytest.mark.parametrize("name", GOLDEN)
def test_files_made_with_imported_weights_hold_the_published_reconstruction(name: str) -> None:
    expected = np.load(PUBLISHED / name / "expected.npz")
    picture = pixels(PUBLISHED / name / "input.png")
    loaded = load_codec("frappe", imported(golden(name)))
    info = ArrayInfo("image/rgb8", picture.shape)
    for n in (1, 4):
        file = container.unpack(loaded.compress(picture, info, EncodeOptions(channels=n)).data)
        exact = (expected[f"recon.n{n}"].transpose(1, 2, 0).astype(np.float64) + 1) * 127.5
        assert np.abs(loaded.decompress(file) - exact).max() < 0.502


@pytest.mark.parametrize("name", GOLDEN)
def test_the_reference_gives_the_published_numbers(name: str) -> None:
    """So that it may judge what the golden data do not show."""
    expected = np.load(PUBLISHED / name / "expected.npz")
    config = json.loads(golden(name)[0].read_text())
    options = ModelOptions.parse({k: v for k, v in config.items() if k != "n_trained"})
    tensors = load_file(golden(name)[1])
    companded = reference.companded(tensors, options, pixels(PUBLISHED / name / "input.png"), 4)
    for s, latent in enumerate(companded):
        assert np.abs(latent - expected[f"companded.n4.s{s}"]).max() < 3e-4  # theirs is float32
    latents = [expected[f"latents.n4.s{s}"] for s in range(len(companded))]
    assert np.abs(reference.reconstruction(tensors, options, latents, 4) - expected["recon.n4"]).max() < 5e-6


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
def test_every_architecture_gives_the_numbers_of_the_reference(
    tmp_path: Path, photo: np.ndarray, changes: dict[str, Any]
) -> None:
    files = published(tmp_path, **changes)
    tensors, codec = load_file(files[1]), FrappeCodec.load(imported(files), "cpu")
    picture = photo[:32, :48]
    for n in codec.rate_points:
        companded = reference.companded(tensors, codec.options, picture, n)
        latents = codec.analysis.latents(picture, n)
        for mine, theirs in zip(latents, companded, strict=True):
            away_from_edges = np.abs(theirs - np.floor(theirs) - 0.5) > 1e-3
            assert np.array_equal(mine[away_from_edges], np.round(theirs).clip(-127, 127)[away_from_edges])
            assert away_from_edges.mean() > 0.8
            assert (np.abs(mine) < 127).mean() > 0.4, "latents at the bounds show little"
        expected = reference.reconstruction(tensors, codec.options, latents, n)
        assert expected.std() > 0.1, "the picture shows something"
        assert (np.abs(expected) < 1).mean() > 0.7
        assert np.abs(decoded(codec, latents, n) - expected).max() < 1e-5


def test_each_filter_is_stored_once_and_each_decoder_as_it_was(tmp_path: Path) -> None:
    files = published(tmp_path)
    tensors, made = load_file(files[1]), imported(files)
    assert {name for name in made.tensors if name.startswith("encoders.")} == set(encoder_shapes(options_of(made), 3))
    for name, tensor in made.tensors.items():
        assert np.array_equal(tensor, tensors[name if name.startswith("merged.") else f"merged.3.{name}"]), name
    assert len(made.tensors) == len([name for name in tensors if "decoder" in name or name.startswith("merged.3.")])


def options_of(checkpoint: Checkpoint) -> ModelOptions:
    return ModelOptions.parse(checkpoint.config)


def test_some_numbers_of_channels_alone_keep_the_filters_of_the_largest(tmp_path: Path, photo: np.ndarray) -> None:
    files = published(tmp_path, ps=[16, 8, 4, 2], decoder_ps=None)
    whole, some = imported(files), imported(files, 3, 1, 3)
    assert {name.split(".")[1] for name in some.tensors if name.startswith("merged.")} == {"1", "3"}
    assert options_of(some).ps == (16, 8, 4)
    loaded = load_codec("frappe", some)
    x, info = photo, ArrayInfo("image/rgb8", photo.shape)
    for n in (1, 3):
        pictures = [
            codec.decompress(container.unpack(codec.compress(x, info, EncodeOptions(channels=n)).data))
            for codec in (loaded, load_codec("frappe", whole))
        ]
        assert np.array_equal(*pictures), "which others were kept does not matter"
    with pytest.raises(CodectkError, match="from 1, 3"):
        loaded.compress(x, info, EncodeOptions(channels=2))


def test_the_grid_stays_that_of_the_whole_schedule(tmp_path: Path) -> None:
    files = published(tmp_path, ps=[4, 8], decoder_ps=None)
    assert options_of(imported(files, 1)).pitch == 8


def test_channels_that_are_planned_but_not_trained_are_left_out(tmp_path: Path) -> None:
    def untrained(config: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
        config["n_trained"] = 2
        for name in [name for name in tensors if name.startswith("merged.3.")]:
            del tensors[name]

    assert options_of(imported(published(tmp_path, untrained))).ps == (8, 4)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_half_precision_becomes_float32_of_the_same_value(tmp_path: Path, kind: torch.dtype) -> None:
    files = published(tmp_path)
    halves = {name: torch.from_numpy(tensor).to(kind) for name, tensor in load_file(files[1]).items()}
    save_torch(halves, files[1])
    made = imported(files)
    assert {tensor.dtype for tensor in made.tensors.values()} == {np.dtype(np.float32)}
    name = "merged.2.decoder.0.weight"
    assert np.array_equal(made.tensors[name], halves[name].float().numpy())
    FrappeCodec.load(made, "cpu")


def test_decoders_that_are_not_wanted_are_not_read(tmp_path: Path) -> None:
    def nan_in_the_last(config: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
        for name, tensor in tensors.items():
            if name.startswith("merged.3."):
                tensor[:] = np.nan

    files = published(tmp_path, nan_in_the_last)
    FrappeCodec.load(imported(files, 2), "cpu")
    with pytest.raises(WeightsError, match=r"merged\.3\..* holds NaN"):
        imported(files)


def test_how_the_weights_came_about_is_kept_as_a_record(tmp_path: Path) -> None:
    made = imported(published(tmp_path, lam=[0.01], train_ds="somewhere/photos", epochs_merged=[4, 7]))
    assert made.training["options"] == {"lam": [0.01], "train_ds": "somewhere/photos", "epochs_merged": [4, 7]}
    assert made.training["imported"] == ["config.json", MODEL]
    made.save(tmp_path / "saved.safetensors")
    assert Checkpoint.open(tmp_path / "saved.safetensors").digest == made.digest


def _config(**changes: Any) -> Edit:
    return lambda config, tensors: config.update(changes)


def _tensor(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Edit:
    return lambda config, tensors: tensors.update({name: change(tensors[name])})


HOSTILE: dict[str, tuple[Edit, str]] = {
    "unknown key": (_config(decoder_depth=3), r"config\.json has the unknown key 'decoder_depth'"),
    "key of ours": (_config(mode="joint"), r"config\.json has the unknown key 'mode'"),
    "missing keys": (
        lambda config, tensors: [config.pop("ps"), config.pop("n_trained")],
        r"config\.json lacks ps, n_trained",
    ),
    "unknown letter": (_config(decoder_arch="CX"), r"decoder_arch.*config\.json"),
    "unknown quantiser": (_config(encoder_arch="SC9"), r"encoder_arch.*config\.json"),
    "too many trained": (_config(n_trained=4), "n_trained is '4', not from 1 to 3"),
    "none trained": (_config(n_trained=0), "n_trained is '0'"),
    "trained is a word": (_config(n_trained="many"), "n_trained is 'many'"),
    "trained is yes": (_config(n_trained=True), "n_trained is 'True'"),
    "huge network": (_config(decoder_dim=8192, decoder_arch="T" * 64), "has no place"),
    "wider network": (_config(decoder_dim=8192), r"is F32 \(6, 1, 3, 3\), not F32, F16 or BF16 \(8192, 1, 3, 3\)"),
    "no patch sizes": (_config(ps=[]), r"ps.*config\.json"),
    "patch sizes in a mapping": (_config(ps={"8": 1}), r"ps.*config\.json"),
    "other filters": (
        _tensor("merged.1.encoders.0.0.weight", lambda t: t + np.float32(1e-6)),
        r"merged\.1\.encoders\.0\.0\.weight differs from that of 3 channels.*--channels 1",
    ),
    "other factor": (_tensor("merged.2.encoders.1.1.2.γ", lambda t: t * 2), r"merged\.2\.encoders\.1\.1\.2\.γ differs"),
    "other shape": (_tensor("merged.2.decoder.0.weight", lambda t: t[:, :1]), r"merged\.2\.decoder\.0\.weight is F32"),
    "integers": (_tensor("merged.2.decoder.0.bias", lambda t: t.astype(np.int32)), r"0\.bias is I32"),
    "doubles": (_tensor("merged.2.decoder.0.bias", lambda t: t.astype(np.float64)), r"0\.bias is F64"),
    "infinity": (_tensor("merged.2.decoder.0.bias", lambda t: t * np.inf), r"0\.bias holds NaN or infinity"),
    "missing tensor": (lambda config, tensors: tensors.pop("merged.2.decoder.0.bias"), r"0\.bias is missing"),
    "missing decoder": (
        lambda config, tensors: [tensors.pop(name) for name in list(tensors) if name.startswith("merged.2.")],
        r"merged\.2\..* is missing.*--channels",
    ),
    "tensor too many": (
        lambda config, tensors: tensors.update({"merged.2.decoder.9.bias": np.zeros(1, np.float32)}),
        r"tensor 'merged\.2\.decoder\.9\.bias' has no place",
    ),
    "channels too many": (
        lambda config, tensors: tensors.update({"merged.4.decoder.0.bias": np.zeros(1, np.float32)}),
        r"tensor 'merged\.4\.decoder\.0\.bias' has no place",
    ),
    "odd name": (
        lambda config, tensors: tensors.update({"\n" + "x" * 999: np.zeros(1, np.float32)}),
        r"tensor '\?x+…' has no place",
    ),
    "normalised name": (
        lambda config, tensors: tensors.update({"merged.1.encoders.0.1.2.Γ": tensors.pop("merged.1.encoders.0.1.2.γ")}),
        "no place",
    ),
}


@pytest.mark.parametrize(("edit", "words"), HOSTILE.values(), ids=HOSTILE)
def test_what_does_not_fit_is_a_plain_error_that_names_the_file(tmp_path: Path, edit: Edit, words: str) -> None:
    with pytest.raises(WeightsError, match=words) as caught:
        imported(published(tmp_path, edit))
    assert str(tmp_path) in caught.value.problem
    assert len(str(caught.value)) < 500
    assert "\n" not in str(caught.value)
    assert caught.value.next_step


@pytest.mark.parametrize(
    "content",
    [b"{", b"[1]", b"null", b'{"ps": NaN}', b'{"lam": 1e999}', b'{"train_ds": "\\ud800"}', b"[" * 100_000, b"\xff\xfe"],
    ids=repr,
)
def test_a_configuration_that_is_no_json_object_is_refused(tmp_path: Path, content: bytes) -> None:
    files = published(tmp_path)
    files[0].write_bytes(content)
    with pytest.raises(WeightsError, match=r"config\.json is not a configuration in JSON\. Name the files"):
        imported(files)


def test_a_configuration_without_end_is_not_read(tmp_path: Path) -> None:
    files = published(tmp_path)
    with files[0].open("r+b") as stream:
        stream.truncate(1 << 32)  # takes no space
    with pytest.raises(InputError, match="at most 1048576 are read"):
        imported(files)


def test_cut_and_foreign_model_files_are_refused(tmp_path: Path) -> None:
    files = published(tmp_path)
    whole = files[1].read_bytes()
    for content in (whole[:-4], whole[:100], b"\xff" * 64, whole + b"more"):
        files[1].write_bytes(content)
        with pytest.raises(WeightsError, match=f"{MODEL} is damaged, or not a safetensors file. Download"):
            imported(files)
    files[1].write_bytes(b"")
    with pytest.raises(InputError, match="empty"):
        imported(files)
    files[1].unlink()
    with pytest.raises(InputError, match="does not exist"):
        imported(files)


def test_pickles_are_told_what_to_do_and_never_opened(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "sprung",)

    config, _ = published(tmp_path)
    for name in ("checkpoint.pth", "renamed.safetensors"):
        torch.save({"config": Trap()}, tmp_path / name)
        with pytest.raises(WeightsError, match=r"is a pickle.*opens none.*\.safetensors file"):
            imported((config, tmp_path / name))
    assert not (tmp_path / "sprung").exists()


def test_weights_of_codectk_are_not_imported_again(tmp_path: Path) -> None:
    files = published(tmp_path)
    imported(files).save(tmp_path / "mine.safetensors")
    with pytest.raises(WeightsError, match=r"already.*-w"):
        imported((files[0], tmp_path / "mine.safetensors"))


def test_wrong_wishes_are_told_with_the_right_ones(tmp_path: Path) -> None:
    files = published(tmp_path)
    with pytest.raises(OptionsError, match=r"has 3 trained channels, not 4\. Choose --channels from 1 to 3"):
        imported(files, 1, 4)
    with pytest.raises(OptionsError, match="at least 1"):
        ImportOptions.parse({"channels": "0"})
    with pytest.raises(InputError, match=r"two files, not 1\. Name CONFIG.json and MODEL.safetensors"):
        import_weights(files[:1], ImportOptions())
