"""Padding, cropping, carriers and tiles: nothing is lost and nothing is counted twice."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codectk import ArrayInfo
from codectk.arrays import (
    KINDS,
    carrier_info,
    crop,
    from_kind,
    kind_code,
    kind_from_code,
    pad,
    padded_info,
    parts,
    tiles,
    to_kind,
)
from codectk.errors import InputError

PROPERTY = settings(deadline=None, max_examples=100)

sides = st.integers(1, 40)


@st.composite
def arrays(draw):
    """An array of any kind, every value different from its neighbours."""
    kind = KINDS[draw(st.sampled_from(sorted(KINDS)))]
    if kind.channels:
        shape = (draw(sides), draw(sides), kind.channels)
    else:
        shape = tuple(draw(st.lists(st.integers(1, 9), min_size=1, max_size=5)))
    x = (np.arange(np.prod(shape)) % 251).astype(kind.dtype).reshape(shape)
    return x, ArrayInfo(kind.name, shape)


@PROPERTY
@given(arrays(), st.integers(1, 20), st.integers(1, 30))
def test_padding_repeats_the_border_and_cropping_undoes_it(array, multiple_of, min_size):
    x, info = array
    before = x.copy()
    padded, padded_to = pad(x, info, multiple_of, min_size)
    assert padded.shape == padded_to.shape == padded_info(info, multiple_of, min_size).shape
    assert padded.dtype == x.dtype
    for axis, length, original in zip(info.axes, padded.shape, x.shape, strict=True):
        if axis in "HW":
            assert length % multiple_of == 0
            assert max(original, min_size) <= length < max(original, min_size) + multiple_of
        else:
            assert length == original
    np.testing.assert_array_equal(crop(padded, x.shape), before, strict=True)
    nearest = np.ix_(*(np.minimum(np.arange(n), m - 1) for n, m in zip(padded.shape, x.shape, strict=True)))
    np.testing.assert_array_equal(padded, before[nearest])
    np.testing.assert_array_equal(x, before)


def test_nothing_is_copied_where_nothing_is_missing(make_array):
    x, info = make_array("image/rgb8", (16, 32, 3))
    assert pad(x, info, 16, 16)[0] is x


def test_padding_keeps_the_value_range_of_a_field():
    info = ArrayInfo("field/f32", (3, 5), (-1.0, 4.0))
    assert padded_info(info, 8) == ArrayInfo("field/f32", (8, 8), (-1.0, 4.0))


@PROPERTY
@given(sides, sides, st.integers(0, 1 << 32))
def test_a_grey_picture_through_a_colour_carrier_is_exact(height, width, seed):
    x = np.random.default_rng(seed).integers(0, 256, (height, width, 1), np.uint8)
    info = ArrayInfo("image/gray8", x.shape)
    carrier, carried = to_kind(x, info, ("image/rgb8",))
    assert carried == carrier_info(info, ("image/rgb8",)) == ArrayInfo("image/rgb8", (height, width, 3))
    np.testing.assert_array_equal(from_kind(carrier, info), x, strict=True)


def test_the_grey_of_three_channels_is_their_mean_rounded_at_every_sum():
    values = np.arange(766)
    x = np.stack([np.minimum(values, 255), np.clip(values - 255, 0, 255), np.clip(values - 510, 0, 255)], axis=1)
    grey = from_kind(x.astype(np.uint8)[np.newaxis], ArrayInfo("image/gray8", (1, 766, 1)))
    np.testing.assert_array_equal(grey[0, :, 0], np.round(values / 3))
    assert grey.dtype == np.uint8


def test_a_grey_picture_stays_grey_where_grey_is_taken(make_array):
    x, info = make_array("image/gray8", (4, 5, 1))
    same, same_info = to_kind(x, info, ("image/rgb8", "image/gray8"))
    assert same is x
    assert same_info is info
    assert from_kind(x, info) is x
    assert carrier_info(info, ("image/rgb8", "image/gray8")) is info


@pytest.mark.parametrize("kind", ["image/rgba8", "image/gray16", "field/f32"])
def test_a_kind_is_never_converted_where_something_would_be_lost(make_array, kind):
    shape = (4, 5, KINDS[kind].channels or 1)
    x, info = make_array(kind, shape)
    with pytest.raises(InputError, match=kind):
        to_kind(x, info, ("image/rgb8",))
    assert carrier_info(info, ("image/rgb8",)) is info


@PROPERTY
@given(st.integers(1, 100), st.integers(1, 100), st.integers(1, 40), st.integers(0, 20))
def test_tiles_cover_the_plane_exactly_once_with_their_margins(height, width, size, margin):
    covered = np.zeros((height, width), int)
    for tile in tiles(height, width, size, margin):
        covered[slice(*tile.rows), slice(*tile.columns)] += 1
        for kept, read, length in (
            (tile.rows, tile.read_rows, height),
            (tile.columns, tile.read_columns, width),
        ):
            assert 0 < kept[1] - kept[0] <= size
            assert read == (max(0, kept[0] - margin), min(length, kept[1] + margin))
    assert (covered == 1).all()


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        ("image/rgb8", (4, 5)),
        ("image/rgb8", (4, 5, 1)),
        ("image/gray8", (4, 5)),
        ("image/gray8", (0, 5, 1)),
        ("image/rgba8", (1, 4, 5, 4)),
        ("field/f32", ()),
        ("field/f32", (1, 1, 1, 1, 1, 1)),
        ("field/f64", (3, 0)),
        ("field/f64", (-1,)),
        ("image/cmyk8", (4, 5, 4)),
    ],
)
def test_a_shape_that_does_not_fit_its_kind_is_refused(kind, shape):
    with pytest.raises(InputError):
        ArrayInfo(kind, shape)


def test_info_tells_size_axes_and_range():
    photo = ArrayInfo("image/rgb8", (2, 3, 3))
    assert (photo.axes, photo.pixels, photo.nbytes, photo.value_range) == ("HWC", 6, 18, (0.0, 255.0))
    field = ArrayInfo("field/f64", (2, 3, 4))
    assert (field.axes, field.pixels, field.nbytes, field.value_range) == ("THW", 24, 192, None)
    assert ArrayInfo("field/f32", (7,)).axes == "W"


def test_codes_of_kinds_never_change():
    # They are stored in files.
    codes = ["image/gray8", "image/rgb8", "image/rgba8", "image/gray16", "field/f32", "field/f64"]
    assert [kind_code(kind) for kind in codes] == list(range(6))
    assert [kind_from_code(code).name for code in range(6)] == codes
    assert kind_from_code(len(KINDS)) is None
    assert kind_from_code(-1) is None


@pytest.mark.parametrize(("value", "kind", "held"), [(1e20, "f32", float(np.float32(1e20))), (-9999, "i16", -9999)])
def test_a_fill_value_is_as_the_type_holds_it(value, kind, held):
    found = ArrayInfo(f"field/{kind}", (3,), fill_value=value).fill_value
    assert found == held
    assert type(found) is type(held)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_fill_value_that_is_not_finite_says_nothing_new(value):
    assert ArrayInfo("field/f32", (3,), fill_value=value) == ArrayInfo("field/f32", (3,))


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        *((-1, "field/u8"), (256, "field/u8"), (0.5, "field/i32"), (1e300, "field/f32"), (10**400, "field/f64")),
        *((True, "field/u8"), ("0", "field/f32"), (2**64, "field/u64"), (0, "image/gray8")),
    ],
)
def test_a_fill_value_that_the_type_does_not_hold_is_refused(value, kind):
    with pytest.raises(InputError, match="cannot be the fill value"):
        ArrayInfo(kind, (3, 4, 1), fill_value=value)


@pytest.mark.parametrize("shape", [(1,), (7,), (3, 4), (1, 1, 50), (2, 3, 4, 5, 6)])
@pytest.mark.parametrize("most", [1, 4, 7, 30, 1000])
@pytest.mark.parametrize("rows", [1, 2, 5])
def test_parts_follow_each_other_and_hold_no_more_than_asked(shape, most, rows):
    x = np.arange(np.prod(shape)).reshape(shape)
    cut = [x[part] for part in parts(shape, most, rows)]
    assert np.concatenate([part.ravel() for part in cut]).tolist() == x.ravel().tolist()
    assert max(part.size for part in cut) <= most
