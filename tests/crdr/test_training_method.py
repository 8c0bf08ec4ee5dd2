"""The method: what is lowered, what each optimizer moves, references, schedules, earlier weights, validation."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from codectk.arrays import ArrayInfo
from codectk.dataset import Sample
from codectk.errors import CodectkError, InputError
from codectk.metric import SSIM
from codectk.options import RunOptions
from codectk.train import Run
from codectk_crdr.evaluation import _similarity, eight_bits, ms_ssim, validate
from codectk_crdr.knobs import Knobs
from codectk_crdr.model import CompressionModel
from codectk_crdr.names import plain_name
from codectk_crdr.pretrained import find_pretrained, take
from codectk_crdr.start import zero_condition
from codectk_crdr.train_options import GanOptions, OptimizerOptions, SchedulerOptions, TrainOptions
from codectk_crdr.trainer import CrdrTrainer
from codectk_crdr.training import Judge, Objective, make_optimizer, rate_factor, reconstruct, set_rate

from .trainings import REALISM, SMALL, options


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path / "runs" / "this", RunOptions(device="cpu"))


def small(**changes: Any) -> CompressionModel:
    torch.manual_seed(1)
    options = TrainOptions.parse({**SMALL, **changes}).architecture()
    return CompressionModel(options)


def objective(run: Run, **changes: Any) -> Objective:
    torch.manual_seed(1)
    options = TrainOptions.parse({**SMALL, **REALISM, **changes})
    made = Objective(options, run, CompressionModel(options.architecture()))
    for parameter in made.model.decoder.parameters():
        parameter.data.mul_(4)  # so that knobs show in the small model's pictures
    return made


def crops(count: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.nn.functional.interpolate(torch.rand(count, 3, 8, 8, generator=generator), size=64) * 2 - 1


def test_at_realism_0_only_squared_error_and_rate_are_lowered(run: Run) -> None:
    made, x = objective(run), crops()
    q = torch.tensor([0.0, 1.5])
    torch.manual_seed(0)
    zero = made.of_model(made.model, x, Knobs(q, torch.zeros(2)), 0)
    assert torch.allclose(zero.loss.detach(), zero.terms["distortion"] + zero.terms["rate"])
    torch.manual_seed(0)
    beta = torch.tensor([1.0, 3.0])
    some = made.of_model(made.model, x, Knobs(q, beta), 0)
    pair = (some.output.x_hat, some.output.y_hat)
    score = made.discriminator(*pair, q).float()  # type: ignore[misc]
    reference = made.discriminator(made.reference(x, Knobs(q, beta)), pair[1], q).float()  # type: ignore[misc]
    adversary = 0.01 * torch.nn.functional.softplus(reference - score).mean((1, 2, 3))
    assert torch.allclose(some.terms["adv"], adversary.mean(), rtol=1e-4), "logged without realism"
    rest = some.terms["distortion"] + some.terms["rate"]
    assert torch.allclose(some.loss.detach(), rest + (beta * adversary).mean(), rtol=1e-5)


ALEXNET = {0: (64, 3, 11, 11), 3: (192, 64, 5, 5), 6: (384, 192, 3, 3), 8: (256, 384, 3, 3), 10: (256, 256, 3, 3)}


def test_the_perceptual_loss_is_lpips_times_the_realism_and_moves_the_model(run: Run, tmp_path: Path) -> None:
    """With made-up weights under their published names."""
    generator = torch.Generator().manual_seed(0)
    state = {f"features.{n}.weight": torch.randn(shape, generator=generator) / 20 for n, shape in ALEXNET.items()}
    state |= {f"features.{n}.bias": torch.zeros(shape[0]) for n, shape in ALEXNET.items()}
    heads = {f"lin{i}.model.1.weight": torch.ones(1, shape[0], 1, 1) for i, shape in enumerate(ALEXNET.values())}
    save_file({**state, **heads}, tmp_path / "lpips.safetensors")
    given = {"perceptual": "lpips", "perceptual_file": str(tmp_path / "lpips.safetensors"), "perceptual_weight": 0.5}
    made, x, q = objective(run, **given, **{"gan.type": "none"}), crops(), torch.tensor([1.0])
    losses = made.of_model(made.model, x, Knobs(q, torch.tensor([2.0])), 0)
    assert made.lpips is not None
    distance = 0.5 * made.lpips(x, losses.output.x_hat).mean()
    assert float(distance.detach()) > 0
    assert torch.allclose(losses.terms["perceptual"], distance)
    rest = losses.terms["distortion"] + losses.terms["rate"]
    assert torch.allclose(losses.loss, rest + 2 * distance)
    last = made.model.decoder.conv4.weight
    (gradient,) = torch.autograd.grad(distance, [last])
    assert float(gradient.abs().sum()) > 0


def test_balance_divides_by_the_weight_of_the_rate(run: Run) -> None:
    x, q = crops(), torch.tensor([0.0])
    losses = []
    for balance in (0.0, 0.5):
        made = objective(run, balance=balance)
        torch.manual_seed(0)
        losses.append(float(made.of_model(made.model, x, Knobs(q, torch.zeros(1)), 0).loss.detach()))
    assert losses[0] / losses[1] == pytest.approx(math.sqrt(3.6))


def test_the_reference_is_the_same_picture_one_level_up_or_the_original(run: Run) -> None:
    made, x = objective(run), crops(3)
    beta = torch.tensor([1.0, 2.0, 3.0])
    found = made.reference(x, Knobs(torch.tensor([0.0, 1.25, 1.0]), beta))
    expected = reconstruct(made.model, x, torch.tensor([1.0, 2.0, 2.0]), beta)
    assert torch.allclose(found[[0, 2]], expected[[0, 2]], atol=1e-5)
    assert torch.equal(found[1], x[1]), "2.25 is above the last level, 2"
    assert not found.requires_grad
    whole = made.model.eval()(x, torch.tensor([1.0, 2.0, 2.0]), beta).x_hat
    assert torch.allclose(expected, whole, atol=1e-5), "without likelihoods it is the same picture"
    assert made.reference(x, Knobs(torch.tensor([2.0]), beta[:1])) is x
    one_for_all = made.reference(x, Knobs(torch.tensor([1.0]), beta[:1]))
    assert torch.allclose(one_for_all, reconstruct(made.model, x, torch.tensor([2.0]), beta[:1]))


def test_the_model_loss_leaves_quantiles_and_discriminator_alone(run: Run) -> None:
    made = objective(run)
    assert made.discriminator is not None
    made.discriminator.requires_grad_(False)
    made.of_model(made.model, crops(), Knobs(torch.tensor([0.0]), torch.tensor([2.0])), 0).loss.backward()
    assert made.model.entropy_model_z.quantiles.grad is None
    assert all(p.grad is None for p in made.discriminator.parameters())
    assert all(p.grad is not None for n, p in made.model.named_parameters() if not n.endswith("quantiles"))
    made.model.zero_grad()
    made.model.aux_loss().backward()  # type: ignore[no-untyped-call]
    assert [n for n, p in made.model.named_parameters() if p.grad is not None] == ["entropy_model_z.quantiles"]


def test_the_gradients_are_clipped_together_and_the_quantiles_apart(tmp_path: Path, pictures: Path) -> None:
    """One step of plain gradient descent at rate 1 is as long as the clipped norm."""
    plain = {"type": "SGD", "lr": 1.0}
    optim = {"clip_max_norm": 0.125, "g_optimizer": plain, "aux_optimizer": plain, "g_scheduler": {"type": "constant"}}
    chosen = options(pictures, mse_weight=5000, optim=optim)
    with Run(tmp_path / "run", RunOptions(device="cpu", workers=0)) as made:
        trainer = CrdrTrainer(chosen, made)
        trainer._prepare()
        before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
        trainer._iterate(0, trainer.pictures.batches("train", chosen)(0))
    moved = {name: (p.detach() - before[name]).square().sum() for name, p in trainer.model.named_parameters()}
    quantiles = moved.pop("entropy_model_z.quantiles")
    assert math.sqrt(sum(moved.values())) == pytest.approx(0.125, rel=1e-3)
    assert math.sqrt(quantiles) > 0.2


def test_large_logits_cost_the_discriminator_only_on_request(run: Run) -> None:
    made, x = objective(run).discriminator, crops()
    assert made is not None
    pair = (x, x * 0.5, torch.zeros(2, 6, 4, 4), torch.tensor([1.0]))
    losses = [Judge(made, GanOptions(type="rgan", drift=drift), run)(*pair)[0] for drift in (0.0, 0.5)]
    squares = [made(v, *pair[2:]).square().mean() for v in pair[:2]]
    assert torch.allclose(losses[1] - losses[0], 0.5 * (squares[0] + squares[1]) / 2)


def test_the_learning_rate_falls_at_milestones_as_in_torch() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], 1.0)
    torch_schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 5])
    options = SchedulerOptions(type="MultiStepLR", milestones=(3, 5))
    for step in range(8):
        assert rate_factor(options, step, 8) == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        torch_schedule.step()


def test_the_cosine_rises_first_and_ends_at_its_floor() -> None:
    options = SchedulerOptions(type="cosine", warmup=9, floor=0.01)
    assert [rate_factor(options, step, 10**6) for step in (0, 4, 9)] == pytest.approx([0.1, 0.5, 1.0], abs=1e-6)
    assert rate_factor(options, 500, 1000) == pytest.approx(0.505)
    assert rate_factor(options, 1000, 1000) == pytest.approx(0.01)
    assert rate_factor(SchedulerOptions(type="constant"), 999, 1000) == 1


def test_some_parameters_have_another_learning_rate() -> None:
    parts = [{"keys": ["mlp", "proj_"], "lr_mult": 0.1}, {"keys": ["conv1"], "lr_mult": 3}]
    for kind, made in (("SGD", torch.optim.SGD), ("Adam", torch.optim.Adam)):
        options = OptimizerOptions.parse({"type": kind, "lr": 0.5, "paramwise_opt": parts})
        named = {name: torch.nn.Parameter(torch.zeros(1)) for name in ("mlp.0", "a.proj_1", "conv1", "conv2")}
        optimizer = make_optimizer(options, named.items())
        assert isinstance(optimizer, made)
        set_rate(optimizer, 0.5)
        rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
        assert [rates[id(p)] for p in named.values()] == pytest.approx([0.05, 0.05, 1.5, 0.5])


def saved(model: CompressionModel, path: Path, **changes: Tensor) -> Path:
    save_file({**model.state_dict(), **changes}, path)
    return path


def test_weights_of_one_rate_start_a_model_of_several_without_a_jump(tmp_path: Path) -> None:
    single = small(levels=1, **{"rate.type": "hific", "rate.lambda_a": 0.05}).eval()
    several = small().eval()
    taken = take(several, saved(single, tmp_path / "stage_1.safetensors"))
    assert len(taken.taken) == len(single.state_dict()) and not taken.unknown
    assert taken.missing and all(".interp_ca_list." in name for name in taken.missing)
    assert f"{len(taken.missing)} new in the model (encoder.interp_ca_list.0.weight" in str(taken)
    x, expected = crops(), single(crops()).x_hat
    for q in (0.0, 0.7, 2.0):
        assert torch.allclose(several(x, torch.tensor([q])).x_hat, expected, atol=1e-6)


def test_a_zero_start_of_the_condition_leaves_the_decoder_as_it_was(tmp_path: Path) -> None:
    before = small().eval()
    path = saved(before, tmp_path / "stage_2.safetensors")
    x, q = crops(), torch.tensor([1.0])
    for zero in (True, False):
        after = small(**REALISM).eval()
        if zero:
            zero_condition(after)
        take(after, path)
        same = [torch.allclose(after(x, q, torch.tensor([b])).x_hat, before(x, q).x_hat, atol=1e-6) for b in (0.0, 3.0)]
        assert same == [zero, zero]


def test_names_of_older_and_wrapped_weights_are_known(tmp_path: Path) -> None:
    model = small()
    old = {}
    for name, tensor in model.state_dict().items():
        for new, before in (("matrices.", "_matrix"), ("biases.", "_bias"), ("factors.", "_factor")):
            name = name.replace(f"entropy_model_z.{new}", f"entropy_model_z.{before}")  # noqa: PLW2901
        old[f"module.{name}"] = tensor + 1
    old["module.entropy_model_z._quantized_cdf"] = torch.zeros(0, dtype=torch.int32)
    save_file(old, tmp_path / "old.safetensors")
    taken = take(model, tmp_path / "old.safetensors")
    assert (len(taken.taken), taken.missing, taken.unknown) == (len(old) - 1, [], [])
    assert plain_name("encoder.module.weight") == "encoder.module.weight", "cut from the front alone"


def test_weights_that_do_not_fit_are_refused_in_one_line_and_change_nothing(tmp_path: Path) -> None:
    model = small()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    name = "encoder.conv1.weight"
    nan = before[name].clone()
    nan[0] = math.nan
    cases = {
        "shape": saved(model, tmp_path / "shape.safetensors", **{name: torch.zeros(5, 3, 5, 5)}),
        "finite": saved(model, tmp_path / "finite.safetensors", **{name: nan}),
        "integers": saved(model, tmp_path / "integers.safetensors", **{"integer.z.median": torch.zeros(1)}),
        "other": tmp_path / "other.safetensors",
        "damaged": tmp_path / "damaged.safetensors",
    }
    save_file({"backbone.weight": torch.zeros(1)}, cases["other"])
    cases["damaged"].write_bytes(b"no weights")
    words = {
        "shape": r"conv1.weight is \(5, 3, 5, 5\), but the model's is \(4, 3, 5, 5\)",
        "finite": "holds NaN or infinity",
        "integers": "in integers, which cannot be trained",
        "other": "no parameter of this model",
        "damaged": "no safetensors file",
    }
    for case, path in cases.items():
        with pytest.raises(CodectkError, match=words[case]) as caught:
            take(model, path)
        assert path.name in str(caught.value) and "\n" not in str(caught.value)
        assert all(torch.equal(before[n], tensor) for n, tensor in model.state_dict().items())


def test_earlier_runs_are_found_by_folder_name_and_recipe(run: Run, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    about = '{"trainer": "crdr", "options": {}, "run_options": {}, "versions": {}, "sources": %s}'
    for name, sources in (
        ("crdr-1", '["recipe base/a", "recipe stage_1"]'),
        ("crdr-2", '["recipe stage_1", "recipe stage_2"]'),
    ):
        (runs / name / "model").mkdir(parents=True)
        (runs / name / "run.json").write_text(about % sources)
        (runs / name / "model" / "comp_model_iter5.safetensors").touch()
    found = runs / "crdr-1" / "model" / "comp_model_iter5.safetensors"
    assert find_pretrained("crdr-1", run, "nowhere") == found, "beside the new run's folder"
    assert find_pretrained("stage_1", run, "nowhere") == found, "by the recipe that it was started with"
    elsewhere = Run(tmp_path / "other" / "this", RunOptions(device="cpu"))
    assert find_pretrained("stage_1", elsewhere, str(runs)) == found
    assert find_pretrained(str(runs / "crdr-1"), elsewhere, "nowhere") == found
    (runs / "crdr-1" / "weights.safetensors").touch()
    assert find_pretrained("stage_1", run, "nowhere") == runs / "crdr-1" / "weights.safetensors"
    with pytest.raises(InputError, match=r"no weights named stage_3 .*--recipe stage_3"):
        find_pretrained("stage_3", run, "nowhere")
    (runs / "empty").mkdir()
    with pytest.raises(InputError, match="holds no weights yet"):
        find_pretrained("empty", run, "nowhere")


class Two:
    """Two pictures; the second is large enough for MS-SSIM."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.x = [rng.integers(0, 256, shape, dtype=np.uint8) for shape in ((70, 65, 3), (164, 192, 3))]

    def __len__(self) -> int:
        return 2

    def __getitem__(self, i: int) -> Sample:
        return Sample(self.x[i], str(i), ArrayInfo("image/rgb8", self.x[i].shape))


def test_validation_counts_bits_over_original_pixels_and_compares_rounded_pictures(run: Run) -> None:
    model = small()
    results = validate(model, Two(), run, 2, truncate=False)
    assert model.training and len(results) == 3
    model.eval()
    bpp, psnr, structure = [], [], []
    for picture in Two().x:
        height, width = picture.shape[:2]
        more = [(0, -height % 64), (0, -width % 64), (0, 0)]
        x = torch.from_numpy(np.pad(picture, more, mode="edge").transpose(2, 0, 1).copy())[None].float() / 127.5 - 1
        with torch.no_grad():
            out = model(x, torch.tensor([1.0]))
        bpp.append(float(out.rounded_bits) / (height * width))
        decoded = ((out.x_hat.clamp(-1, 1)[0, :, :height, :width] + 1) * 127.5).round().numpy().transpose(1, 2, 0)
        psnr.append(10 * math.log10(255**2 / np.square(decoded - picture.astype(float)).mean()))
        structure.append(-1.0 if height < 161 else results[1].ms_ssim * 2 + 1)
    assert results[1].bpp == pytest.approx(np.mean(bpp), rel=1e-4)
    assert results[1].psnr == pytest.approx(np.mean(psnr), rel=1e-4)
    assert 0 < structure[1] < 1, "the mean of -1 and of the large picture's"
    assert validate(model, Two(), run, 1, truncate=False)[1].bpp == pytest.approx(bpp[0], rel=1e-4)


def test_the_published_validation_truncates() -> None:
    x = torch.tensor([-1.0, 0.9 / 127.5 - 1, 2.0])
    assert eight_bits(x, truncate=False).tolist() == [0, 1, 255]
    assert eight_bits(x, truncate=True).tolist() == [0, 0, 255]


def test_ms_ssim_is_built_of_ssim() -> None:
    rng = np.random.default_rng(1)
    x = np.clip(rng.normal(128, 40, (176, 180, 3)), 0, 255).astype(np.uint8)
    x_hat = np.clip(x + rng.normal(0, 20, x.shape), 0, 255).astype(np.uint8)
    pair = [torch.from_numpy(v.transpose(2, 0, 1).astype(float))[None] for v in (x, x_hat)]
    expected = SSIM().measure(x, x_hat, ArrayInfo("image/rgb8", x.shape))
    assert float(_similarity(*pair)[1].mean()) == pytest.approx(expected)
    assert ms_ssim(pair[0], pair[0]) == pytest.approx(1.0)
    assert ms_ssim(*(v[..., :160, :] for v in pair)) == -1.0
    assert 0.5 < ms_ssim(*pair) < 1.0
    flat = [torch.full((1, 1, 256, 256), value) for value in (100.0, 120.0)]
    c1 = (0.01 * 255) ** 2
    luminance = (2 * 100 * 120 + c1) / (100**2 + 120**2 + c1)
    assert ms_ssim(*flat) == pytest.approx(luminance**0.1333, rel=1e-6), "only the coarsest scale knows brightness"
