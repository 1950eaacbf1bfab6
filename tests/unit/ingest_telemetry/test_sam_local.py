"""`sam local invoke` with neither AWS nor the local cloud says at once what is missing."""

from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError, NoCredentialsError

from ingest_telemetry.patience import Patience
from ingest_telemetry.settings import Settings, is_sam_local
from tests.unit.ingest_telemetry.effects import ENVIRONMENT

from ingest_telemetry import handler  # isort: skip -- wired from the environment set above


class Unreachable:
    """An S3 client that fails as botocore does where there is no S3."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def put_object(self, **_: Any) -> Any:
        raise self.error


def never(_: float) -> None:
    raise AssertionError("waited at a desk")


@pytest.mark.parametrize(
    "error", [NoCredentialsError(), EndpointConnectionError(endpoint_url="https://s3")]
)
def test_says_in_one_line_what_is_missing_instead_of_waiting(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setenv("AWS_SAM_LOCAL", "true")
    monkeypatch.setattr(handler, "s3_client", lambda _: Unreachable(error))
    use = handler._collaborators(Settings.from_environment(ENVIRONMENT))
    with pytest.raises(handler.ZoneUnreachableError) as raised:
        use.raw_zone.put_once("raw_data/key", b"body", Patience(lambda: 300.0, never))
    message = str(raised.value)
    assert "\n" not in message
    for told in ("make up CONTAINERS=1", "--env-vars build/local/sam-local.json", str(error)):
        assert told in message


def test_lambda_is_not_sam_local() -> None:
    assert not is_sam_local({"AWS_EXECUTION_ENV": "AWS_Lambda_python3.13"})
    assert is_sam_local({"AWS_SAM_LOCAL": "true"})
