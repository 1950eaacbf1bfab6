"""What is deployed can be read, is changed by deploying alone, and nothing of it is ignored."""

import threading
from typing import Any

import pytest

from local.api import ApiError
from tests.conformance import glue_pages as pages
from tests.conformance.glue_bench import (
    JOB,
    WORKFLOW,
    Account,
    condition,
    deploy_lake,
    started,
)


@pytest.mark.documented(pages.START_WORKFLOW)
@pytest.mark.parametrize("operation", ["StartWorkflowRun", "StartCrawler", "StartTrigger"])
def test_unknown_names_are_entity_not_found(account: Account, operation: str) -> None:
    with pytest.raises(ApiError) as refused:
        account.call(operation, Name="none")
    assert refused.value.code == "EntityNotFoundException"


@pytest.mark.ours("what runs is what was deployed; the template alone describes it")
def test_definitions_can_be_read_but_changed_only_by_deploying(account: Account) -> None:
    deploy_lake(account)
    assert account.call("GetJob", JobName=JOB)["Job"]["Command"]["Name"] == "glueetl"
    assert account.call("ListWorkflows")["Workflows"] == [WORKFLOW]
    with pytest.raises(ApiError, match="deploy it again"):
        account.call("UpdateJob", JobName=JOB, JobUpdate={})


@pytest.mark.documented(pages.TRIGGER_RESOURCE)
def test_redeploying_changes_in_place_and_leaves_a_trigger_as_started_as_it_was(
    account: Account,
) -> None:
    deploy_lake(account)
    trigger = {
        "Type": "SCHEDULED",
        "WorkflowName": WORKFLOW,
        "Schedule": "cron(0 0 * * ? *)",
        "Actions": [{"JobName": JOB}],
    }
    account.redeploy("Trigger", "schedule", {**trigger, "Actions": []}, trigger)
    account.run()
    assert started(account) == [JOB]
    assert account.call("GetTrigger", Name="schedule")["Trigger"]["State"] == "ACTIVATED"


@pytest.mark.ours("what would be ignored here must not look deployed")
@pytest.mark.parametrize(
    ("kind", "properties", "named"),
    [
        ("Job", {"Command": {"Name": "pythonshell"}}, "only glueetl"),
        (
            "Job",
            {"Command": {"Name": "glueetl"}, "JobRunQueuingEnabled": "true"},
            "JobRunQueuingEnabled",
        ),
        ("Trigger", {"Type": "EVENT"}, "EVENT"),
        ("Trigger", {"Type": "ON_DEMAND", "StartOnCreation": "true"}, "ON_DEMAND"),
        ("Trigger", {"Type": "CONDITIONAL"}, "outside a workflow"),
        (
            "Trigger",
            {
                "Type": "CONDITIONAL",
                "WorkflowName": WORKFLOW,
                "Predicate": {"Conditions": [condition("a", "RUNNING")]},
            },
            "can't listen for state RUNNING",
        ),
        (
            "Trigger",
            {
                "Type": "CONDITIONAL",
                "WorkflowName": WORKFLOW,
                "Predicate": {"Conditions": [condition("a", "FAILED")] * 2},
            },
            "Logical must be",
        ),
        (
            "Trigger",
            {"Type": "SCHEDULED", "Actions": [{"JobName": "a", "Timeout": 1}]},
            "only its name and Arguments",
        ),
    ],
)
def test_refuses_to_deploy_what_would_be_ignored(
    account: Account, kind: str, properties: dict[str, Any], named: str
) -> None:
    with pytest.raises(Exception, match=named):
        account.deploy(
            kind, "x", **{"Actions": [], **properties} if kind == "Trigger" else properties
        )


@pytest.mark.documented(pages.UPDATE_TABLE)
def test_a_table_update_with_a_stale_version_is_refused(account: Account) -> None:
    table = {"Name": "readings", "Parameters": {"metadata_location": "s3://lake/1"}}
    version = account.glue_client.get_table(DatabaseName="iot_data_db", Name="readings")["Table"]
    request = {
        "DatabaseName": "iot_data_db",
        "TableInput": table,
        "VersionId": version["VersionId"],
    }
    account.call("UpdateTable", **request)
    with pytest.raises(ApiError) as refused:
        account.call("UpdateTable", **request)
    assert refused.value.code == "ConcurrentModificationException"


@pytest.mark.documented(pages.ICEBERG_LOCKING)
def test_of_many_writers_at_once_with_one_version_exactly_one_wins(account: Account) -> None:
    barrier = threading.Barrier(8)
    won: list[int] = []

    def write(number: int) -> None:
        barrier.wait(10)
        table = {"Name": "readings", "Parameters": {"writer": str(number)}}
        try:
            account.call("UpdateTable", DatabaseName="iot_data_db", TableInput=table, VersionId="1")
            won.append(number)
        except ApiError:
            pass

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kept = account.glue_client.get_table(DatabaseName="iot_data_db", Name="readings")["Table"]
    assert [kept["Parameters"]["writer"]] == [str(number) for number in won]
