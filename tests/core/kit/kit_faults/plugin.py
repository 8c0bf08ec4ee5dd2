"""What is faulty here, and the one check that must find it. Imports nothing heavy."""

from dataclasses import dataclass, field
from typing import Any

from codectk.hookspecs import hookimpl
from codectk.specs import CodecSpec, CommandSpec, DatasetSpec, Guarantee, MetricSpec, TrainerSpec

CODECTK_API = 1


@dataclass(frozen=True)
class Faulty:
    """One class of this package.

    Attributes:
        check: the check that fails, with its parameter in brackets; None where nothing is wrong.
        spec: fields of its spec that differ from the usual.
        kit: attributes of its conformance class.
    """

    check: str | None
    spec: dict[str, Any] = field(default_factory=dict)
    kit: dict[str, Any] = field(default_factory=dict)


_WEIGHTED: dict[str, Any] = {"needs_weights": True}
_LOSSLESS: dict[str, Any] = {
    "lossless": True,
    "encode_options": "codectk.options:NoOptions",
    "rate_option": None,
}
_FIELDS: dict[str, Any] = {
    "kinds": ("field/f32",),
    "encode_options": "kit_faults.codecs:BoundOptions",
    "rate_option": None,
    "guarantees": (Guarantee(option="abs_error", metric="max_error"),),
}
_PROGRESSIVE = {"progressive": True}
_FILES = {"files": (".png",)}
_OTHER_PROCESS = "test_nothing_else_in_the_process_is_changed"

CODECS = {
    "Good": Faulty(None),
    "GoodLossless": Faulty(
        None, {"lossless": True, "encode_options": "codectk.options:NoOptions", "rate_option": None}
    ),
    "GoodWeighted": Faulty(None, _WEIGHTED),
    "GoodBounded": Faulty(None, _FIELDS),
    "GoodProgressive": Faulty(None, _PROGRESSIVE),
    "GoodFiles": Faulty(None, _FILES),
    "DiffersFromItsTest": Faulty("test_it_is_installed_under_its_name"),
    "WithoutSummary": Faulty("test_the_spec_is_complete", {"summary": ""}),
    "WithPlainDecodeOptions": Faulty(
        "test_everything_that_the_spec_names_exists", {"decode_options": "kit_faults.codecs:PlainOptions"}
    ),
    "WithoutItsImporter": Faulty(
        "test_everything_that_the_spec_names_exists", {"importer": "kit_faults.codecs:nothing"}
    ),
    "WithATextForAPicture": Faulty(
        "test_everything_that_the_spec_names_exists", {"picture": "kit_faults.codecs:PICTURE"}
    ),
    "WithATextForDetails": Faulty(
        "test_everything_that_the_spec_names_exists", {"details": "kit_faults.codecs:PICTURE"}
    ),
    "WithPlainImportOptions": Faulty(
        "test_everything_that_the_spec_names_exists", {"import_options": "kit_faults.codecs:PlainOptions"}
    ),
    "WithoutHelp": Faulty("test_every_option_has_help", {"encode_options": "kit_faults.codecs:HelplessOptions"}),
    "WithOptionsThatJsonChanges": Faulty(
        "test_options_survive_json_and_yaml", {"encode_options": "kit_faults.codecs:JsonOptions"}
    ),
    "WithOptionsThatTheCommandLineChanges": Faulty(
        "test_options_survive_the_command_line", {"encode_options": "kit_faults.codecs:WordOptions"}
    ),
    "WithoutItsRateOption": Faulty("test_the_codec_is_described_truly", {"rate_option": "size"}, {"settings": ()}),
    "RefusesItsSecondKind": Faulty("test_every_kind_is_coded_at_every_setting", {}, {"untrained": True}),
    "WantsEvenSides": Faulty("test_odd_sizes_are_coded"),
    "BreaksAtOnePixel": Faulty("test_one_value_alone_is_coded"),
    "DividesByTheSpread": Faulty("test_flat_and_noisy_arrays_are_coded"),
    "TurnsUpsideDown": Faulty("test_what_comes_back_resembles_what_went_in"),
    "DropsABit": Faulty(
        "test_lossless_means_every_value",
        _LOSSLESS,
    ),
    "StampsTheTime": Faulty("test_the_same_input_gives_the_same_bytes"),
    "ReadsMemoryAsItLies": Faulty("test_where_values_lie_in_memory_does_not_matter"),
    "WritesIntoItsInput": Faulty("test_the_input_is_left_as_it_was"),
    "ReturnsTheSameArray": Faulty("test_the_result_belongs_to_the_caller"),
    "SeedsNumpy": Faulty(_OTHER_PROCESS),
    "SeedsTorch": Faulty(_OTHER_PROCESS),
    "SetsThreads": Faulty(_OTHER_PROCESS),
    "SetsAVariable": Faulty(_OTHER_PROCESS),
    "HidesDataInAFile": Faulty("test_a_file_decodes_in_a_fresh_process"),
    "RemembersTheLastPicture": Faulty("test_a_file_decodes_whatever_was_encoded_since"),
    "ReportsAPart": Faulty("test_the_size_that_is_reported_is_that_of_the_file"),
    "ChangedItsBytes": Faulty("test_golden_files_decode_as_ever"),
    "ReadsAVersionOnPaper": Faulty(
        "test_every_version_that_is_read_has_a_golden_file", {"bitstream_version": 2, "reads": (1, 2)}
    ),
    "FillsUpWhatIsMissing": Faulty("test_cut_files_are_refused"),
    "ReadsFromTheEnd": Faulty("test_bytes_after_the_end_are_refused"),
    "IgnoresSegments": Faulty("test_too_few_or_too_many_segments_are_refused"),
    "ExitsOnDamage": Faulty("test_changed_bits_are_a_plain_error_or_an_array"),
    "NeverVerifies": Faulty("test_decoded_symbols_are_compared_with_the_encoded_ones"),
    "BelievesItsParams": Faulty("test_odd_params_are_a_plain_error_or_an_array"),
    "UnpacksWithoutALimit": Faulty("test_hostile_segments_take_bounded_memory"),
    "BelievesALength": Faulty("test_hostile_segments_take_bounded_memory"),
    "ForgesTheDigest": Faulty("test_other_weights_are_refused", _WEIGHTED),
    "FillsInMissingWeights": Faulty("test_incomplete_weights_are_refused", _WEIGHTED),
    "ForgetsTheMean": Faulty("test_guarantees_hold[constant]", _FIELDS),
    "HasASmallestStep": Faulty("test_guarantees_hold[tiny]", _FIELDS),
    "ClipsLargeValues": Faulty("test_guarantees_hold[huge]", _FIELDS),
    "ClipsSpikes": Faulty("test_guarantees_hold[spiky]", _FIELDS),
    "ZeroesNaN": Faulty("test_guarantees_hold[NaN-holding]", _FIELDS),
    "NeedsAllSegments": Faulty("test_the_first_segments_decode", _PROGRESSIVE, {"untrained": True}),
    "GetsWorse": Faulty("test_more_segments_come_nearer", _PROGRESSIVE, {"settings": ()}),
    "WritesANegative": Faulty("test_a_file_comes_back_as_a_file_and_as_its_picture", _FILES),
    "KeepsToItsFiles": Faulty("test_a_picture_from_elsewhere_becomes_a_file", _FILES),
    "TakesAnyFile": Faulty("test_what_is_no_such_file_is_refused", _FILES),
}

TRAINERS = {
    "GoodTrainer": Faulty(None),
    "WithABadRecipe": Faulty("test_recipes_hold_options_of_the_trainer", {"recipes": "kit_faults:recipes"}),
    "TakesNoSteps": Faulty("test_it_trains_on_the_cpu"),
    "ForgetsItsMomentum": Faulty("test_a_stopped_run_goes_on_to_the_same_weights"),
    "KeepsACacheInTheData": Faulty("test_it_writes_into_its_run_folder_alone"),
    "SetsAFlag": Faulty("test_it_leaves_the_process_as_it_was"),
    "NamesAnotherVersion": Faulty("test_its_weights_say_what_they_are"),
    "LeavesATensorOut": Faulty("test_its_weights_compress_and_decompress"),
    "TripsOverNoData": Faulty("test_a_folder_without_data_is_a_plain_error"),
}

DATASETS = {
    "GoodDataset": Faulty(None),
    "HasAnEmptySplit": Faulty("test_every_split_holds_samples", {"splits": ("train", "val", "test")}),
    "SaysTheWrongKind": Faulty("test_samples_are_what_they_say", {"kinds": ("image/gray8",)}),
    "DrawsAgain": Faulty("test_the_same_number_gives_the_same_sample"),
    "SharesItsMemory": Faulty("test_a_sample_that_is_changed_does_not_change_the_next"),
    "NeverEnds": Faulty("test_a_loop_over_the_samples_ends"),
    "NamesAllAlike": Faulty("test_names_of_samples_differ"),
    "SplitsInName": Faulty("test_splits_share_no_sample"),
    "TripsOverASplit": Faulty("test_an_unknown_split_is_a_plain_error"),
    "SeedsNumpyToo": Faulty(_OTHER_PROCESS),
}

METRICS = {
    "GoodMetric": Faulty(None),
    "AnswersUnderAnotherName": Faulty("test_it_answers_one_number_under_its_name"),
    "DividesByTheError": Faulty("test_equal_arrays_are_perfect"),
    "DeclaresTheWrongDirection": Faulty(
        "test_worse_arrays_are_worse_in_the_direction_that_it_declares", {"direction": "higher"}
    ),
    "AddsUp": Faulty("test_the_value_over_two_pairs_lies_between_theirs"),
    "ForgetsOnAsking": Faulty("test_asking_does_not_change_the_answer"),
    "RemembersTheWorst": Faulty("test_reset_forgets"),
    "NeedsAWindow": Faulty("test_small_arrays_are_measured"),
    "WritesIntoWhatItMeasures": Faulty("test_its_input_is_left_as_it_was"),
    "SetsErrorHandling": Faulty(_OTHER_PROCESS),
}

COMMANDS = {
    "GoodCommand": Faulty(None),
    "StandsBehindABuiltInWord": Faulty(
        "test_the_command_line_reaches_it", {"name": "evaluate.StandsBehindABuiltInWord"}
    ),
}


def codec_specs() -> list[CodecSpec]:
    """As the tests know them."""
    usual: dict[str, Any] = {
        "summary": "for tests",
        "kinds": ("image/rgb8", "image/gray8"),
        "encode_options": "kit_faults.codecs:PlainBits",
        "rate_option": "bits",
    }
    return [
        CodecSpec(**{**usual, "name": name, "target": f"kit_faults.codecs:{name}", **faulty.spec})
        for name, faulty in CODECS.items()
    ]


@hookimpl
def codectk_codecs() -> list[CodecSpec]:
    """As they are installed: one is not what its test says."""
    from dataclasses import replace

    return [replace(s, summary="changed since") if s.name == "DiffersFromItsTest" else s for s in codec_specs()]


@hookimpl
def codectk_trainers() -> list[TrainerSpec]:
    """All of them serve the codec with weights."""
    usual = {"summary": "for tests", "options": "kit_faults.trainers:TrainOptions", "codec": "GoodWeighted"}
    return [
        TrainerSpec(**{**usual, "name": name, "target": f"kit_faults.trainers:{name}", **faulty.spec})
        for name, faulty in TRAINERS.items()
    ]


@hookimpl
def codectk_datasets() -> list[DatasetSpec]:
    """Pictures of noise."""
    usual = {"summary": "for tests", "kinds": ("image/rgb8",)}
    return [
        DatasetSpec(**{**usual, "name": name, "target": f"kit_faults.datasets:{name}", **faulty.spec})
        for name, faulty in DATASETS.items()
    ]


@hookimpl
def codectk_metrics() -> list[MetricSpec]:
    """Mean absolute errors."""
    usual = {"summary": "for tests", "direction": "lower"}
    return [
        MetricSpec(**{**usual, "name": name, "target": f"kit_faults.metrics:{name}", **faulty.spec})
        for name, faulty in METRICS.items()
    ]


@hookimpl
def codectk_commands() -> list[CommandSpec]:
    """Counts of a number."""
    usual = {"summary": "for tests", "options": "kit_faults.commands:CountOptions"}
    return [
        CommandSpec(**{**usual, "name": f"kit_faults.{name}", "target": f"kit_faults.commands:{name}", **faulty.spec})
        for name, faulty in COMMANDS.items()
    ]
