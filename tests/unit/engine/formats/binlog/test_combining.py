"""Which segments are staged as one, and under which names."""

from __future__ import annotations

from collections.abc import Mapping

from mbk.engine.formats.binlog.combining import TOGETHER, SegmentLogs, arranged


def logs(segment: int, *names: str, size: int = 1, deletes: bool = False) -> SegmentLogs:
    return SegmentLogs(segment=segment, logs=names, size=size, deletes=deletes)


def targets(*segments: SegmentLogs, combine: bool = True) -> list[Mapping[str, str]]:
    return [*arranged(segments, combine=combine)]


def test_the_nth_logs_of_all_fields_are_of_the_same_rows_and_sorted_as_text() -> None:
    first = logs(7, "0/10", "0/9", "1/12", "1/11")
    second = logs(8, "0/20", "1/21")
    made = targets(first, second)
    joined = {log: key for each in made for log, key in each.items()}
    assert {key.split("/")[0] for key in joined.values()} == {"7"}
    order = sorted(joined, key=lambda log: joined[log])
    assert order == ["0/9", "0/10", "0/20", "1/11", "1/12", "1/21"]
    names = [[joined[log].split("/")[2] for log in order if log.startswith(f"{part}/")] for part in (0, 1)]
    assert names[0] == names[1]


def test_two_segments_may_have_logs_of_the_same_name() -> None:
    made = targets(logs(7, "0/1"), logs(8, "0/1"))
    assert len({key for each in made for key in each.values()}) == 2


def test_segments_that_cannot_be_one_keep_their_directories() -> None:
    alone = [
        logs(1, "0/1", deletes=True),
        logs(2, "0/1", "0/2", "1/3"),
        logs(3, "group/0/1"),
        logs(4),
    ]
    for item, made in zip(alone, targets(*alone), strict=True):
        assert made == {log: f"{item.segment}/{log}" for log in item.logs}


def test_segments_of_other_fields_or_too_many_bytes_begin_another_directory() -> None:
    made = targets(
        logs(1, "0/1", size=TOGETHER),
        logs(2, "0/1"),
        logs(3, "0/1", "100/1"),
        logs(4, "0/1", "100/1"),
    )
    assert [next(iter(each.values())).split("/")[0] for each in made] == ["1", "2", "3", "3"]


def test_servers_that_make_segments_of_rows_get_the_directories_as_they_are() -> None:
    assert targets(logs(1, "0/1"), logs(2, "0/1"), combine=False) == [{"0/1": "1/0/1"}, {"0/1": "2/0/1"}]
