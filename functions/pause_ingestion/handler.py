"""The pause's entry point: an action of the alarm on the share of rejected readings."""

from datetime import datetime
from typing import Any, Final

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.data_classes import CloudWatchAlarmEvent, event_source
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.session import Session

from pause_ingestion.pausing import Change, Ingestion
from pause_ingestion.settings import Settings

LOGGER: Final = Logger()
SETTINGS: Final = Settings.from_environment()


def _ingestion(settings: Settings) -> Ingestion:
    session = Session()
    endpoint = settings.aws_endpoint_url or None
    # botocore types no client by its service; the stubs do.
    functions: Any = session.create_client("lambda", endpoint_url=endpoint)
    topics: Any = session.create_client("sns", endpoint_url=endpoint)
    return Ingestion(
        functions=functions,
        topics=topics,
        mapping_uuid=settings.mapping_uuid,
        topic_arn=settings.topic_arn,
        stack_name=settings.stack_name,
    )


INGESTION: Final = _ingestion(SETTINGS)


@LOGGER.inject_lambda_context
@event_source(data_class=CloudWatchAlarmEvent)
def lambda_handler(event: CloudWatchAlarmEvent, context: LambdaContext) -> dict[str, Any]:
    """Pause ingestion if the alarm has just gone off; the answer is for people."""
    alarm = event.alarm_data
    done = INGESTION.pause(
        Change(
            alarm=alarm.alarm_name,
            old=alarm.previous_state.value,
            new=alarm.state.value,
            reason=alarm.state.reason,
            at=datetime.fromisoformat(alarm.state.timestamp),
        )
    )
    LOGGER.info("pause_ingestion", done=done, alarm=alarm.alarm_name)
    return {"done": done}
