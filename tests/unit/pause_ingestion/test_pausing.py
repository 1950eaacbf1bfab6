"""Once, and not against a person: when an alarm's change disables the mapping."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from pause_ingestion.pausing import Change, Ingestion
from pause_ingestion.settings import Settings, SettingsError

AT = datetime(2026, 11, 26, 12, 0, 15, tzinfo=UTC)
UUID = "3b4c0c52-0f5d-4a5e-8f1e-1f2d3c4b5a69"
TOPIC = "arn:aws:sns:eu-west-1:111122223333:alarms"


class Mapping:
    """Lambda with one mapping; `busy` refuses the next update."""

    def __init__(self) -> None:
        self.state = "Enabled"
        self.modified = AT - timedelta(days=1)
        self.updates: list[bool] = []
        self.busy = False

    def get_event_source_mapping(self, UUID: str) -> dict[str, Any]:
        return {"UUID": UUID, "State": self.state, "LastModified": self.modified}

    def update_event_source_mapping(self, UUID: str, Enabled: bool) -> None:
        if self.busy:
            self.busy = False
            raise ClientError(
                {"Error": {"Code": "ResourceInUseException", "Message": "updating"}},
                "UpdateEventSourceMapping",
            )
        self.updates.append(Enabled)
        self.change("Enabled" if Enabled else "Disabling", AT + timedelta(seconds=2))

    def change(self, state: str, at: datetime) -> None:
        self.state, self.modified = state, at


class Topic:
    """SNS; `broken` refuses the next message."""

    def __init__(self) -> None:
        self.told: list[dict[str, str]] = []
        self.broken = False

    def publish(self, **message: str) -> None:
        if self.broken:
            self.broken = False
            raise ClientError({"Error": {"Code": "InternalError", "Message": "no"}}, "Publish")
        self.told.append(message)


@pytest.fixture
def mapping() -> Mapping:
    return Mapping()


@pytest.fixture
def topic() -> Topic:
    return Topic()


@pytest.fixture
def ingestion(mapping: Mapping, topic: Topic) -> Ingestion:
    # Of both clients the pause uses these methods only.
    return Ingestion(mapping, topic, UUID, TOPIC, "lake")  # type: ignore[arg-type]


def change(old: str = "OK", new: str = "ALARM", at: datetime = AT) -> Change:
    return Change("lake-RejectedShareAlarm", old, new, "Threshold Crossed: 3 out of the last 3", at)


@pytest.mark.parametrize("old", ["OK", "INSUFFICIENT_DATA"])
def test_change_into_alarm_disables_the_mapping_and_says_how_to_go_on(
    ingestion: Ingestion, mapping: Mapping, topic: Topic, old: str
) -> None:
    assert ingestion.pause(change(old)) == "paused"

    assert mapping.updates == [False]
    (message,) = topic.told
    assert message["TopicArn"] == TOPIC
    assert message["Subject"] == "Ingestion paused: lake"
    for part in (
        "python -m ops resume ingestion --stack-name lake",
        f"--uuid {UUID} --enabled",
        "before 2026-12-02 12:00 UTC",
        "Whatever had not been read when it was paused is older than that.",
        "Threshold Crossed: 3 out of the last 3",
        "docs/operations.md",
    ):
        assert part in message["Message"]


@pytest.mark.parametrize(
    ("old", "new"), [("ALARM", "OK"), ("ALARM", "ALARM"), ("OK", "INSUFFICIENT_DATA")]
)
def test_any_other_change_does_nothing(
    ingestion: Ingestion, mapping: Mapping, topic: Topic, old: str, new: str
) -> None:
    ingestion.pause(change(old, new))
    assert (mapping.updates, topic.told) == ([], [])


def test_mapping_that_a_person_has_enabled_again_is_left_so_by_a_second_delivery(
    ingestion: Ingestion, mapping: Mapping, topic: Topic
) -> None:
    ingestion.pause(change())
    mapping.change("Enabled", AT + timedelta(minutes=5))

    done = ingestion.pause(change())

    assert done == "enabled since the alarm changed, by a person or a deployment: left so"
    assert mapping.updates == [False]
    assert len(topic.told) == 1


@pytest.mark.parametrize("state", ["Creating", "Updating"])
def test_mapping_that_something_else_changes_at_the_moment_is_paused_all_the_same(
    ingestion: Ingestion, mapping: Mapping, topic: Topic, state: str
) -> None:
    mapping.change(state, AT + timedelta(seconds=1))
    assert ingestion.pause(change()) == "paused"
    assert mapping.updates == [False]
    assert len(topic.told) == 1


def test_next_change_into_alarm_disables_it_again(
    ingestion: Ingestion, mapping: Mapping, topic: Topic
) -> None:
    ingestion.pause(change())
    mapping.change("Enabled", AT + timedelta(minutes=5))

    assert ingestion.pause(change(at=AT + timedelta(hours=1))) == "paused"

    assert mapping.updates == [False, False]
    assert len(topic.told) == 2


@pytest.mark.parametrize("state", ["Disabled", "Disabling"])
def test_mapping_that_was_disabled_before_is_nothing_to_tell_of(
    ingestion: Ingestion, mapping: Mapping, topic: Topic, state: str
) -> None:
    mapping.state = state
    ingestion.pause(change())
    assert (mapping.updates, topic.told) == ([], [])


def test_mapping_that_is_being_updated_is_tried_again_by_lambda(
    ingestion: Ingestion, mapping: Mapping
) -> None:
    mapping.busy = True
    with pytest.raises(ClientError, match="ResourceInUseException"):
        ingestion.pause(change())
    assert ingestion.pause(change()) == "paused"
    assert mapping.updates == [False]


def test_message_that_was_not_taken_is_sent_by_the_next_attempt(
    ingestion: Ingestion, mapping: Mapping, topic: Topic
) -> None:
    topic.broken = True
    with pytest.raises(ClientError):
        ingestion.pause(change())
    assert topic.told == []

    assert ingestion.pause(change()) == "paused"

    assert mapping.updates == [False]
    assert len(topic.told) == 1


def test_settings_name_the_variable_that_is_missing() -> None:
    with pytest.raises(SettingsError, match="MAPPING_UUID is not set"):
        Settings.from_environment({"TOPIC_ARN": TOPIC})
