"""What once lost data, or could have, and the tests that hold what happens instead: none of them may go unnoticed."""

from __future__ import annotations

import ast

import pytest

from tests.architecture.source import ROOT

OPERATIONS = "unit/engine/operations"
#: What may happen -> the tests of it, below ``tests/``.
PROMISES: dict[str, tuple[str, ...]] = {
    "rows are upserted while a backup is made": (
        "versions/test_one_moment.py::test_a_backup_under_writers_is_restored_to_its_point",
        "robustness/test_moment.py::test_on_a_real_2_3",
        "robustness/test_moment.py::test_on_a_real_2_2_no_row_is_missing",
    ),
    "a restore in place of a collection fails or is killed": (
        f"{OPERATIONS}/test_replaced.py::test_whatever_milvus_refuses_the_collection_stays_as_it_was",
        f"{OPERATIONS}/test_replaced.py::test_killed_at_any_call_a_replacing_restore_leaves_the_old_or_the_new_collection",
    ),
    "a bit of an insert log is flipped": (
        "e2e/test_damaged_backup.py::test_a_flipped_bit_of_any_field_never_reaches_milvus",
        "robustness/test_damage.py::test_every_damage_is_noticed",
    ),
    "two insert logs are exchanged": (
        "e2e/test_damaged_backup.py::test_logs_of_two_segments_that_were_exchanged_are_refused",
    ),
    "delete logs are gone": (
        "e2e/test_damaged_backup.py::test_a_delete_log_that_is_not_whole_is_refused",
        "e2e/test_damaged_backup.py::test_all_delete_logs_removed_is_refused",
    ),
    "logs are there twice": (
        "e2e/test_damaged_backup.py::test_logs_that_are_there_twice_are_imported_once",
        f"{OPERATIONS}/test_restore_known.py::test_logs_that_are_there_twice_are_imported_once",
    ),
    "the metadata lacks a segment": (
        "e2e/test_damaged_backup.py::test_an_entry_missing_in_the_metadata_is_refused",
    ),
    "a bit is flipped in what our own reader converts": (
        "versions/test_restore_down.py::test_a_flipped_bit_in_a_column_group_or_a_delta_is_refused_by_our_own_reader",
    ),
    "other rows are there than were counted exactly": (
        f"{OPERATIONS}/test_restore_known.py::test_a_wrong_number_of_rows_is_a_failure_where_the_exact_one_is_known",
        "e2e/test_damaged_backup.py::test_rows_are_exact_with_deletes",
    ),
    "mbk.json is lost or damaged": (
        "unit/engine/repository/test_record.py::test_damage_of_any_metadata_file_is_noticed",
        "unit/engine/repository/test_record.py::test_every_flipped_bit_of_the_manifest_is_noticed",
    ),
    "a storage drops the write of a metadata file": (
        "unit/engine/repository/test_record.py::test_a_storage_that_loses_a_metadata_write_is_noticed_before_success",
        "versions/test_robustness.py::test_a_lie_is_found_out_or_undone",
    ),
    "a storage returns or keeps a wrong byte": (
        f"{OPERATIONS}/test_create_lied_to.py::test_what_was_lied_about_once_is_copied_again",
        "robustness/test_lying.py::test_every_lie_is_found_out",
    ),
    "a damaged backup is copied or compacted": (
        f"{OPERATIONS}/test_copy.py::test_a_damaged_backup_is_refused_before_anything_is_copied",
        f"{OPERATIONS}/test_l0compact.py::test_a_shortened_delta_log_is_refused_before_anything_is_written",
    ),
    "a backup is called like a directory of Milvus, or of somebody else": (
        f"{OPERATIONS}/test_owned.py::test_in_milvus_own_root_no_backup_is_called_like_a_directory_of_milvus",
        f"{OPERATIONS}/test_owned.py::test_a_foreign_prefix_is_not_listed_not_adopted_and_not_deleted",
    ),
    "the target's fields stand in another order": (
        f"{OPERATIONS}/test_restore_into.py::test_fields_of_one_type_in_another_order_are_never_exchanged",
    ),
    "the target is an alias": (
        f"{OPERATIONS}/test_restore_into.py::test_a_target_that_is_an_alias_is_refused_with_the_collection_behind_it",
    ),
    "another machine has the same host name": (
        "unit/engine/runtime/test_lease.py::test_a_machine_of_the_same_name_and_a_process_id_that_is_not_here_prove_nothing",
    ),
    "a run stands still and is overtaken": (
        f"{OPERATIONS}/test_overtaken.py::test_a_create_overtaken_by_a_deletion_at_any_instant_fails_and_leaves_nothing",
        "versions/test_stopped_runs.py::test_a_run_that_was_stopped_and_overtaken_stops_and_leaves_nothing",
    ),
    "a backup is deleted on a full disk": (
        "unit/engine/runtime/test_lease.py::test_what_frees_space_goes_on_where_none_is_left_for_a_lease",
    ),
    "a storage only confirms a deletion": (
        f"{OPERATIONS}/test_owned.py::test_a_delete_that_the_storage_only_confirms_is_found_out",
    ),
    "the bucket keeps versions": (
        f"{OPERATIONS}/test_owned.py::test_after_a_delete_versions_remain_and_that_is_told",
        f"{OPERATIONS}/test_owned.py::test_a_name_is_free_when_only_common_prefixes_are_left",
    ),
    "one backup cannot be read": (
        f"{OPERATIONS}/test_owned.py::test_one_unreadable_backup_does_not_spoil_the_listing",
        "unit/engine/repository/test_foreign_bytes.py::test_no_bytes_raise_anything_but_an_invalid_backup",
    ),
    "an object lies in the backup that it does not know": (
        f"{OPERATIONS}/test_restore_known.py::test_what_the_backup_does_not_know_is_never_handed_to_milvus",
    ),
    "a root path begins with a slash": (
        "unit/plugin/test_fields.py::test_the_root_is_empty_or_ends_with_one_slash",
    ),
    "an interrupted run had a filter": (
        f"{OPERATIONS}/test_resume.py::test_the_filter_of_the_begun_run_is_kept",
    ),
    "a name that was never begun is resumed": (
        f"{OPERATIONS}/test_resume.py::test_what_was_never_begun_cannot_be_resumed",
    ),
    "a filter is empty": ("unit/model/test_keywords.py::test_an_empty_list_does_not_mean_everything",),
    "a filter names what is not there": (
        f"{OPERATIONS}/test_create.py::test_a_named_collection_that_is_not_there_is_refused_before_anything_is_written",
    ),
    "a copy is killed in its last calls": (
        f"{OPERATIONS}/test_copy.py::test_killed_at_any_moment_a_copy_is_never_damaged_and_a_complete_one_lacks_nothing",
    ),
    "a restore is killed in its last calls": (
        f"{OPERATIONS}/test_restore_into.py::test_a_restore_killed_in_its_last_calls_ends_well_when_repeated",
    ),
    "a recorded definition cannot be sent": (
        f"{OPERATIONS}/test_restore_into.py::test_a_definition_that_cannot_be_sent_is_found_before_a_database_is_made",
    ),
    "a run is killed amid a part copy": (
        "conformance/test_s3_faults.py::test_unfinished_uploads_are_found_where_the_service_lists_none_below_a_prefix",
    ),
    "a run is killed amid a write to a directory": (
        "robustness/test_kill.py::test_killed_at_every_call",
        "versions/test_robustness.py::test_a_killed_run_is_run_again_and_ends_well",
    ),
    "a backup is restored twice into one collection": (
        f"{OPERATIONS}/test_restore_into.py::test_the_same_backup_is_not_added_twice_unless_asked_for",
    ),
    "one call fails for a moment": (
        f"{OPERATIONS}/test_hiccup.py::test_create",
        f"{OPERATIONS}/test_hiccup.py::test_restore",
        "robustness/test_kill.py::test_every_call_may_fail_once",
        "robustness/test_faults.py::test_stormy",
    ),
}


@pytest.mark.parametrize("what", PROMISES)
def test_a_promise_has_its_tests(what: str) -> None:
    for test in PROMISES[what]:
        path, _, name = test.partition("::")
        tree = ast.parse((ROOT / "tests" / path).read_text(encoding="utf-8"))
        assert name in {item.name for item in tree.body if isinstance(item, ast.FunctionDef)}, test
