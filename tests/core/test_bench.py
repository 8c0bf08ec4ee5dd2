"""Times of codecs: what is inside a timer and what is not, stages apart, and what is made of them."""

import csv
import json
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from codectk import ArrayInfo, bench, testbed
from codectk.bench import Sample, Speed, Spread, fitted, measure, speeds
from codectk.codec import Encoded
from codectk.compression import LoadedCodec
from codectk.errors import InputError
from codectk.evaluate import Candidate
from codectk.images import Picture
from codectk.options import Options, option


class Clock:
    """Stands in for `time`: it goes on only when something is done that takes time."""

    def __init__(self):
        self.now = 1000.0

    def perf_counter(self):
        return self.now

    def process_time(self):
        return 2 * self.now


class Threaded(Options):
    threads: int = option(0, ge=0, help="Threads.")
    level: int = option(1, help="Level.")


class SlowCodec:
    """Encoding takes 2 s, of which 0.5 s are analysis; decoding 3 s; the first pass of all 50 s more."""

    multiple_of = min_size = 1

    def __init__(self, clock):
        self.clock = clock
        self.encoded, self.decoded, self.options = 0, 0, []

    def encode(self, x, info, options):
        self.clock.now += 2.0 if self.encoded else 52.0
        self.encoded += 1
        self.options.append(options)
        if info.shape[0] == 13:
            raise InputError("13 rows bring bad luck.", "Add one.")
        if info.shape[0] == 14:
            raise ValueError("14 are no better")
        return Encoded({}, (x.tobytes(),), None, {"analysis_seconds": 0.5, "transfer_seconds": 0.25, "bits": 9.0})

    def decode(self, encoded, info, options):
        self.clock.now += 3.0
        self.decoded += 1
        return np.frombuffer(encoded.segments[0], info.dtype).reshape(info.shape)


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(bench, "time", made)
    return made


@pytest.fixture
def slow(tiny, clock):
    """The slow codec; its options have `threads`."""

    class Registered:
        spec = replace(tiny.spec, encode_options="Threaded")
        distribution = "codectk-slow"

        def load(self, target):
            return Threaded if target == "Threaded" else tiny.registered.load(target)

    return LoadedCodec(Registered(), SlowCodec(clock), None)


def pictures(*heights):
    """Names of files, and how they are read: as pictures of those heights and width 10."""
    shapes = {f"{i}.png": (height, 10, 3) for i, height in enumerate(heights)}

    def read(path):
        shape = shapes[path.name]
        return Picture(np.zeros(shape, np.uint8), ArrayInfo("image/rgb8", shape))

    from pathlib import Path

    return [Path(name) for name in shapes], read


def test_passes_to_warm_up_are_not_timed_and_repeats_are(slow):
    files, read = pictures(20, 30)
    seen = []
    samples = measure(
        [Candidate("slow", slow, ({}, {"level": 2}))], files, repeats=3, warmup=2, read=read, on_sample=seen.append
    )
    assert seen == samples
    assert [(s.file, s.number, s.setting) for s in samples] == [
        ("0.png", 0, {}), ("0.png", 0, {"level": 2}), ("1.png", 1, {}), ("1.png", 1, {"level": 2})
    ]  # fmt: skip
    assert slow.codec.encoded == slow.codec.decoded == 4 * 5
    for sample in samples:
        assert sample.encode == (2.0,) * 3
        assert sample.cpu == (4.0,) * 3
        assert sample.decode == (3.0,) * 3
        assert sample.pixels == (200 if sample.number == 0 else 300)
        assert sample.bytes > 3 * sample.pixels


def test_without_a_pass_to_warm_up_the_first_is_timed(slow):
    files, read = pictures(20)
    (sample,) = measure([Candidate("slow", slow, ({},))], files, repeats=2, warmup=0, read=read)
    assert sample.encode == (52.0, 2.0)


def test_without_decoding_nothing_is_decoded(slow):
    files, read = pictures(20)
    samples = measure([Candidate("slow", slow, ({},))], files, decode=False, read=read)
    assert slow.codec.decoded == 0
    assert samples[0].decode == ()
    (speed,) = speeds(samples)
    assert (speed.decode, speed.decode_rate) == (None, None)


def test_reading_files_is_outside_of_all_timers(slow, clock):
    files, read = pictures(20)

    def slowly(path):
        clock.now += 100
        return read(path)

    (sample,) = measure([Candidate("slow", slow, ({},))], files, read=slowly)
    assert max(sample.encode) == 2.0


def test_notes_named_by_seconds_are_stages_and_the_rest_is_other(slow):
    files, read = pictures(20)
    (sample,) = measure([Candidate("slow", slow, ({},))], files, repeats=2, read=read)
    assert sample.stages == {"analysis": (0.5, 0.5), "transfer": (0.25, 0.25), "other": (1.25, 1.25)}
    (speed,) = speeds([sample])
    assert {name: spread.median for name, spread in speed.stages.items()} == {
        "analysis": 0.5, "transfer": 0.25, "other": 1.25
    }  # fmt: skip


def test_a_codec_that_tells_of_no_stages_has_none(tiny):
    files, read = pictures(20)
    (sample,) = measure([Candidate("tiny", tiny, ({},))], files, repeats=1, read=read)
    assert sample.error == ""
    assert sample.stages == {}


def test_what_fails_is_a_sample_with_its_error_and_the_others_go_on(slow):
    files, read = pictures(13, 14, 20, 30)

    def some(path):
        if path.name == "3.png":
            raise InputError("3.png is damaged.", "Copy it again.")
        return read(path)

    samples = measure([Candidate("slow", slow, ({},))], files, read=some)
    assert [s.error for s in samples] == [
        "13 rows bring bad luck. Add one.", "ValueError: 14 are no better", "", "3.png is damaged. Copy it again."
    ]  # fmt: skip
    (speed,) = speeds(samples)
    assert (speed.files, speed.failed, speed.pixels) == (1, 3, 200)


def test_a_codec_with_an_option_for_threads_gets_their_number_unless_its_setting_has_one(slow):
    files, read = pictures(20)
    measure([Candidate("slow", slow, ({}, {"threads": 7}))], files, repeats=1, warmup=0, threads=3, read=read)
    assert [options.threads for options in slow.codec.options] == [3, 7]


@pytest.fixture
def torch(clock, monkeypatch):
    """In place of torch: its device needs 10 s for what it still has to do."""
    made = SimpleNamespace(threads=8, devices=[])

    def synchronize(device):
        made.devices.append(device)
        clock.now += 10.0

    made.get_num_threads = lambda: made.threads
    made.set_num_threads = lambda n: setattr(made, "threads", n)
    made.cuda = SimpleNamespace(is_initialized=lambda: True, synchronize=synchronize)
    monkeypatch.setitem(sys.modules, "torch", made)
    return made


@pytest.mark.parametrize(("device", "waited_for"), [("auto", None), ("cuda:1", "cuda:1")])
def test_a_timer_stops_when_the_device_has_done_all_its_work(slow, torch, device, waited_for):
    files, read = pictures(20)
    (sample,) = measure([Candidate("slow", slow, ({},))], files, repeats=2, device=device, read=read)
    assert sample.encode == (12.0, 12.0)
    assert sample.decode == (13.0, 13.0)
    assert set(torch.devices) == {waited_for}


def test_torch_has_the_threads_that_are_asked_for_before_anything_is_timed(slow, torch):
    files, read = pictures(20)
    measure([Candidate("slow", slow, ({},))], files, warmup=0, threads=3, read=read)
    assert torch.threads == 3


def test_torch_that_is_loaded_by_the_first_pass_has_them_too(slow, torch, monkeypatch):
    files, read = pictures(20)
    monkeypatch.delitem(sys.modules, "torch")
    encode = slow.codec.encode

    def load_and_encode(*args):
        sys.modules["torch"] = torch
        return encode(*args)

    monkeypatch.setattr(slow.codec, "encode", load_and_encode)
    measure([Candidate("slow", slow, ({},))], files, warmup=1, threads=3, read=read)
    assert torch.threads == 3


def sample(codec, number, pixels, encode, **more):
    return Sample(codec, {}, f"{number}.png", number, True, pixels, 100, tuple(encode), cpu=tuple(encode), **more)


def test_rates_come_from_the_median_of_each_file():
    (speed,) = speeds([sample("a", 0, 600, [1, 2, 90], decode=(4.0,)), sample("a", 1, 300, [1, 1, 1], decode=(2.0,))])
    assert speed.encode_rate == 900 / 3
    assert speed.decode_rate == 900 / 6
    assert speed.encode == Spread.of([1, 2, 90, 1, 1, 1])
    assert speed.encode.median == 1
    assert speed.encode.p5 == 1
    assert 2 < speed.encode.p95 < 90
    assert speed.bpp == pytest.approx((800 / 600 + 800 / 300) / 2)
    assert speed.cores == 1


def test_a_codec_is_compared_with_the_first_on_the_files_that_both_coded():
    a = [sample("a", 0, 100, [1.0]), sample("a", 1, 100, [10.0])]
    b = [sample("b", 0, 100, [0.5]), replace(sample("b", 1, 100, []), error="no")]
    ratios = [speed.peer_ratio for speed in speeds(a + b)]
    assert ratios == [1.0, 2.0]
    none = [replace(sample("b", n, 100, []), error="no") for n in (0, 1)]
    assert [s.peer_ratio for s in speeds(none + a)] == [None, None]
    assert speeds(none)[0] == Speed("b", {}, files=0, failed=2)


def test_a_speed_is_one_level_of_columns():
    (speed,) = speeds([sample("a", 0, 100, [1.0, 3.0], stages={"analysis": (0.5, 0.5)})])
    columns = replace(speed, setting={"q": 3, "x": "y"}).flat()
    assert columns["setting"] == "q=3 x=y"
    assert columns["encode_median_seconds"] == 2.0
    assert columns["stage_analysis_p95_seconds"] == 0.5
    assert all(not isinstance(value, dict | list | tuple) for value in columns.values())
    assert csv.DictWriter(sys.stdout, list(columns))


def counted(height, width):
    x = np.arange(height * width, dtype=np.uint16).reshape(height, width, 1)
    return Picture(x, ArrayInfo("image/gray16", x.shape))


def test_the_centre_of_a_picture_is_taken():
    picture = counted(10, 20)
    cut = fitted(picture, 4, 6)
    assert cut.info == ArrayInfo("image/gray16", (4, 6, 1))
    assert cut.x.flags.c_contiguous
    assert np.array_equal(cut.x, picture.x[3:7, 7:13])


def test_what_is_missing_is_filled_with_mirror_images_or_left_away():
    picture = counted(3, 8)
    large = fitted(picture, 8, 4)
    assert np.array_equal(large.x, picture.x[[0, 1, 2, 2, 1, 0, 0, 1], 2:6])
    small = fitted(picture, 8, 4, reflect=False)
    assert np.array_equal(small.x, picture.x[:, 2:6])
    assert fitted(counted(1, 1), 5, 5).x.shape == (5, 5, 1)


def test_fields_are_cut_in_height_and_width_alone():
    x = np.arange(2 * 6 * 7, dtype=np.float32).reshape(2, 6, 7)
    cut = fitted(Picture(x, ArrayInfo("field/f32", x.shape, (0.0, 83.0))), 2, 3)
    assert np.array_equal(cut.x, x[:, 2:4, 2:5])
    assert cut.info.value_range == (float(cut.x.min()), float(cut.x.max()))


def test_a_testbed_says_what_was_used_and_nothing_else(site):
    found = testbed.describe(["codectk-core", "codectk-is-not-there"])
    assert set(found["versions"]) >= {"codectk-core", "numpy"}
    assert "codectk-is-not-there" not in found["versions"]
    assert found["processor"]
    assert 1 <= found["usable cores"] <= found["cores"]
    json.dumps(found)
    script = (
        "import json\nfrom codectk.testbed import describe\nfirst = describe()\nimport torch\n"
        "torch.set_num_threads(1)\nprint(json.dumps([first, describe()]))"
    )
    without, with_torch = json.loads(site.run(script).stdout)
    assert not {"torch", "numpy"} & set(without["versions"])
    assert "torch threads" not in without
    assert "torch" in with_torch["versions"]
    assert (with_torch["torch threads"], with_torch["device"]) == (1, "cpu")
