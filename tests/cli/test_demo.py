"""`codectk demo` deletes nothing that it did not make."""

from pathlib import Path

import pytest

from .conftest import Run, mistakes


@pytest.mark.parametrize("target", ["mine", "link", "mine/run/notes.txt", "."])
def test_force_deletes_nothing_but_an_earlier_demo(tmp_path: Path, codectk: Run, target: str) -> None:
    precious = tmp_path / "mine" / "run" / "notes.txt"
    precious.parent.mkdir(parents=True)
    precious.write_text("precious")
    if target in ("link", "."):
        (tmp_path / "mine" / ".codectk-demo").touch()
        (tmp_path / "link").symlink_to("mine")
    cwd = tmp_path / "mine" if target == "." else tmp_path
    message = mistakes(codectk("demo", "--out", target, "--force", cwd=cwd))
    assert target in message
    assert precious.read_text() == "precious"


def test_an_earlier_demo_is_replaced_with_force_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from codectk.errors import OutputError
    from codectk_cli.commands.demo import MARKER, _make_room

    monkeypatch.chdir(tmp_path)
    _make_room(Path("demo"), False)
    assert (tmp_path / "demo" / MARKER).is_file()
    (tmp_path / "demo" / "old").touch()
    with pytest.raises(OutputError, match="--force"):
        _make_room(Path("demo"), False)
    _make_room(Path("demo"), True)
    assert [path.name for path in (tmp_path / "demo").iterdir()] == [MARKER]
