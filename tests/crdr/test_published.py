"""Published weights become weights of codectk that compute the same; whatever else there is, is refused."""

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from codectk.checkpoint import Checkpoint
from codectk.compression import load_codec
from codectk.container import unpack
from codectk.errors import InputError, WeightsError
from codectk.options import NoOptions
from codectk_crdr.codec import CrdrCodec
from codectk_crdr.export import as_tensor
from codectk_crdr.model import CompressionModel
from codectk_crdr.names import is_buffer, plain_name
from codectk_crdr.options import ModelOptions
from codectk_crdr.published import import_weights, infer_options

from .tiny import info_of, knob, photo, tiny_model

State = dict[str, Tensor]
Edit = Callable[[State], Any]

VARIANTS = [
    {"context": context, "levels": levels, "realism": realism}
    for context in ("none", "channel")
    for levels, realism in ((1, False), (5, False), (5, True))
]
"""The published architectures: widths alone are smaller here."""

WIDTHS: dict[str, Any] = {
    "attention": True,
    "blocks": 3,
    "encoder_width": "6,8,10",
    "encoder_middle": "3,4,5",
    "decoder_width": "8,6,4",
    "decoder_middle": "4,3,2",
    "latent_channels": 8,
    "slices": 2,
    "support_slices": 1,
}


def small(**changes: Any) -> CompressionModel:
    return tiny_model(**{**WIDTHS, "context": "none", "levels": 1, "realism": False, **changes})


def state_of(model: CompressionModel) -> State:
    return OrderedDict((name, value.detach().clone()) for name, value in model.state_dict().items())


def write(path: Path, state: State, edit: Edit | None = None) -> Path:
    """A file as the authors' training writes it."""
    if edit:
        edit(state)
    torch.save({"iter": 500000, "comp_model": state}, path)
    return path


def as_before_1_2_7(state: State) -> State:
    """With the names, and with the buffers, of the CompressAI that published weights were trained with."""
    old = OrderedDict(state)
    for new, name in (("matrices.", "_matrix"), ("biases.", "_bias"), ("factors.", "_factor")):
        for key in [key for key in state if f"entropy_model_z.{new}" in key]:
            old[key.replace(new, name)] = old.pop(key)
    for model in ("entropy_model_z", "entropy_model_y"):
        for name in ("_offset", "_quantized_cdf", "_cdf_length"):
            old[f"{model}.{name}"] = torch.IntTensor()
        old[f"{model}.likelihood_lower_bound.bound"] = torch.tensor([1e-9])
    old["entropy_model_z.target"] = torch.tensor([-21.4, 0, 21.4])
    old["entropy_model_y.scale_table"] = torch.full((64,), torch.nan)  # nobody reads it
    old["entropy_model_y.scale_bound"] = torch.tensor([0.11])
    old["entropy_model_y.lower_bound_scale.bound"] = torch.tensor([0.11])
    return old


def imported(path: Path) -> Checkpoint:
    return import_weights([path], NoOptions())


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: f"{v['context']}-{v['levels']}-{v['realism']}")
def test_every_published_architecture_is_told_from_its_tensors_and_computes_the_same(
    tmp_path: Path, variant: dict[str, Any]
) -> None:
    model = small(**variant)
    file = write(tmp_path / "model.pth.tar", as_before_1_2_7(state_of(model)))
    made = imported(file)
    # What the architecture does not use is left at its default.
    unused = {"groups", "context_width", "aggregation_width"} | (
        {"hyper_width", "slices", "support_slices"} if variant["context"] == "none" else set()
    )
    unused |= set() if variant["realism"] else {"condition_channels"}
    told = ModelOptions.parse(made.config)
    names = [name for name in ModelOptions.model_fields if name not in unused]
    threes = ("encoder_width", "encoder_middle", "decoder_width", "decoder_middle", "blocks")
    for name in (name for name in names if name not in threes):
        assert getattr(told, name) == getattr(model.options, name), name
    assert (told.encoder_widths, told.decoder_widths) == ((6, 8, 10), (8, 6, 4))
    x, beta = as_tensor(photo(64, 64)), torch.tensor([2.0]) if variant["realism"] else None
    wanted = model(x, knob(model, 2.5), beta)
    again = CrdrCodec.load(made, "cpu").model(x, knob(model, 2.5), beta)
    assert torch.allclose(wanted.x_hat, again.x_hat, atol=1e-6)
    assert torch.allclose(wanted.bits, again.bits, rtol=1e-5)
    assert made.training == {"imported": ["model.pth.tar"], "iterations": 500000}


def test_names_of_old_and_new_entropy_models_and_of_wrapped_models_are_the_same(tmp_path: Path) -> None:
    state = state_of(small())
    wrapped = {f"module.{name}": value for name, value in state.items()}
    save_file(wrapped, tmp_path / "state.safetensors")
    digests = {
        imported(path).digest
        for path in (
            write(tmp_path / "new.pth.tar", state_of(small())),
            write(tmp_path / "old.pth.tar", as_before_1_2_7(state)),
            write(tmp_path / "wrapped.pth", wrapped),
            tmp_path / "state.safetensors",
        )
    }
    assert len(digests) == 1


def test_prefixes_are_cut_where_they_lead_alone() -> None:
    assert plain_name("module.encoder.conv1.bias") == "encoder.conv1.bias"
    assert plain_name("encoder.module.conv1.bias") == "encoder.module.conv1.bias"
    assert plain_name("entropy_model_z._matrix3") == "entropy_model_z.matrices.3"
    assert plain_name("entropy_model_z._matrixes") == "entropy_model_z._matrixes"
    assert is_buffer("entropy_model_y.lower_bound_scale.bound")
    assert not is_buffer("encoder.bound")


def test_files_of_imported_weights_open_again_and_say_that_they_are_of_this_machine(tmp_path: Path) -> None:
    loaded = load_codec("crdr", imported(write(tmp_path / "m.pth.tar", state_of(small()))))
    x = photo(70, 90)
    file = unpack(loaded.compress(x, info_of(x)).data)
    assert file.header.params == {"same_machine": True}
    assert loaded.decompress(file).shape == x.shape


def test_published_shapes_are_the_default_options() -> None:
    with torch.device("meta"):
        shapes = {k: tuple(v.shape) for k, v in CompressionModel(ModelOptions()).state_dict().items()}
    assert infer_options(Path("x"), shapes).changed() == {}


def test_half_precision_becomes_single(tmp_path: Path) -> None:
    state = {name: value.to(torch.bfloat16) for name, value in state_of(small()).items()}
    made = imported(write(tmp_path / "m.pth.tar", state))
    assert all(a.dtype == np.float32 for name, a in made.tensors.items() if name.startswith("model."))


def put(name: str, value: Tensor) -> Edit:
    return lambda state: state.update({name: value})


def spoil(state: State) -> None:
    state["encoder.block2.block1.conv.2.weight"][0, 0, 1, 1] = torch.nan


HOSTILE: dict[str, tuple[Edit, str]] = {
    "missing": (lambda s: s.pop("encoder.block1.block1.conv.0.bias"), r"block1\.block1\.conv\.0\.bias is missing"),
    "missing first": (lambda s: s.pop("encoder.conv4.weight"), r"encoder\.conv4\.weight is missing"),
    "unknown": (put("encoder.conv5.weight", torch.zeros(1)), r"'encoder\.conv5\.weight' has no place"),
    "odd name": (put("\n" + "x" * 999, torch.zeros(1)), r"'\?x+…' has no place"),
    "unknown buffer": (put("entropy_model_z._sizes", torch.zeros(1)), r"_sizes' has no place"),
    "another context": (put("context_model.aggregation.0.0.weight", torch.zeros(1)), "aggregation.* has no place"),
    "shape": (put("decoder.conv4.weight", torch.zeros(8, 4, 5, 5)), r"conv4\.weight has shape \(8, 4, 5, 5\), not"),
    "a number": (put("encoder.conv4.weight", torch.tensor(1.0)), r"encoder\.conv4\.weight has shape \(\)"),
    "too wide": (put("encoder.conv1.weight", torch.zeros(4096, 1)), "every width must be from 1 to 2048, not 4096"),
    "empty": (put("entropy_model_z.quantiles", torch.zeros(0, 1, 3)), "hyper_channels"),
    "NaN": (spoil, r"block2\.block1\.conv\.2\.weight holds NaN or infinity"),
    "integers": (lambda s: put("encoder.conv1.bias", s["encoder.conv1.bias"].int())(s), "conv1.bias' is int32, not"),
    "sparse": (lambda s: put("encoder.conv1.bias", s["encoder.conv1.bias"].to_sparse())(s), "in a plain layout"),
    "twice": (lambda s: put("module.encoder.conv1.bias", s["encoder.conv1.bias"])(s), "conv1.bias' is there twice"),
    "repeated": (put("encoder.conv4.weight", torch.zeros(1).expand(2**40)), "more bytes than the file has"),
    "no distribution": (put("entropy_model_z.biases.0", torch.full((8, 3, 1), 3e38)), "no tables can be made"),
}


@pytest.mark.parametrize(("edit", "words"), HOSTILE.values(), ids=HOSTILE)
def test_what_does_not_fit_is_a_plain_error_that_names_the_file(tmp_path: Path, edit: Edit, words: str) -> None:
    file = write(tmp_path / "model.pth.tar", state_of(small()), edit)
    with pytest.raises(WeightsError, match=words) as caught:
        imported(file)
    assert str(file) in caught.value.problem
    assert len(str(caught.value)) < 500
    assert "\n" not in str(caught.value)
    assert caught.value.next_step


def test_slices_that_do_not_divide_the_latent_are_refused(tmp_path: Path) -> None:
    def cut(state: State) -> None:
        for name in [name for name in state if "slice_transforms.1." in name]:
            state[name.replace("transforms.1.", "transforms.2.")] = state[name].clone()

    with pytest.raises(WeightsError, match="is not a multiple of slices 3"):
        imported(write(tmp_path / "m.pth.tar", state_of(small(context="channel")), cut))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"comp_model": {}}, r"holds 'comp_model', not iter and comp_model"),
        ({"iter": 1, "comp_model": {}, "optimizer": {}}, "holds 'iter', 'comp_model', 'optimizer', not"),
        ({"iter": "1", "comp_model": {}}, "not iter and comp_model"),
        ([1, 2], "holds list, not"),
        ({"iter": 1, "comp_model": [1]}, "comp_model is not names and tensors"),
        ({"iter": 1, "comp_model": {"encoder.conv1.bias": 3}}, "comp_model is not names and tensors"),
        ({"iter": 1, "comp_model": {}}, r"encoder\.conv4\.weight is missing"),
    ],
)
def test_other_contents_are_refused(tmp_path: Path, content: Any, words: str) -> None:
    torch.save(content, tmp_path / "m.pth.tar")
    with pytest.raises(WeightsError, match=words) as caught:
        imported(tmp_path / "m.pth.tar")
    assert str(tmp_path) in str(caught.value)


def test_a_pickle_that_runs_something_is_not_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "sprung",)

    torch.save({"iter": 1, "comp_model": Trap()}, tmp_path / "m.pth.tar")
    with pytest.raises(WeightsError, match="could run any program; it was not opened"):
        imported(tmp_path / "m.pth.tar")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(WeightsError, match="damaged, or neither"):
        imported(tmp_path / "plain.pth")
    assert not (tmp_path / "sprung").exists()


def test_cut_and_foreign_files_are_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "m.pth.tar", state_of(small()))
    whole = file.read_bytes()
    for content in (whole[: len(whole) // 2], whole[:-30], whole[:100], b"PK\x03\x04", b"\xff" * 64, b"\x80\x02}."):
        file.write_bytes(content)
        with pytest.raises(WeightsError, match=r"m\.pth\.tar is damaged, or neither"):
            imported(file)
    file.write_bytes(b"")
    with pytest.raises(InputError, match="empty"):
        imported(file)
    with pytest.raises(InputError, match="does not exist"):
        imported(tmp_path / "none.pth")
    with pytest.raises(InputError, match="from one file, not 2"):
        import_weights([file, file], NoOptions())


def rewritten(
    source: Path, target: Path, edit: Callable[[bytes], bytes], compression: int = zipfile.ZIP_STORED
) -> Path:
    """The same archive with another pickle in it, or compressed."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", compression) as new:
        for name in old.namelist():
            data = old.read(name)
            new.writestr(name, edit(data) if name.endswith("data.pkl") else data)
    return target


def test_an_archive_that_would_grow_when_it_is_read_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "m.pth.tar", state_of(small()))
    bomb = rewritten(file, tmp_path / "b.pth.tar", lambda data: data + bytes(1 << 24), zipfile.ZIP_DEFLATED)
    with pytest.raises(WeightsError, match="damaged"):
        imported(bomb)


def test_a_tensor_that_is_larger_than_what_lies_in_the_file_is_refused(tmp_path: Path) -> None:
    state = state_of(small())
    state["encoder.conv4.bias"] = torch.zeros(0x7A69)  # a size that is easy to find
    file = write(tmp_path / "m.pth.tar", state)
    longer = rewritten(
        file, tmp_path / "b.pth.tar", lambda data: data.replace(b"M\x69\x7a\x85", b"J\xff\xff\xff\x7f\x85")
    )
    assert longer.read_bytes() != file.read_bytes()
    with pytest.raises(WeightsError, match="damaged"):
        imported(longer)


def test_weights_of_codectk_are_not_imported_again(tmp_path: Path) -> None:
    imported(write(tmp_path / "m.pth.tar", state_of(small()))).save(tmp_path / "mine.safetensors")
    with pytest.raises(WeightsError, match=r"already.*-w"):
        imported(tmp_path / "mine.safetensors")
