"""Published checkpoints become weights that compute the same; whatever else there is, is refused."""

import csv
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from codectk.checkpoint import Checkpoint
from codectk.errors import InputError, WeightsError
from codectk.registry import get_registry
from codectk.specs import TrainerSpec
from codectk_dct_backbones.architecture import Architecture
from codectk_dct_backbones.budget import Budget
from codectk_dct_backbones.classifier import load_classifier
from codectk_dct_backbones.model import build
from codectk_dct_backbones.published import import_weights
from codectk_dct_backbones.recognition import ImportOptions

State = dict[str, Tensor]
Edit = Callable[[State], Any]

GOLDEN = Path(__file__).parent / "golden"

PIXELS: list[dict[str, Any]] = [
    {"model": "resnet34", "channel_scale": 0.5},
    {"model": "cspdarknet53", "channel_scale": 0.5},
    {"model": "efficientvit_m4", "channel_scale": 0.7},
]
COEFFICIENTS: list[dict[str, Any]] = [
    {"variant": "reconstruction", "channel_scale": 0.5, "range_mode": "full"},
    {"variant": "block-stem", "channel_scale": 0.6},
    {"variant": "luma-fusion", "channel_scale": 0.9, "budget": Budget(16, 9, 4)},
    {"variant": "luma-fusion", "channel_scale": 0.5, "budget": Budget(16, 0, 0)},
    {"variant": "block-stem", "channel_scale": 0.5, "budget": Budget(0, 9, 9)},
    {"variant": "luma-fusion-pruned", "budget": Budget(4, 4, 4)},
    {"variant": "luma-fusion-pruned", "budget": Budget(0, 1, 0)},
]


def architecture(**values: Any) -> Architecture:
    pixels = values.get("variant", "rgb") == "rgb"
    return Architecture.parse(
        {"classes": 5, "image_size": 224 if pixels else 256, "compat": "none" if pixels else "original", **values}
    )


def state_of(built: Architecture) -> State:
    torch.manual_seed(0)
    return {name: value.clone() for name, value in build(built).state_dict().items()}


def record_of(built: Architecture) -> dict[str, Any]:
    """What the public trainer stores besides the network."""
    return {
        "epoch": 12,
        "optimizer": {"state": {0: {"momentum_buffer": torch.zeros(3)}}, "param_groups": [{"lr": 0.1}]},
        "scaler": None,
        "variant": built.variant,
        "coeff_window": None,
        "coeff_count_luma": built.budget.luma,
        "coeff_count_cb": built.budget.cb,
        "coeff_count_cr": built.budget.cr,
        "channel_scale": built.channel_scale,
        "range_mode": built.range_mode,
        "trim_coefficients": True,
        "best_acc": 0.5,
    }


def imported(path: Path, **options: Any) -> Checkpoint:
    return import_weights([path], ImportOptions.parse(options))


@pytest.mark.parametrize("values", [*PIXELS, *COEFFICIENTS], ids=lambda v: "-".join(map(str, v.values())))
def test_every_published_network_is_told_and_is_the_same(tmp_path: Path, values: dict[str, Any]) -> None:
    built = architecture(**values)
    state = state_of(built)
    torch.save({"model": state, **record_of(built)}, tmp_path / "checkpoint_last.pth")
    made = imported(tmp_path / "checkpoint_last.pth")
    assert made.training == {"imported": ["checkpoint_last.pth"], "epoch": 12}
    assert made.licence == "as published"
    loaded = load_classifier(made, "cpu")
    assert loaded.architecture == built
    assert all(torch.equal(value, state[name]) for name, value in loaded.network.state_dict().items())
    normalised = built.variant not in ("rgb", "reconstruction")
    assert ("statistics.mean" in made.tensors) == normalised


@pytest.fixture(scope="module")
def small() -> tuple[Architecture, State]:
    built = architecture(variant="luma-fusion-pruned", budget=Budget(4, 4, 4))
    return built, state_of(built)


def test_names_of_wrapped_networks_and_of_states_alone_are_the_same(
    tmp_path: Path, small: tuple[Architecture, State]
) -> None:
    _, state = small
    wrapped = {f"module._orig_mod.{name}": value for name, value in state.items()}
    own_head = {name.replace("head.", "head.fc."): value for name, value in state.items()}
    bare = {name.removeprefix("backbone."): value for name, value in state.items()}
    torch.save({"model": state}, tmp_path / "0.pth")
    torch.save(state, tmp_path / "1.pth")
    torch.save({"state_dict": wrapped}, tmp_path / "2.pth")
    torch.save({"model": own_head}, tmp_path / "3.pth")
    torch.save(bare, tmp_path / "4.pth")
    save_file(state, tmp_path / "5.safetensors")
    assert len({imported(path).digest for path in sorted(tmp_path.iterdir())}) == 1


def test_a_network_for_pixels_is_told_without_its_prefix(tmp_path: Path) -> None:
    state = state_of(architecture(channel_scale=0.5))
    torch.save({name.removeprefix("backbone."): value for name, value in state.items()}, tmp_path / "m.pth")
    assert load_classifier(imported(tmp_path / "m.pth"), "cpu").architecture == architecture(channel_scale=0.5)


@pytest.mark.parametrize("variant", ["block_stem", "luma_fusion", "reconstruction"])
def test_backbones_of_the_published_names_get_a_head_to_be_trained(tmp_path: Path, variant: str) -> None:
    with (GOLDEN / f"{variant}.keys.csv").open() as stream:
        shapes = {row["parameter"]: tuple(map(int, row["shape"].split("x"))) for row in csv.DictReader(stream)}
    state = {name: torch.full(shape, 0.5) for name, shape in shapes.items()}
    for name, shape in shapes.items():  # running statistics have no gradient, so the list has none
        if len(shape) == 1 and name.endswith("weight"):
            stem = name.removesuffix("weight")
            state |= {f"{stem}running_mean": torch.zeros(shape), f"{stem}running_var": torch.ones(shape)}
    torch.save({"model": state}, tmp_path / "m.pth")
    with pytest.raises(WeightsError, match=r"holds no head.*--classes N"):
        imported(tmp_path / "m.pth")
    loaded = load_classifier(imported(tmp_path / "m.pth", classes=10), "cpu")
    assert loaded.architecture == architecture(variant=variant.replace("_", "-"), classes=10)
    assert not loaded.network.state_dict()["head.weight"].any()


@pytest.mark.parametrize("values", PIXELS[1:], ids=lambda v: v["model"])
def test_other_backbones_without_a_head_get_one_too(tmp_path: Path, values: dict[str, Any]) -> None:
    state = state_of(architecture(**values))
    torch.save({n: value for n, value in state.items() if not n.startswith("head.")}, tmp_path / "m.pth")
    loaded = load_classifier(imported(tmp_path / "m.pth", classes=7), "cpu")
    assert loaded.architecture == architecture(**values, classes=7)


def with_norm(state: State) -> tuple[State, torch.nn.Sequential]:
    """The state with the head that EfficientViT's authors have, and that head."""
    weight = state.pop("head.weight")
    torch.manual_seed(1)
    head = torch.nn.Sequential()
    head.add_module("bn", torch.nn.BatchNorm1d(weight.shape[1]))
    head.add_module("l", torch.nn.Linear(weight.shape[1], len(weight)))
    for name, value in head.state_dict().items():
        if value.is_floating_point():
            value.uniform_(0.5, 2)
        state[f"head.{name}"] = value
    del state["head.bias"]
    return state, head.eval()


def test_the_head_of_efficientvits_authors_becomes_one_layer(tmp_path: Path) -> None:
    state, head = with_norm(state_of(architecture(**PIXELS[2])))
    torch.save({"model": {n.removeprefix("backbone."): value for n, value in state.items()}}, tmp_path / "m.pth")
    loaded = load_classifier(imported(tmp_path / "m.pth"), "cpu")
    features = torch.randn(4, state["head.l.weight"].shape[1])
    found = loaded.network.get_submodule("head")(features)
    assert torch.allclose(found, head(features), rtol=1e-4, atol=1e-4)
    for name, value in (("head.bn.bias", torch.zeros(3)), ("head.l.weight", torch.zeros(5))):
        torch.save({**state, name: value}, tmp_path / "bad.pth")
        with pytest.raises(WeightsError, match="is no head of one layer"):
            imported(tmp_path / "bad.pth")


def test_what_names_leave_open_is_asked_for(tmp_path: Path) -> None:
    built = architecture(variant="block-stem", channel_scale=0.5, budget=Budget(0, 9, 9))
    torch.save({"model": state_of(built)}, tmp_path / "m.pth")
    with pytest.raises(WeightsError, match=r"reads chroma alone.*--variant block-stem"):
        imported(tmp_path / "m.pth")
    assert load_classifier(imported(tmp_path / "m.pth", variant="block-stem"), "cpu").architecture == built


def test_options_say_what_a_file_does_not(tmp_path: Path, small: tuple[Architecture, State]) -> None:
    torch.save(small[1], tmp_path / "m.pth")
    (tmp_path / "names.txt").write_text("tench\nspringer\nplayer\nsaw\nchurch\n")
    made = imported(
        tmp_path / "m.pth", class_names=tmp_path / "names.txt", range_mode="full", image_size=128, dct_stats="none"
    )
    loaded = load_classifier(made, "cpu")
    assert loaded.classes == ("tench", "springer", "player", "saw", "church")
    assert (loaded.architecture.range_mode, loaded.architecture.image_size) == ("full", 128)
    assert "statistics.mean" not in made.tensors
    with_statistics = imported(tmp_path / "m.pth", range_mode="full", dct_stats="imagenet")
    assert "statistics.mean" in with_statistics.tensors


@pytest.mark.parametrize("names", ["a\nb\n", "a\nb\nc\nd\nd\n", "a\n\nc\nd\ne\n", b"\xff\xfe"])
def test_other_class_names_are_refused(tmp_path: Path, small: tuple[Architecture, State], names: str | bytes) -> None:
    torch.save(small[1], tmp_path / "m.pth")
    (tmp_path / "names.txt").write_bytes(names if isinstance(names, bytes) else names.encode())
    with pytest.raises(InputError, match=r"names\.txt"):
        imported(tmp_path / "m.pth", class_names=tmp_path / "names.txt")


def test_half_precision_becomes_single(tmp_path: Path, small: tuple[Architecture, State]) -> None:
    halves = {n: v.half() if v.is_floating_point() else v for n, v in small[1].items()}
    torch.save({"model": halves}, tmp_path / "m.pth")
    tensors = imported(tmp_path / "m.pth").tensors
    assert {str(a.dtype) for n, a in tensors.items() if not n.endswith("num_batches_tracked")} == {"float32"}


@pytest.mark.parametrize(
    "record",
    [
        {"variant": 3, "channel_scale": "big", "coeff_count": [1], "range_mode": None, "epoch": "last", "trim": 2},
        {"channel_scale": float("nan"), "coeff_count_cb": 1, "coeff_count_cr": 1, "variant": "luma-fusion"},
        {"channel_scale": 1e308, "image_size": "wide"},
    ],
)
def test_notes_that_do_not_fit_are_passed_over(
    tmp_path: Path, small: tuple[Architecture, State], record: dict[str, Any]
) -> None:
    torch.save({"model": small[1], **record}, tmp_path / "m.pth")
    assert load_classifier(imported(tmp_path / "m.pth"), "cpu").architecture == small[0]


def put(name: str, value: Tensor) -> Edit:
    return lambda state: state.update({name: value})


BRANCH = "backbone.backbone.res_layers.2.blocks.1.branch2a"


def spoil(state: State) -> None:
    state[f"{BRANCH}.conv.weight"] = state[f"{BRANCH}.conv.weight"].clone()
    state[f"{BRANCH}.conv.weight"][0, 0, 1, 1] = torch.nan


HOSTILE: dict[str, tuple[Edit, str]] = {
    "missing": (lambda s: s.pop(f"{BRANCH}.norm.bias"), r"branch2a\.norm\.bias is missing"),
    "unknown": (put("backbone.backbone.conv2.weight", torch.zeros(1)), r"conv2\.weight' has no place"),
    "odd name": (put("backbone.\n" + "x" * 999, torch.zeros(1)), r"'backbone\.\?x+…' has no place"),
    "shape": (put(f"{BRANCH}.conv.weight", torch.zeros(8, 4, 3, 3)), r"has shape \(8, 4, 3, 3\), not"),
    "a number": (put("backbone.luma_down.0.weight", torch.tensor(1.0)), r"weight has shape \(\)"),
    "no classes": (put("head.weight", torch.zeros(0, 128)), "classes"),
    "half a head": (lambda s: s.pop("head.bias"), r"'head\.weight' is no head"),
    "two heads": (put("fc.weight", torch.zeros(1)), "is no head"),
    "much luma": (put("backbone.luma_down.0.weight", torch.zeros(16, 65, 1, 1)), "65 coefficients of luma"),
    "odd chroma": (put("backbone.chroma_proj.0.weight", torch.zeros(8, 7, 1, 1)), "7 coefficients of chroma"),
    "much chroma": (put("backbone.chroma_proj.0.weight", torch.zeros(8, 130, 1, 1)), "130 coefficients of chroma"),
    "NaN": (spoil, r"conv\.weight' holds NaN or infinity"),
    "integers": (lambda s: put("head.bias", s["head.bias"].int())(s), r"head\.bias' is int32, not"),
    "sparse": (lambda s: put("head.bias", s["head.bias"].to_sparse())(s), "in a plain layout"),
    "twice": (lambda s: put("module.head.bias", s["head.bias"])(s), r"head\.bias' is there twice"),
    "repeated": (put("head.weight", torch.zeros(1).expand(2**40)), "more bytes than the file has"),
    "no backbone": (lambda s: [s.pop(n) for n in list(s) if "res_layers" in n], "and no backbone"),
}


@pytest.mark.parametrize(("edit", "words"), HOSTILE.values(), ids=HOSTILE)
def test_what_does_not_fit_is_a_plain_error_that_names_the_file(
    tmp_path: Path, small: tuple[Architecture, State], edit: Edit, words: str
) -> None:
    state = dict(small[1])
    edit(state)
    file = tmp_path / "m.pth"
    torch.save({"model": state}, file)
    with pytest.raises(WeightsError, match=words) as caught:
        imported(file)
    assert str(file) in caught.value.problem
    assert len(str(caught.value)) < 500
    assert "\n" not in str(caught.value)
    assert caught.value.next_step


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([1, 2], "holds list, not names and tensors"),
        ({}, "holds nothing, and no backbone|holds no head"),
        ({"model": [1]}, "holds 'model', not names and tensors"),
        ({"model": {"head.weight": 3}}, "holds 'head.weight', not names and tensors"),
        ({"model": {3: torch.zeros(1)}}, "holds '3', not names and tensors"),
    ],
)
def test_other_contents_are_refused(tmp_path: Path, content: Any, words: str) -> None:
    torch.save(content, tmp_path / "m.pth")
    with pytest.raises(WeightsError, match=words) as caught:
        imported(tmp_path / "m.pth")
    assert str(tmp_path) in str(caught.value)


def test_a_pickle_that_runs_something_is_not_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "sprung",)

    torch.save({"model": {}, "config": Trap()}, tmp_path / "m.pth")
    with pytest.raises(WeightsError, match="could run any program; it was not opened"):
        imported(tmp_path / "m.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(WeightsError, match="damaged, or neither"):
        imported(tmp_path / "plain.pth")
    assert not (tmp_path / "sprung").exists()


def test_damaged_files_and_wrong_numbers_of_files_are_refused(
    tmp_path: Path, small: tuple[Architecture, State]
) -> None:
    file = tmp_path / "m.pth"
    torch.save({"model": small[1]}, file)
    whole = file.read_bytes()
    for content in (whole[:-100], whole[: len(whole) // 2], b"PK\x03\x04", b"\0" * 100):
        file.write_bytes(content)
        with pytest.raises(WeightsError, match=r"m\.pth is damaged, or neither"):
            imported(file)
    file.write_bytes(b"")
    with pytest.raises(InputError, match="empty"):
        imported(file)
    with pytest.raises(InputError, match="from one file, not 2"):
        import_weights([file, file], ImportOptions())


def test_an_archive_that_would_grow_when_it_is_read_is_refused(
    tmp_path: Path, small: tuple[Architecture, State]
) -> None:
    torch.save({"model": small[1]}, tmp_path / "m.pth")
    with (
        zipfile.ZipFile(tmp_path / "m.pth") as old,
        zipfile.ZipFile(tmp_path / "b.pth", "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            new.writestr(name, old.read(name))
    with pytest.raises(WeightsError, match="damaged"):
        imported(tmp_path / "b.pth")


def test_weights_of_codectk_are_not_imported_again(tmp_path: Path, small: tuple[Architecture, State]) -> None:
    torch.save({"model": small[1]}, tmp_path / "m.pth")
    imported(tmp_path / "m.pth").save(tmp_path / "mine.safetensors")
    with pytest.raises(WeightsError, match="already"):
        imported(tmp_path / "mine.safetensors")


@pytest.mark.parametrize("name", ["dct_backbones.rgb", "dct_backbones.compressed"])
def test_trainers_name_the_importer(name: str) -> None:
    registered = get_registry().find(TrainerSpec, name)
    assert registered.load(registered.spec.importer) is import_weights
    assert registered.load(registered.spec.import_options) is ImportOptions


def test_the_program_imports_classifiers(tmp_path: Path, small: tuple[Architecture, State]) -> None:
    click_testing = pytest.importorskip("click.testing", reason="the command line (codectk) is not installed")
    main = pytest.importorskip("codectk_cli.main", reason="the command line (codectk) is not installed")
    torch.save({"model": small[1]}, tmp_path / "m.pth")
    out = tmp_path / "w.safetensors"
    words = ["import-weights", "dct-backbones.compressed", str(tmp_path / "m.pth"), "-o", str(out)]
    done = click_testing.CliRunner().invoke(main.cli, [*words, "--image-size", "128", "--licence", "CC0"])
    assert done.exit_code == 0, done.output
    made = Checkpoint.open(out)
    assert load_classifier(made, "cpu").architecture == small[0].model_copy(update={"image_size": 128})
    assert made.licence == "CC0"
