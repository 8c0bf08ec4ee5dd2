"""Option models: strict about names, types and bounds, and the same on every way in."""

import json
from typing import Annotated, Literal

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codectk.errors import OptionsError, UnknownName
from codectk.options import FloatList, IntList, NoOptions, Options, RunOptions, WordList, among, option
from codectk.recipes import read_yaml, recipe_path, recipes

PROPERTY = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])


class Sample(Options):
    """One option of every type that plugins use."""

    batch_size: int = option(8, ge=1, le=64, help="Pictures per step.")
    learning_rate: float = option(1e-3, gt=0, help="Size of a step.")
    loss: Literal["mse", "ms-ssim"] = option("mse", help="What is minimised.")
    noise: bool = option(False, help="Add noise.")
    data: str = option("photos", help="Data set.")
    val_data: str | None = option(None, help="Other data set.")
    ps: IntList = option((32, 16), min_length=1, help="Patch sizes.")
    lmbda: FloatList = option((0.01,), help="Rate weights.")


class Needy(Options):
    codec_name: str = option(help="Which codec.")


finite = st.floats(allow_nan=False, allow_infinity=False)
samples = st.fixed_dictionaries(
    {},
    optional={
        "batch_size": st.integers(1, 64),
        "learning_rate": finite.filter(lambda value: value > 0),
        "loss": st.sampled_from(["mse", "ms-ssim"]),
        "noise": st.booleans(),
        "data": st.text(),
        "val_data": st.none() | st.text(),
        "ps": st.lists(st.integers(), min_size=1, max_size=5),
        "lmbda": st.lists(finite, max_size=5),
    },
)


@PROPERTY
@given(samples)
def test_changed_options_survive_json_and_yaml(values):
    options = Sample.parse(values)
    changed = options.changed()
    assert set(changed) <= set(values)
    assert Sample.parse(json.loads(json.dumps(changed))) == options
    assert Sample.parse(yaml.safe_load(yaml.safe_dump(changed))) == options


@PROPERTY
@given(st.lists(st.integers(), min_size=1, max_size=6), st.sampled_from([",", " ", ", "]))
def test_a_list_written_on_the_command_line_is_the_list(items, separator):
    assert Sample.parse({"ps": separator.join(map(str, items))}).ps == tuple(items)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("32 32 32 16", (32, 32, 32, 16)),
        ("32,32,32,16", (32, 32, 32, 16)),
        ("32x3,16", (32, 32, 32, 16)),
        ("32x3 16", (32, 32, 32, 16)),
        ("16, 32x2", (16, 32, 32)),
        ("8x1", (8,)),
        ("-4", (-4,)),
        ([32, 16], (32, 16)),
        (["32", "16"], (32, 16)),
        ((1,), (1,)),
        (7, (7,)),
    ],
)
def test_forms_of_an_integer_list(written, meant):
    assert Sample.parse({"ps": written}).ps == meant


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("0.5x2,1", (0.5, 0.5, 1.0)),
        ("5e-5", (5e-5,)),
        ("1e-3x2", (1e-3, 1e-3)),
        (["5e-5", 1], (5e-5, 1.0)),
        (0.25, (0.25,)),
        (3, (3.0,)),
        ([], ()),
        ("", ()),
    ],
)
def test_forms_of_a_list_of_numbers(written, meant):
    assert Sample.parse({"lmbda": written}).lmbda == meant


@pytest.mark.parametrize(
    "written", ["32x", "x3", "32x0", "32x-1", "32x1001", "32x3x2", "1.5", "a", [1.5], True, None, ""]
)
def test_what_is_no_integer_list_is_refused(written):
    with pytest.raises(OptionsError, match="'ps'"):
        Sample.parse({"ps": written})


@pytest.mark.parametrize("written", ["nan", "inf", ["-inf"], [float("nan")], float("inf"), "1,,x"])
def test_what_is_no_list_of_finite_numbers_is_refused(written):
    with pytest.raises(OptionsError, match="'lmbda'"):
        Sample.parse({"lmbda": written})


class Choosy(Options):
    parts: Annotated[WordList, among(("encoder", "decoder"), "part")] = option((), help="Some.")


@pytest.mark.parametrize("written", ["encoder decoder", "encoder,decoder", ["encoder", "decoder"]])
def test_forms_of_a_list_of_words(written):
    assert Choosy.parse({"parts": written}).parts == ("encoder", "decoder")


def test_a_word_that_is_none_of_those_known_is_refused_with_them():
    with pytest.raises(OptionsError, match="there is no part 'decodr'; there are encoder, decoder"):
        Choosy.parse({"parts": "encoder decodr"})


def test_a_number_in_exponent_form_from_yaml_is_a_number(tmp_path):
    # YAML 1.1 reads 5e-5, which has no point, as text.
    path = tmp_path / "recipe.yaml"
    path.write_text("learning-rate: 5e-5\nlmbda: [5e-5, 0.5]\nps: 32x3,16\n", encoding="utf-8")
    values = read_yaml(path)
    assert values["learning-rate"] == "5e-5"
    options = Sample.parse(values)
    assert (options.learning_rate, options.lmbda, options.ps) == (5e-5, (5e-5, 0.5), (32, 32, 32, 16))


@pytest.mark.parametrize("name", ["batch-size", "batch_size"])
def test_hyphen_and_underscore_are_the_same(name):
    assert Sample.parse({name: "16"}).batch_size == 16


def test_hyphen_and_underscore_are_the_same_in_a_word_to_choose():
    assert Sample.parse({"loss": "ms_ssim"}).loss == "ms-ssim"
    assert Sample.parse_part({"loss": "ms_ssim"}, "it") == {"loss": "ms-ssim"}
    with pytest.raises(OptionsError, match=r"given: 'ms.ssim'"):
        Sample.parse({"loss": "ms.ssim"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("batch_size", 0),
        ("batch_size", 65),
        ("batch_size", 2.5),
        ("batch_size", "many"),
        ("learning_rate", 0),
        ("learning_rate", float("nan")),
        ("learning_rate", "inf"),
        ("loss", "l1"),
        ("noise", "perhaps"),
        ("data", None),
    ],
)
def test_a_value_out_of_bounds_or_of_the_wrong_type_is_refused_by_name(name, value):
    with pytest.raises(OptionsError) as caught:
        Sample.parse({name: value}, "recipe.yaml")
    assert f"'{name}' in recipe.yaml" in caught.value.problem
    assert repr(value) in caught.value.problem


def test_an_unknown_option_is_refused_with_the_nearest_name():
    with pytest.raises(OptionsError) as caught:
        Sample.parse({"batch-sise": 3}, "recipe.yaml")
    assert str(caught.value) == "There is no option 'batch_sise' in recipe.yaml. Did you mean 'batch_size'?"


def test_an_unknown_option_that_resembles_nothing_gets_the_list_of_all():
    with pytest.raises(OptionsError, match="Options here: batch_size, learning_rate"):
        Sample.parse({"zzzzzz": 3})
    with pytest.raises(OptionsError, match="Options here: none"):
        NoOptions.parse({"zzzzzz": 3})


def test_a_missing_option_is_named_with_its_flag():
    with pytest.raises(OptionsError, match=r"'codec_name' is missing.*--codec-name VALUE"):
        Needy.parse({})


def test_options_cannot_be_changed_and_refuse_unknown_arguments():
    options = Sample()
    with pytest.raises(ValueError, match="frozen"):
        options.batch_size = 3
    with pytest.raises(ValueError, match="Extra inputs"):
        Sample(batch_sise=3)


def test_a_default_out_of_bounds_is_noticed():
    class Wrong(Options):
        steps: int = option(0, ge=1, help="Steps.")

    with pytest.raises(OptionsError, match="'steps'"):
        Wrong.parse({})


def test_only_what_differs_from_the_default_is_changed():
    assert Sample().changed() == {}
    assert Sample(batch_size=8, noise=True, ps=(32, 16)).changed() == {"noise": True}
    assert Sample(ps=(1,)).changed() == {"ps": [1]}
    assert RunOptions(workers=0).changed() == {"workers": 0}


def test_what_option_is_told_reaches_the_command_line():
    class One(Options):
        steps: int = option(3, ge=1, help="How long.", unit="steps", cli="-n", anytime=True)

    field = One.model_fields["steps"]
    assert field.description == "How long."
    assert field.json_schema_extra == {"unit": "steps", "cli": "-n", "anytime": True}


@pytest.mark.parametrize(
    "content",
    [
        b"a: [1, 2",
        b"a: b: c",
        b"\ta: 1",
        b"- 1\n- 2\n",
        b"just text",
        b"a: \xff",
        b"a: 2020-13-45",
        b"a: 0b_",
        b"? [1]\n: 2",
        b"a: !!python/object/apply:os.getcwd []",
        b"a: " + b"[" * 5000,
        b"a: *nothing",
    ],
    ids=lambda content: repr(content[:16]),
)
def test_yaml_that_cannot_be_options_is_refused_with_its_path(tmp_path, content):
    path = tmp_path / "recipe.yaml"
    path.write_bytes(content)
    with pytest.raises(OptionsError, match=r"recipe\.yaml"):
        read_yaml(path)


def test_an_empty_yaml_file_holds_no_options(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("# nothing\n", encoding="utf-8")
    assert read_yaml(path) == {}


def test_a_missing_yaml_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(OptionsError, match="does not exist"):
        read_yaml(tmp_path / "nothing.yaml")
    with pytest.raises(OptionsError, match="cannot be read"):
        read_yaml(tmp_path)


@pytest.fixture
def recipe_folder(site):
    folder = site.code / "tiny_package" / "recipes"
    folder.mkdir(parents=True)
    (site.code / "tiny_package" / "__init__.py").write_text("", encoding="utf-8")
    for name in ("paper.yaml", "very-fast.yaml", "notes.txt"):
        (folder / name).write_text("batch_size: 4\n", encoding="utf-8")
    return "tiny_package:recipes"


@pytest.mark.parametrize("name", ["very-fast", "very_fast"])
def test_a_recipe_is_found_by_either_spelling(recipe_folder, name):
    assert Sample.parse(read_yaml(recipe_path(recipe_folder, name))).batch_size == 4


def test_an_unknown_recipe_is_refused_with_those_that_exist(recipe_folder):
    assert [path.name for path in recipes(recipe_folder)] == ["paper.yaml", "very-fast.yaml"]
    with pytest.raises(UnknownName, match=r"'papr'.*paper, very_fast"):
        recipe_path(recipe_folder, "papr")
    with pytest.raises(UnknownName, match="none"):
        recipe_path(None, "paper")
