"""Which plugins are taken, and how long one may take."""

import time
from importlib.metadata import EntryPoint

import pytest

from codectk.discovery import BLOCK_VARIABLE, CHOICE_VARIABLE, Choice, Hang, in_time, timeout
from codectk.errors import OptionsError

FRAPPE = EntryPoint("frappe", "codectk_frappe.plugin", "codectk")
OTHER = EntryPoint("other_one", "codectk_other.plugin", "codectk")
CORE = EntryPoint("core", "codectk_core.plugin", "codectk")


@pytest.mark.parametrize(
    ("only", "block", "left_out"),
    [
        ("", "", ["", "", ""]),
        ("frappe", "", ["", CHOICE_VARIABLE, ""]),
        ("codectk-frappe", "", ["", CHOICE_VARIABLE, ""]),
        ("other-one,codectk_frappe", "", ["", "", ""]),
        ("", "frappe", [BLOCK_VARIABLE, "", ""]),
        ("frappe", "frappe", [BLOCK_VARIABLE, CHOICE_VARIABLE, ""]),
        ("", "core", ["", "", ""]),
    ],
)
def test_a_choice_names_entry_points_or_distributions_and_never_the_core(only, block, left_out):
    choice = Choice.from_environment({CHOICE_VARIABLE: only, BLOCK_VARIABLE: block})
    assert [choice.left_out_by(point) for point in (FRAPPE, OTHER, CORE)] == left_out


def test_names_that_no_plugin_has_are_found():
    choice = Choice.from_environment({CHOICE_VARIABLE: "frappe, frape", BLOCK_VARIABLE: "othr"})
    assert choice.unknown([FRAPPE, OTHER]) == [(CHOICE_VARIABLE, "frape"), (BLOCK_VARIABLE, "othr")]


@pytest.mark.parametrize("seconds", [0, 5])
@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
def test_whatever_a_call_raises_comes_out(seconds, error):
    def call():
        raise error

    with pytest.raises(type(error)) as caught:
        in_time(call, seconds)
    assert caught.value is error


@pytest.mark.parametrize("seconds", [0, 5])
def test_a_result_comes_out(seconds):
    assert in_time(lambda: None, seconds) is None
    assert in_time(lambda: 5, seconds) == 5


def test_a_call_that_takes_too_long_is_left_behind_and_its_place_shown():
    with pytest.raises(Hang, match=r"still not done after 0\.05 s") as caught:
        in_time(lambda: time.sleep(1), 0.05)
    assert "time.sleep(1)" in "".join(caught.value.__notes__)


@pytest.mark.parametrize(("text", "seconds"), [("", 10.0), ("0", 0.0), ("2.5", 2.5)])
def test_the_time_limit_is_a_number(text, seconds):
    assert timeout({"CODECTK_PLUGIN_TIMEOUT": text}) == seconds


@pytest.mark.parametrize("text", ["soon", "-1", "nan", "inf"])
def test_a_time_limit_that_is_no_number_is_an_error(text):
    with pytest.raises(OptionsError, match="CODECTK_PLUGIN_TIMEOUT"):
        timeout({"CODECTK_PLUGIN_TIMEOUT": text})
