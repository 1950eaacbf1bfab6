"""The export's entry point: what IoT's registry knows of its things, into the job's table.

Guarantee: it reads everything before it writes one commit, and counts itself after that. Whatever
keeps it from that is an exception: Lambda tries it again, and RegistryExports stands still.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import boto3
from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.config import Config

from export_registry.changes import changes, present_state
from export_registry.metrics import emit
from export_registry.registry_table import RegistryTable, catalogue_of
from export_registry.settings import Settings

LOGGER: Final = Logger()
METRICS: Final = Metrics()
SETTINGS: Final = Settings.from_environment()
SESSION: Final = boto3.Session()
# ListThings is throttled at 10 calls a second and account, which other programs share.
IOT: Final = SESSION.client("iot", config=Config(retries={"mode": "standard", "max_attempts": 10}))
# The most that a page holds: https://docs.aws.amazon.com/iot/latest/apireference/API_ListThings.html
PAGE: Final = 250


@LOGGER.inject_lambda_context
def lambda_handler(event: Mapping[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Export once; the answer is for people."""
    # A time before the registry is read: what changes meanwhile is the next export's.
    at = datetime.now(UTC)
    pages = IOT.get_paginator("list_things").paginate(PaginationConfig={"PageSize": PAGE})
    things = [thing for page in pages for thing in page["things"]]
    # Credentials are fetched anew: a function's environment outlives them.
    table = RegistryTable(
        catalogue_of(boto3.Session()), SETTINGS.database_name, SETTINGS.table_location
    )
    written = changes(present_state(table.rows(), at), things, at)
    table.append(written)
    LOGGER.info("registry_exported", things=len(things), changes=len(written))
    emit(len(written), METRICS)
    return {"things": len(things), "changes": len(written), "valid_from": at.isoformat()}
