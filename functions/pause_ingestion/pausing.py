"""Whether an alarm's change pauses ingestion, and doing so.

Guarantee: one change into ALARM disables the mapping once. Whoever enables it while the alarm is
still on is not overruled: the mapping is then enabled and was modified later than the alarm, so
neither a second delivery of the same event nor a late retry disables it again; the next change
does. A deployment that changes the mapping is not told apart from a person.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_sns import SNSClient

# The mapping's MaximumRecordAgeInSeconds: what is older when it is read goes to the failed zone.
GIVEN_UP_AFTER: Final = timedelta(days=6)
PAUSED: Final = ("Disabled", "Disabling")

_MESSAGE: Final = """\
Ingestion of stack {stack} is paused: alarm {alarm} has disabled the event source mapping.

{reason}

Nothing is lost: the stream keeps what arrives. Records are given up (to the failed zone, with their
payload) once they are 6 days old, so enable the mapping before {deadline:%Y-%m-%d %H:%M} UTC.
Whatever had not been read when it was paused is older than that.

1. Find out what is rejected and why: RejectedShareAlarm in docs/operations.md.
2. Mend it: the devices, or the contract and a deployment.
3. Go on where it stopped: python -m ops resume ingestion --stack-name {stack}
   (or: aws lambda update-event-source-mapping --uuid {mapping} --enabled)
4. Redrive what was rejected meanwhile: python -m ops redrive --stack-name {stack}

As long as the alarm is on, it does not disable the mapping again; once it has ended, it may.
"""


@dataclass(frozen=True, slots=True)
class Change:
    """What the alarm's event says."""

    alarm: str
    old: str
    new: str
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Ingestion:
    """The mapping, and whom to tell."""

    functions: "LambdaClient"
    topics: "SNSClient"
    mapping_uuid: str
    topic_arn: str
    stack_name: str

    def pause(self, change: Change) -> str:
        """Disable the mapping and tell the topic, if this change is one that does; what was done.

        Whatever keeps it from that is raised: Lambda tries twice more.
        """
        if change.new != "ALARM" or change.old == "ALARM":
            return "not a change into ALARM"
        mapping = self.functions.get_event_source_mapping(UUID=self.mapping_uuid)
        touched_since = mapping["LastModified"] >= change.at
        is_paused = mapping["State"] in PAUSED
        if touched_since and mapping["State"] == "Enabled":
            return "enabled since the alarm changed, by a person or a deployment: left so"
        if is_paused and not touched_since:
            return "disabled before the alarm changed: left so"
        if not is_paused:
            self.functions.update_event_source_mapping(UUID=self.mapping_uuid, Enabled=False)
        # Paused since: by an attempt before this one, which may not have come to tell it.
        self.topics.publish(
            TopicArn=self.topic_arn,
            Subject=f"Ingestion paused: {self.stack_name}"[:100],
            Message=_MESSAGE.format(
                stack=self.stack_name,
                alarm=change.alarm,
                reason=change.reason,
                deadline=change.at + GIVEN_UP_AFTER,
                mapping=self.mapping_uuid,
            ),
        )
        return "paused"
