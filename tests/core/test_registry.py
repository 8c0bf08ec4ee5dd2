"""Discovery: a broken plugin is reported and never takes another one down."""

import json
import os
import subprocess
import sys

import pytest

from codectk.errors import PluginError, UnknownName
from codectk.registry import Registry
from codectk.specs import CodecSpec, CommandSpec, DatasetSpec, MetricSpec, TrainerSpec

HEADER = """
from codectk.hookspecs import hookimpl
from codectk.specs import CodecSpec, MetricSpec, TrainerSpec

CODECTK_API = 1

def codec(name):
    return CodecSpec(name=name, summary="a codec", target="nowhere:Codec", kinds=("image/rgb8",))
"""

NEVER_LOADED = "broken_codec"
"""Name of the codec in plugins that must not be listed."""

BROKEN = {
    "import error": ("import", "import nothing_of_that_name"),
    "syntax error": ("import", "def codectk_codecs(:"),
    "SystemExit on import": ("import", "raise SystemExit(3)"),
    "SystemExit without a word": ("import", "raise SystemExit"),
    "generator exit on import": ("import", "raise GeneratorExit"),
    "missing API version": ("api", HEADER + "del CODECTK_API"),
    "API version of the future": ("api", HEADER + "CODECTK_API = 2"),
    "API version as text": ("api", HEADER + "CODECTK_API = '1'"),
    "misspelt hook": ("register", HEADER + "@hookimpl\ndef codectk_codec():\n    return [codec('broken_codec')]"),
    "wrong signature": (
        "register",
        HEADER + "@hookimpl\ndef codectk_codecs(path):\n    return [codec('broken_codec')]",
    ),
    "no decorator": ("register", HEADER + "def codectk_codecs():\n    return [codec('broken_codec')]"),
    "one hook of two without decorator": (
        "register",
        HEADER
        + "@hookimpl\ndef codectk_codecs():\n    return [codec('broken_codec')]\ndef codectk_metrics():\n    return []",
    ),
    "no hook": ("hook", HEADER),
    "hook raises": ("hook", HEADER + "@hookimpl\ndef codectk_codecs():\n    raise ValueError('two\\nlines')"),
    "hook exits": ("hook", HEADER + "@hookimpl\ndef codectk_codecs():\n    raise SystemExit(1)"),
    "hook returns None": ("hook", HEADER + "@hookimpl\ndef codectk_codecs():\n    pass"),
    "hook returns a number": ("hook", HEADER + "@hookimpl\ndef codectk_codecs():\n    return 5"),
    "hook returns a bare spec": ("hook", HEADER + "@hookimpl\ndef codectk_codecs():\n    return codec('broken_codec')"),
    "hook returns names": ("hook", HEADER + "@hookimpl\ndef codectk_codecs():\n    return ['broken_codec']"),
    "hook returns another spec": (
        "hook",
        HEADER + "@hookimpl\ndef codectk_metrics():\n    return [codec('broken_codec')]",
    ),
    "hook stops half-way": (
        "hook",
        HEADER + "@hookimpl\ndef codectk_codecs():\n    yield codec('broken_codec')\n    raise ValueError",
    ),
    "spec with an unknown field": (
        "hook",
        HEADER + "@hookimpl\ndef codectk_codecs():\n    return [CodecSpec(nome='x')]",
    ),
    "error without words": ("import", "class Bad(Exception):\n    def __str__(self): raise ValueError\nraise Bad"),
    "module that answers nothing": ("api", "def __getattr__(name):\n    raise RuntimeError('on purpose')"),
    "spec whose name is a number": ("hook", HEADER + "@hookimpl\ndef codectk_codecs():\n    return [codec(5)]"),
}

broken_plugins = pytest.mark.parametrize(("stage", "source"), BROKEN.values(), ids=BROKEN.keys())


def plugin(*codecs):
    """Source of a plugin that holds codecs of these names."""
    return HEADER + f"@hookimpl\ndef codectk_codecs():\n    return [codec(name) for name in {codecs!r}]"


@broken_plugins
def test_a_broken_plugin_is_one_problem_and_the_others_work(site, stage, source):
    site.add("aaa-good", plugin("first"))
    site.add("my-broken", source)
    site.add("zzz-good", plugin("second"))
    registry = site.registry()
    assert [(problem.distribution, problem.stage) for problem in registry.problems] == [("my-broken", stage)]
    assert registry.problems[0].summary
    assert "\n" not in registry.problems[0].summary
    assert registry.problems[0].details
    assert [(found.full_name, found.version) for found in registry.codecs()] == [
        ("aaa-good/first", "1.5"),
        ("zzz-good/second", "1.5"),
    ]
    loaded = {found.distribution: found.loaded for found in registry.plugins}
    assert loaded == {"aaa-good": True, "my-broken": False, "zzz-good": True}


@broken_plugins
def test_strict_raises_at_a_broken_plugin(site, monkeypatch, stage, source):
    site.add("my-broken", source)
    with pytest.raises(PluginError, match="my-broken"):
        site.registry(strict=True)
    monkeypatch.setenv("CODECTK_STRICT", "1")
    with pytest.raises(PluginError, match="my-broken"):
        site.registry(strict=None)


@pytest.mark.parametrize("value", ["", "0"])
def test_strict_can_be_switched_off_in_the_environment(site, monkeypatch, value):
    monkeypatch.setenv("CODECTK_STRICT", value)
    site.add("my-broken", "raise ValueError('on purpose')")
    assert [problem.stage for problem in site.registry(strict=None).problems] == ["import"]


def test_details_of_a_problem_hold_the_traceback(site):
    site.add("my-broken", "import os\n\ndef fall():\n    raise ValueError('on purpose')\n\nfall()")
    problem = site.registry().problems[0]
    assert problem.summary == "import of my_broken failed (ValueError: on purpose)"
    assert "in fall" in problem.details


def test_ctrl_c_during_discovery_is_not_a_problem_of_a_plugin(site):
    site.add("my-slow", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        site.registry()


def test_a_hook_that_fails_leaves_the_other_hooks_of_its_plugin(site):
    failing = "\n@hookimpl\ndef codectk_trainers():\n    raise ValueError('on purpose')"
    site.add("half-broken", plugin("mine") + failing)
    registry = site.registry()
    assert [problem.stage for problem in registry.problems] == ["hook"]
    assert registry.find(CodecSpec, "mine").distribution == "half-broken"
    assert [found.loaded for found in registry.plugins] == [False]


def test_all_kinds_of_specs_are_found(site):
    source = """
from codectk.hookspecs import hookimpl
from codectk.specs import CodecSpec, CommandSpec, DatasetSpec, MetricSpec, TrainerSpec
CODECTK_API = 1
common = dict(name="one", summary="s", target="nowhere:Thing")

@hookimpl
def codectk_codecs(): return (CodecSpec(kinds=("image/rgb8",), **common),)
@hookimpl
def codectk_trainers(): yield TrainerSpec(**common)
@hookimpl
def codectk_datasets(): return [DatasetSpec(kinds=("image/rgb8",), **common)]
@hookimpl
def codectk_metrics(): return {MetricSpec(direction="lower", **common)}
@hookimpl
def codectk_commands(): return [CommandSpec(**common | {"name": "my-all.one"})]
"""
    site.add("my-all", source)
    registry = site.registry(strict=True)
    types = [CodecSpec, TrainerSpec, DatasetSpec, MetricSpec, CommandSpec]
    assert [type(found.spec) for found in registry.everything()] == types
    assert registry.find(CommandSpec, "my_all.one").full_name == "my-all/my-all.one"
    for spec_type in types[:-1]:
        assert registry.find(spec_type, "one").full_name == "my-all/one"


@pytest.fixture
def clash(site):
    """Two plugins that share one name in two spellings, and each have one of their own."""
    site.add("left-plugin", plugin("same_name", "left_one"))
    site.add("right-plugin", plugin("same-name", "right_one"))
    return site.registry()


def test_of_two_plugins_with_one_name_neither_wins(clash):
    for name in ("same_name", "same-name"):
        with pytest.raises(UnknownName) as caught:
            clash.find(CodecSpec, name)
        assert "left-plugin/same_name" in str(caught.value)
        assert "right-plugin/same-name" in str(caught.value)


def test_plugins_with_one_name_stay_reachable_by_their_full_names(clash):
    assert clash.find(CodecSpec, "left-plugin/same_name").distribution == "left-plugin"
    assert clash.find(CodecSpec, "right-plugin/same-name").distribution == "right-plugin"
    assert clash.find(CodecSpec, "right_plugin/same_name").distribution == "right-plugin"


def test_a_name_clash_is_one_problem_and_spares_the_other_names(clash):
    assert [problem.stage for problem in clash.problems] == ["name"]
    assert clash.problems[0].distribution in ("left-plugin", "right-plugin")
    for name in ("left-plugin/same_name", "right-plugin/same-name"):
        assert name in clash.problems[0].summary
    for name in ("left_one", "right_one"):
        assert clash.find(CodecSpec, name).spec.name == name


def test_strict_raises_at_a_name_clash(site):
    site.add("left-plugin", plugin("same"))
    site.add("right-plugin", plugin("same"))
    with pytest.raises(PluginError, match="taken twice"):
        site.registry(strict=True)


def test_one_name_for_a_codec_and_its_trainer_is_no_clash(site):
    trainer = "\n@hookimpl\ndef codectk_trainers():\n    return [TrainerSpec(name='mine', summary='s', target='a:B')]"
    site.add("my-plugin", plugin("mine") + trainer)
    registry = site.registry(strict=True)
    assert registry.find(CodecSpec, "mine").spec != registry.find(TrainerSpec, "mine").spec


COMMAND = HEADER.replace("CodecSpec,", "CodecSpec, CommandSpec,") + (
    "@hookimpl\ndef codectk_commands():\n    return [CommandSpec(name={name!r}, summary='s', target='a:b')]"
)


@pytest.mark.parametrize("name", ["merge", "a.b.c", "a.", ".b", "-a.b", "a b.c", "a/b.c"])
def test_the_name_of_a_command_is_two_words_with_a_dot(site, name):
    site.add("my-plugin", COMMAND.format(name=name))
    (problem,) = site.registry().problems
    assert problem.stage == "hook"
    assert "two words with a dot" in problem.summary


@pytest.mark.parametrize("word", ["train", "new_plugin", "import-weights"])
def test_a_command_behind_a_built_in_word_is_a_problem_and_keeps_its_full_name(site, word):
    site.add("my-plugin", COMMAND.format(name=f"{word}.merge"))
    registry = site.registry()
    assert [(problem.distribution, problem.stage) for problem in registry.problems] == [("my-plugin", "name")]
    assert f"use my-plugin/{word}.merge" in registry.problems[0].summary
    assert registry.find(CommandSpec, f"my-plugin/{word}.merge").spec.word == word
    with pytest.raises(PluginError, match="built-in"):
        site.registry(strict=True)


def test_damaged_entry_points_of_one_distribution_keep_only_it_out(tmp_path):
    for name, points in (("good_one", "[codectk]\ngood = good_one\n"), ("bad_one", "[codectk]\nno equals sign\n")):
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(points)
    (tmp_path / "good_one.py").write_text(plugin("mine"))
    script = (
        "from codectk import CodecSpec, Registry\n"
        "registry = Registry(strict=False)\n"
        "registry.find(CodecSpec, 'mine')\n"
        "print([(problem.distribution, problem.stage) for problem in registry.problems])\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[('bad_one', 'import')]", done.stderr


def test_the_nearest_name_is_suggested(site):
    site.add("my-plugin", plugin("dct_backbones", "frappe"))
    registry = site.registry()
    assert registry.find(CodecSpec, "dct-backbones").spec.name == "dct_backbones"
    with pytest.raises(UnknownName, match=r"no codec named 'frape'.*Did you mean 'frappe'\?.*codectk list codecs"):
        registry.find(CodecSpec, "frape")


def test_a_name_that_resembles_nothing_leads_to_what_is_installed(site):
    site.add("my-plugin", plugin("frappe"))
    with pytest.raises(UnknownName, match="codectk list trainers"):
        site.registry().find(TrainerSpec, "frappe")


def test_a_name_that_resembles_nothing_leads_to_the_plugins_that_did_not_load(site):
    site.add("my-plugin", plugin("frappe"))
    site.add("my-broken", "raise ValueError")
    with pytest.raises(UnknownName, match=r"codectk plugins.*my-broken"):
        site.registry().find(CodecSpec, "zzz")


def test_a_distribution_without_metadata_is_called_after_its_module(site):
    # An interrupted uninstall leaves such a folder behind.
    site.add("left-over", plugin("mine"), metadata=False)
    site.add("zzz-good", plugin("second"))
    registry = site.registry()
    assert [found.full_name for found in registry.codecs()] == ["left-over/mine", "zzz-good/second"]


def test_the_core_itself_is_a_plugin_without_a_problem():
    registry = Registry(strict=False)
    core = [found for found in registry.plugins if found.distribution == "codectk-core"]
    assert [found.loaded for found in core] == [True]
    assert [problem for problem in registry.problems if problem.distribution == "codectk-core"] == []
    assert {"psnr", "ssim", "max_error", "nrmse"} <= {found.spec.name for found in registry.metrics()}


INSTALLED = """
import json
from codectk.registry import get_registry
registry = get_registry()
print(json.dumps({
    "problems": sorted([p.distribution, p.stage] for p in registry.problems),
    "codecs": [c.full_name for c in registry.codecs()],
    "metrics": [m.full_name for m in registry.metrics()],
}))
"""


def test_installed_plugins_are_found_in_a_fresh_process_however_many_are_broken(site):
    site.add("aaa-good", plugin("first"))
    expected = []
    for number, (stage, source) in enumerate(BROKEN.values()):
        site.add(f"test-broken-{number:02d}", source)
        expected.append([f"test-broken-{number:02d}", stage])
    site.add("zzz-good", plugin("second"))
    result = site.run(INSTALLED)
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    # Other plugins may be installed where the tests run.
    assert [problem for problem in found["problems"] if problem[0].startswith("test-broken")] == expected
    assert {"aaa-good/first", "zzz-good/second"} <= set(found["codecs"])
    assert not any(NEVER_LOADED in name for name in found["codecs"] + found["metrics"])
    assert "codectk-core/psnr" in found["metrics"]
