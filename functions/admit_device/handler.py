"""The hook's entry point: IoT calls it for each device that claims a certificate.

Guarantee: only a clear yes admits; an error is raised, which IoT takes for a no. IoT waits for five
seconds: https://docs.aws.amazon.com/iot/latest/developerguide/pre-provisioning-hook.html
"""

from collections.abc import Mapping
from typing import Any, Final

import botocore.session
from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.config import Config

from admit_device.admission import THING_NAME, refusal
from admit_device.settings import Settings

LOGGER: Final = Logger()
SETTINGS: Final = Settings.from_environment()
# Botocore alone: boto3 would cost a cold start 50 ms more, of five seconds.
IOT: Final = botocore.session.get_session().create_client(
    "iot",
    config=Config(
        connect_timeout=1, read_timeout=2, retries={"mode": "standard", "max_attempts": 3}
    ),
)


@LOGGER.inject_lambda_context
def lambda_handler(event: Mapping[str, Any], context: LambdaContext) -> dict[str, bool]:
    """The answer that IoT takes: whether the device may be provisioned."""
    thing_name = (event.get("parameters") or {}).get(THING_NAME)
    reason = refusal(IOT, thing_name)
    LOGGER.info(
        "device_claimed",
        thing=thing_name if reason != "no_thing_name" else None,
        admitted=reason is None,
        reason=reason,
        claim_certificate=event.get("claimCertificateId"),
    )
    return {"allowProvisioning": reason is None}
