"""Recipes and configuration files that build on others: what is merged, what is replaced, what is refused."""

import pytest

from codectk.errors import CodectkError, OptionsError
from codectk.nesting import MAX_NESTING, merge
from codectk.options import Options, option
from codectk.recipes import MAX_FILES, combine, merged, parse_value, read_config, read_recipe, recipes


class Optim(Options):
    type: str = option("Adam", help="Which optimiser.")
    lr: float = option(1e-4, gt=0, help="Learning rate.")
    betas: tuple[float, ...] = option((0.9, 0.999), help="Of Adam.")


class Rate(Options):
    target: float | None = option(None, help="Bits per pixel.")
    weights: tuple[float, ...] = option((1.0,), help="Rate weights.")


class Train(Options):
    steps: int = option(10, ge=1, help="Length.")
    optim: Optim = option(Optim(), help="Optimiser.")
    rate: Rate | None = option(None, help="Control of the rate.")
    extra: dict[str, float] | float = option(0.0, help="More.")


@pytest.fixture
def write(tmp_path):
    """Write YAML files; returns the path of the last."""

    def make(**files):
        for name, text in files.items():
            path = tmp_path / f"{name.replace('__', '/')}.yaml"
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return path

    return make


def read(path):
    return combine([Train], read_config(path))[0]


def test_a_file_changes_its_base_key_by_key(write):
    base = "steps: 5\noptim:\n  type: SGD\n  betas: [0.1, 0.2, 0.3]\nrate: {target: 0.5}\n"
    path = write(base=base, mine="_base_: base.yaml\noptim:\n  betas: [0.5]\n  lr: 1e-2\n")
    assert read(path) == Train(steps=5, optim=Optim(type="SGD", lr=1e-2, betas=(0.5,)), rate=Rate(target=0.5))


def test_dotted_keys_change_a_base_as_nested_ones_do(write):
    path = write(base="optim: {type: SGD}\n", mine="_base_: base.yaml\noptim.lr: 1e-4\nrate.target: 0.5\n")
    assert read(path) == Train(optim=Optim(type="SGD", lr=1e-4), rate=Rate(target=0.5))


@pytest.mark.parametrize("first", ["batch-size", "batch_size"])
def test_hyphen_and_underscore_are_the_same_in_base_and_child(write, first):
    class Batch(Options):
        batch_size: int = option(1, help="Size.")

    path = write(base=f"{first}: 2\n", mine="_base_: base.yaml\nbatch_size: 3\n")
    assert combine([Batch], read_config(path)) == [Batch(batch_size=3)]


@pytest.mark.parametrize(("flag", "left"), [("true", Optim(lr=0.5)), ("false", Optim(type="SGD", lr=0.5))])
def test_delete_drops_what_the_base_had_under_a_mapping(write, flag, left):
    path = write(base="optim: {type: SGD, lr: 1}\n", mine=f"_base_: base.yaml\noptim: {{_delete_: {flag}, lr: 0.5}}\n")
    assert read(path).optim == left


def test_delete_leaves_nothing_behind_where_there_is_nothing_to_drop(write):
    assert read(write(mine="optim: {_delete_: true, lr: 0.5}\nextra: {_delete_: true, a: 1}\n")) == Train(
        optim=Optim(lr=0.5), extra={"a": 1}
    )


def test_null_takes_a_model_away_and_a_mapping_brings_it_back(write):
    path = write(
        one="rate: {target: 0.5, weights: [2, 3]}\n",
        two="_base_: one.yaml\nrate: null\n",
        three="_base_: two.yaml\nrate: {target: 0.7}\n",
    )
    assert read(path.with_stem("two")).rate is None
    assert read(path).rate == Rate(target=0.7)


def test_bases_are_found_from_the_file_that_names_them_and_build_on_others(write):
    path = write(
        below__deep="steps: 1\nextra: 1\n",
        below__middle="_base_: deep.yaml\nextra: 2\n",
        other="optim: {lr: 3}\n",
        mine="_base_: [below/middle.yaml, other.yaml]\noptim.type: SGD\n",
    )
    assert read(path) == Train(steps=1, extra=2.0, optim=Optim(type="SGD", lr=3))
    names = [layer.source.rpartition("/")[2] for layer in read_config(path)]
    assert names == ["deep.yaml", "middle.yaml", "other.yaml", "mine.yaml"], "weakest first"


def test_a_list_over_a_mapping_and_a_mapping_over_nothing_are_taken():
    assert merge({"a": {"b": 1}, "c": None}, {"a": [1], "c": {"d": 2}}, "x") == {"a": [1], "c": {"d": 2}}


def test_a_mapping_over_something_else_is_refused_unless_it_says_delete(write):
    base = {"extra": 5.0}
    path = write(base="extra: 5\n", mine="_base_: base.yaml\nextra: {a: 1}\n")
    with pytest.raises(OptionsError, match=r"'extra' is a mapping in .*mine\.yaml, but .* changes is 5"):
        read(path)
    assert merge(base, {"extra": {"a": 1, "_delete_": True}}, "x") == {"extra": {"a": 1}}


BROKEN = {
    "the same key in two bases": (
        {"a": "optim: {lr: 1}\n", "b": "optim: {type: SGD}\n", "mine": "_base_: [a.yaml, b.yaml]\n"},
        ["mine.yaml builds on", "a.yaml and", "b.yaml, which both set 'optim'"],
    ),
    "the same key below two bases": (
        {"a": "steps: 1\n", "b": "_base_: a.yaml\n", "mine": "_base_: [a.yaml, b.yaml]\n"},
        ["b.yaml, which both set 'steps'"],
    ),
    "itself": ({"mine": "_base_: mine.yaml\n"}, ["mine.yaml builds on itself: mine.yaml → mine.yaml"]),
    "a circle": (
        {"a": "_base_: b.yaml\n", "b": "_base_: ./a.yaml\n", "mine": "_base_: a.yaml\n"},
        ["b.yaml builds on itself", "mine.yaml → a.yaml → b.yaml → a.yaml"],
    ),
    "a missing base": ({"mine": "_base_: none.yaml\n"}, ["none.yaml, which does not exist", "Correct `_base_` in"]),
    "a folder": ({"mine": "_base_: .\n"}, ["which does not exist"]),
    "a name that is too long": ({"mine": f"_base_: {'x' * 5000}\n"}, ["which does not exist"]),
    "a zero byte": ({"mine": '_base_: "a\\0b"\n'}, ["which does not exist"]),
    "a number": ({"mine": "_base_: 3\n"}, ["mine.yaml must be a file or a list"]),
    "a list of numbers": ({"mine": "_base_: [3]\n"}, ["mine.yaml must be a file or a list"]),
    "nothing": ({"mine": "_base_:\n"}, ["mine.yaml must be a file or a list"]),
    "a mapping": ({"mine": "_base_: {a: b}\n"}, ["mine.yaml must be a file or a list"]),
    "a base that is no YAML": ({"a": "x: [\n", "mine": "_base_: a.yaml\n"}, ["a.yaml cannot be read as YAML"]),
    "an unknown option in a base": ({"a": "stepps: 3\n", "mine": "_base_: a.yaml\n"}, ["a.yaml. Did you mean 'steps'"]),
    "a bad value in a base": ({"a": "optim: {lr: 0}\n", "mine": "_base_: a.yaml\n"}, ["'optim.lr' in", "a.yaml: "]),
    "delete with a word": ({"mine": "optim: {_delete_: maybe}\n"}, ["'optim._delete_' in", "is 'maybe'"]),
    "delete at the top": ({"a": "steps: 3\n", "mine": "_base_: a.yaml\n_delete_: true\n"}, ["stands at the top of"]),
    "a name twice": ({"mine": "optim: {lr: 1}\noptim.lr: 2\n"}, ["'optim.lr' stands twice in", "mine.yaml"]),
    "too deep": ({"mine": "a: " + "{a: " * (MAX_NESTING + 2) + "1" + "}" * (MAX_NESTING + 2)}, ["nested too deep"]),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_be_built_on_is_refused_in_one_line_that_names_the_file(write, name):
    files, parts = BROKEN[name]
    with pytest.raises(OptionsError) as caught:
        read(write(**files))
    assert all(part in str(caught.value) for part in parts), caught.value
    assert "\n" not in str(caught.value)
    assert len(str(caught.value).replace(str(write(mine="")), "")) < 600


def test_neither_a_long_chain_nor_a_wide_tree_is_read_without_end(write, tmp_path):
    chain = {f"c{i}": f"_base_: c{i + 1}.yaml\n" for i in range(MAX_FILES)}
    with pytest.raises(OptionsError, match=rf"c0\.yaml builds on more than {MAX_FILES} files"):
        read(write(**chain, **{f"c{MAX_FILES}": ""}).with_stem("c0"))
    # Two to the power of 40 files, if nobody counted.
    tree = {f"t{i}": f"_base_: [t{i + 1}.yaml, t{i + 1}.yaml]\n" for i in range(40)}
    with pytest.raises(OptionsError, match=rf"t0\.yaml builds on more than {MAX_FILES} files"):
        read(write(**tree, t40="").with_stem("t0"))


@pytest.fixture
def folder(site):
    """A package with recipes that build on a file below, and some that look elsewhere."""
    place = site.code / "tiny_recipes" / "recipes"
    (place / "base").mkdir(parents=True)
    (place.parent / "__init__.py").write_text("", encoding="utf-8")
    (place.parent / "secret.yaml").write_text("steps: 9\n", encoding="utf-8")
    (place / "base" / "default.yaml").write_text("steps: 7\n", encoding="utf-8")
    (place / "paper.yaml").write_text("_base_: base/default.yaml\noptim.lr: 0.5\n", encoding="utf-8")
    (place / "outside.yaml").write_text("_base_: ../secret.yaml\n", encoding="utf-8")
    (place / "absolute.yaml").write_text(f"_base_: {place.parent / 'secret.yaml'}\n", encoding="utf-8")
    (place / "link.yaml").write_text("_base_: base/link.yaml\n", encoding="utf-8")
    (place / "base" / "link.yaml").symlink_to(place.parent / "secret.yaml")
    return "tiny_recipes:recipes"


def test_a_recipe_builds_on_files_of_its_folder(folder):
    layers = read_recipe(folder, "paper")
    assert combine([Train], layers) == [Train(steps=7, optim=Optim(lr=0.5))]
    assert [layer.source for layer in layers] == ["recipe base/default", "recipe paper"]
    assert "default" not in [path.stem for path in recipes(folder)], "what lies below is no recipe by itself"


@pytest.mark.parametrize("name", ["outside", "absolute", "link"])
def test_a_recipe_reads_nothing_outside_of_its_folder(folder, name):
    with pytest.raises(OptionsError, match=rf"{name}\.yaml builds on .*, outside of the recipes"):
        read_recipe(folder, name)


def test_rules_between_options_wait_until_all_is_known(write):
    assert merged([Train], read_config(write(mine="optim.lr: '0.5'\n"))) == [{"optim": {"lr": "0.5"}}]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", "1e-4"),
        ("123", "123"),
        ("", ""),
        ("null", None),
        ("[0.5, 1]", [0.5, 1]),
        ("{a: 1, _delete_: true}", {"a": 1, "_delete_": True}),
        ("a=b", "a=b"),
    ],
)
def test_values_on_the_command_line_are_text_unless_they_are_null_lists_or_mappings(text, value):
    assert parse_value(text, "the command line") == value


@pytest.mark.parametrize("text", ["[1", "{a: 1, a: 2}", "[&x 1, *x]", "[" * 5000])
def test_a_value_that_begins_like_yaml_must_be_yaml(text):
    with pytest.raises(CodectkError, match="is not YAML"):
        parse_value(text, "the command line")
