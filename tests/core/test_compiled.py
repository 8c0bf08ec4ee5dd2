"""Compiled parts of plugins that are missing or of another machine."""

from pathlib import Path

import pytest

from codectk.compiled import open_library
from codectk.errors import PluginError


@pytest.mark.parametrize("content", [None, b"of another machine"])
def test_a_library_that_does_not_load_is_a_plain_error(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "_native.so"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PluginError, match="codectk-sample's compiled part does not load") as caught:
        open_library(path, "codectk-sample")
    assert caught.value.next_step == "Install codectk-sample again."
