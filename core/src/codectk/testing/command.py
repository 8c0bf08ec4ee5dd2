"""What every command of a plugin must keep to."""

from typing import ClassVar

import pytest

from codectk.specs import CommandSpec
from codectk.testing.specs import SpecConformance


class CommandConformance(SpecConformance):
    """Tests of one command. What it does is for the plugin's own tests to check.

    Attributes:
        spec: its `CommandSpec`.
    """

    spec: ClassVar[CommandSpec]

    def test_the_command_line_reaches_it(self) -> None:
        """Under its two words, with a flag for each of its options."""
        runner = pytest.importorskip("click.testing", reason="the command line (codectk) is not installed")
        main = pytest.importorskip("codectk_cli.main", reason="the command line (codectk) is not installed")
        done = runner.CliRunner().invoke(main.cli, [*self.spec.name.split("."), "--help"])
        assert done.exit_code == 0, f"`codectk {self.spec.name.replace('.', ' ')} --help` fails: {done.output}"
        shown, summary = ("".join(text.lower().split()) for text in (done.output, self.spec.summary))
        assert summary in shown, "another command has these words"
