"""Codecs to compare, as words of the command line: `NAME[@WEIGHTS][:OPTION=VALUE,VALUE…]…`."""

import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from codectk.compression import LoadedCodec, load_codec
from codectk.errors import CodectkError, OptionsError
from codectk.evaluate import Candidate
from codectk.fields import is_field
from codectk.registry import Registry
from codectk.specs import CodecSpec, normalise
from codectk_cli.shared import codec_of, warn

# A value may hold colons, such as 4:4:4: a setting ends where another NAME= follows.
_NEXT = r":(?=[A-Za-z][\w-]*=)"
_WORD = re.compile(rf"(?P<name>[^@:]+)(?:@(?P<weights>.+?))?(?P<settings>(?:{_NEXT}.+)?)")


def candidates(
    words: tuple[str, ...],
    weights: tuple[Path, ...],
    device: str,
    registry: Registry,
    rate_points: bool = True,
    files: Sequence[Path] = (),
) -> list[Candidate]:
    """The codecs that a call names, or all that work as they are installed.

    Args:
        words: `jpeg`, `frappe@weights.safetensors`, `avif:quality=30,50:speed=8`; several options combine.
        weights: weights files; they serve the named codec they belong to that has none of its own, or join in.
        device: where networks run.
        rate_points: go through a codec's own rate points where its rate option is not given; otherwise its default.
        files: the inputs; where no codec is named, those that take neither pictures nor fields among them stay out.

    Raises:
        OptionsError: a word cannot be read, or two candidates would have one label.
        CodectkError: a codec named by the user cannot be loaded.
    """
    by_codec: dict[str, list[Path]] = {}
    for path in weights:
        by_codec.setdefault(normalise(codec_of(path)), []).append(path)
    parsed = [_parse(word) for word in words]
    if not words and not weights:
        return _every_codec(registry, device, rate_points, files)
    named = {normalise(registry.find(CodecSpec, name).spec.name) for name, _, _ in parsed}
    parsed += [(codec, None, "") for codec in by_codec if codec not in named]
    found: list[Candidate] = []
    for name, own, settings in parsed:
        spec: CodecSpec = registry.find(CodecSpec, name).spec
        paths: list[Path | None] = [own] if own else [*by_codec.get(normalise(spec.name), [])] or [None]
        for given in paths:
            loaded = load_codec(name, given, device, registry)
            label = f"{spec.name}@{given.stem}" if given and (own or len(paths) > 1) else spec.name
            found.append(Candidate(label, loaded, _settings(loaded, settings, rate_points)))
    labels = [candidate.label for candidate in found]
    if len(set(labels)) < len(labels):
        raise OptionsError("Two codecs would have the same label in the results.", "Name each once, or rename weights.")
    return found


def _every_codec(registry: Registry, device: str, rate_points: bool, files: Sequence[Path]) -> list[Candidate]:
    """All codecs that work without a user's weights on inputs such as these; what does not load is a warning."""
    found = []
    families = {"field" if is_field(file) else "image" for file in files}
    for registered in registry.codecs():
        spec: CodecSpec = registered.spec
        suits = not families or families & {kind.partition("/")[0] for kind in spec.kinds}
        if not suits or (spec.needs_weights and not spec.default_weights):
            continue
        try:
            found += candidates((registered.full_name,), (), device, registry, rate_points)
        except CodectkError as error:
            warn(str(error))
    return found


def _parse(word: str) -> tuple[str, Path | None, str]:
    match = _WORD.fullmatch(word)
    if match is None:
        raise OptionsError(f"'{word}' is not NAME[@WEIGHTS][:OPTION=VALUES].", "For example: jpeg:quality=30,60,90.")
    weights = match["weights"]
    return match["name"], Path(weights) if weights else None, match["settings"]


def _settings(loaded: LoadedCodec, text: str, rate_points: bool) -> tuple[dict[str, Any], ...]:
    """All combinations of the given values; the codec's own rate points if neither its rate nor a bound is given."""
    values: dict[str, list[Any]] = {}
    for part in filter(None, re.split(_NEXT, text)):
        name, _, listed = part.partition("=")
        if normalise(name) in values:
            raise OptionsError(f"{name} stands twice in '{text[1:]}'.", f"Write {name}=A,B for several values.")
        values[normalise(name)] = listed.split(",")
    rate_option = loaded.rate_option
    # A bound sets the rate, too, and codecs refuse both.
    rate_given = not values.keys().isdisjoint({rate_option, *(bound.option for bound in loaded.spec.guarantees)})
    if rate_points and rate_option and not rate_given and loaded.codec.rate_points:
        values[rate_option] = list(loaded.codec.rate_points)
    combinations = tuple(dict(zip(values, chosen, strict=True)) for chosen in itertools.product(*values.values()))
    for setting in combinations:
        loaded.encode_options(setting)
    return combinations
