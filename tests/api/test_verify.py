"""Jobs of kind ``verify``: the report is their result, and what was found makes them fail."""

from __future__ import annotations

from tests.api.harness import Client
from tests.fakes.world import World


def test_a_whole_backup_is_verified_and_shown_so(client: Client) -> None:
    client.done(kind="backup", name="nightly")
    job = client.done(kind="verify", backup="nightly", depth="listing")
    result = job["result"]
    assert (result["name"], result["depth"], result["is_whole"]) == ("nightly", "listing", True)
    assert (result["findings"], result["found"], result["recorded"]) == ([], 0, True)
    assert {item["name"] for item in result["collections"]} == {"default.docs", "default.notes", "shop.docs"}
    assert {item["state"] for item in job["collections"]} == {"done"}
    (shown,) = client.get("/api/v2/backups")["items"]
    assert (shown["verified"]["depth"], shown["verified"]["findings"]) == ("listing", 0)
    assert client.get("/api/v2/backups/nightly")["verified"] == shown["verified"]


def test_what_was_found_fails_the_job_and_is_in_its_result(client: Client, world: World) -> None:
    client.done(kind="backup", name="nightly")
    key = next(key for key in world.backed_up if "/insert_log/" in key)
    world.backup.delete([key])
    job = client.over(client.job(kind="verify", backup="nightly"))
    assert (job["state"], job["error"]["type"]) == ("failed", "urn:mbk:damage-found")
    (finding,) = job["result"]["findings"]
    assert (finding["kind"], finding["key"]) == ("missing", key.removeprefix("backup/nightly/"))
    assert finding["collection"] in {item["source"] for item in job["collections"]}
    assert {item["state"] for item in job["collections"]} == {"done", "failed"}
    (shown,) = client.get("/api/v2/backups")["items"]
    assert shown["verified"]["findings"] == 1
    assert 'mbk_backup_findings{backup="nightly",depth="digests"} 1.0' in client.ask("GET", "/metrics").text


def test_what_makes_no_sense_is_refused_before_a_job_is_made(client: Client) -> None:
    for body in ({"depth": "deep"}, {"sample": "10%"}, {"record": True, "depth": "drill"}):
        answer = client.ask("POST", "/api/v2/jobs", json={"kind": "verify", "backup": "nightly", **body})
        assert answer.status_code in (400, 422)
    assert client.get("/api/v2/jobs")["items"] == []


def test_a_sample_may_be_a_number_or_a_percentage(client: Client) -> None:
    client.done(kind="backup", name="nightly")
    for sample in (50, "50%"):
        job = client.over(client.job(kind="verify", backup="nightly", depth="contents", sample=sample))
        assert job["result"]["sample"] == 50


def test_a_backup_that_is_not_there_is_no_result(client: Client) -> None:
    job = client.over(client.job(kind="verify", backup="none"))
    assert (job["state"], job["error"]["type"]) == ("failed", "urn:mbk:backup-not-found")
