"""Models within models: dotted names on every way in, errors that name the place, and only what differs is kept."""

import json

import pytest
import yaml

from codectk.errors import OptionsError
from codectk.nesting import MAX_NESTING
from codectk.options import IntList, Options, RunOptions, leaves, option
from codectk.recipes import Layer, combine


class Schedule(Options):
    gamma: float = option(0.1, gt=0, cli="--decay", help="Factor of the learning rate.")
    milestones: IntList = option((800,), help="When it falls.")


class Optim(Options):
    lr: float = option(1e-4, gt=0, help="Learning rate.")
    clip_max_norm: float | None = option(1.0, help="Largest norm of gradients.")
    schedule: Schedule = option(Schedule(), help="How the learning rate falls.")


class Rate(Options):
    target: float = option(help="Bits per pixel.", gt=0)
    levels: int = option(5, ge=1, help="Quality levels.")


class Train(Options):
    steps: int = option(10, ge=1, cli="-ti --total-iter", help="Length.")
    optim: Optim = option(Optim(lr=1e-3), help="Optimiser.")
    rate: Rate | None = option(None, help="Control of the rate.")


class Needy(Options):
    rate: Rate = option(help="Control of the rate.")


NESTED = {"optim": {"clip-max-norm": 0.5, "schedule": {"gamma": "0.5"}}, "rate": {"target": 0.2}}
DOTTED = {"optim.clip_max_norm": 0.5, "optim.schedule.gamma": 0.5, "rate.target": "0.2"}


@pytest.mark.parametrize("values", [NESTED, DOTTED, {"optim.schedule": {"gamma": 0.5}, **NESTED["rate"], **DOTTED}])
def test_dotted_names_and_nested_mappings_are_the_same(values):
    values = {name: value for name, value in values.items() if name != "target"}
    values.pop("optim.schedule", None)
    options = Train.parse(values)
    assert (options.optim.clip_max_norm, options.optim.schedule.gamma) == (0.5, 0.5)
    assert options.rate == Rate(target=0.2)


def test_what_is_given_within_a_nested_model_leaves_the_rest_of_its_default_alone():
    options = Train.parse({"optim.schedule.gamma": 0.5})
    assert options.optim.lr == 1e-3, "the default of the field, not of the model in it"
    assert options.rate is None


@pytest.mark.parametrize(
    ("values", "changed"),
    [
        ({}, {}),
        ({"optim": {}}, {}),
        ({"optim.lr": 1e-3}, {}),
        ({"optim.lr": 1e-4}, {"optim": {"lr": 1e-4}}),
        ({"optim.schedule.milestones": "3 4"}, {"optim": {"schedule": {"milestones": [3, 4]}}}),
        ({"rate.target": 1}, {"rate": {"target": 1.0}}),
        ({"rate": None}, {}),
        ({"steps": 3, "optim.clip_max_norm": None}, {"steps": 3, "optim": {"clip_max_norm": None}}),
    ],
)
def test_only_what_differs_is_changed_and_it_gives_the_same_options_again(values, changed):
    options = Train.parse(values)
    assert options.changed() == changed
    assert Train.parse(json.loads(json.dumps(options.changed()))) == options
    assert Train.parse(yaml.safe_load(yaml.safe_dump(options.model_dump(mode="json")))) == options


def test_a_model_that_may_be_missing_is_kept_even_if_all_in_it_is_default():
    class Holder(Options):
        schedule: Schedule | None = option(None, help="Schedule.")

    assert Holder.parse({"schedule": {}}).changed() == {"schedule": {}}
    assert Holder.parse({"schedule": {}}).schedule == Schedule()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"optim.lrr": 1}, "There is no option 'optim.lrr' in mine.yaml. Did you mean 'optim.lr'?"),
        (
            {"optim": {"schedule": {"gama": 1}}},
            "'optim.schedule.gama' in mine.yaml. Did you mean 'optim.schedule.gamma'?",
        ),
        ({"lr": 1}, "There is no option 'lr' in mine.yaml. Did you mean 'optim.lr'?"),
        ({"optim.zzzz": 1}, "Options here: optim.lr, optim.clip_max_norm, optim.schedule."),
        ({"optim.lr": 0}, "Option 'optim.lr' in mine.yaml"),
        ({"optim": {"schedule": {"milestones": [1.5]}}}, "Option 'optim.schedule.milestones' in mine.yaml"),
        ({"rate": {"levels": 0, "target": 1}}, "Option 'rate.levels' in mine.yaml"),
        ({"rate": {"levels": 2}}, "Option 'rate.target' is missing in mine.yaml. Add it: --rate.target VALUE."),
        ({"optim": 5}, "Option 'optim' in mine.yaml"),
        ({"optim.lr": 1, "optim": {"lr": 2}}, "Option 'optim.lr' stands twice in mine.yaml"),
        ({"optim": None, "optim.lr": 2}, "Option 'optim' stands twice in mine.yaml"),
        ({"steps": 1, "total_iter": 2}, "Option 'steps' stands twice in mine.yaml"),
        ({"steps.x": 1}, "Option 'steps' in mine.yaml"),
        ({"optim._delete_": True}, "There is no option 'optim._delete_'"),
    ],
)
def test_a_mistake_is_named_with_its_dotted_name_and_its_source(values, message):
    with pytest.raises(OptionsError) as caught:
        Train.parse(values, "mine.yaml")
    assert message in str(caught.value)


def test_a_missing_option_of_a_model_that_must_be_given_is_named_itself():
    with pytest.raises(OptionsError, match=r"'rate\.target' is missing"):
        Needy.parse({})
    assert Needy.parse({"rate.target": 1}).rate.levels == 5


@pytest.mark.parametrize("name", ["." * 300_000, "a." * (MAX_NESTING + 2), "optim.", ".lr", ""])
def test_names_that_are_mere_dots_or_too_deep_are_refused(name):
    with pytest.raises(OptionsError) as caught:
        Train.parse({name: 1})
    assert len(str(caught.value)) < 400


def test_long_names_on_the_command_line_are_names_in_files_too():
    assert Train.parse({"total-iter": 7}).steps == 7
    assert Train.parse({"optim": {"schedule": {"decay": 0.7}}}).optim.schedule.gamma == 0.7
    with pytest.raises(OptionsError, match="no option 'ti'"):
        Train.parse({"ti": 7})


def test_leaves_are_all_options_with_a_value():
    inner = ["optim.lr", "optim.clip_max_norm", "optim.schedule.gamma", "optim.schedule.milestones"]
    assert list(leaves(Train)) == ["steps", *inner, "rate.target", "rate.levels"]


def test_layers_merge_nested_options_of_several_models_and_the_last_is_strongest():
    layers = [
        Layer("a.yaml", {"optim": {"lr": 0.1, "schedule": {"gamma": 0.2}}, "seed": 3}),
        Layer("b.yaml", {"optim.schedule.milestones": [1, 2], "seed": 4, "total-iter": 20}),
        Layer("the command line", {"optim.lr": "0.3", "steps": "30"}),
    ]
    options, run_options = combine([Train, RunOptions], layers)
    assert options == Train(steps=30, optim=Optim(lr=0.3, schedule=Schedule(gamma=0.2, milestones=(1, 2))))
    assert run_options == RunOptions(seed=4)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sed": 1}, "There is no option 'sed' in b.yaml. Did you mean 'seed'?"),
        ({"optim.lr": "fast"}, "'optim.lr' in b.yaml"),
        ({"optim.lr": {"x": 1}}, "Option 'optim.lr' in b.yaml"),
    ],
)
def test_a_mistake_names_the_layer_that_it_stands_in(values, message):
    with pytest.raises(OptionsError) as caught:
        combine([Train, RunOptions], [Layer("a.yaml", {"optim.lr": 0.1}), Layer("b.yaml", values), Layer("c.yaml", {})])
    assert message in str(caught.value)
