"""How redriven records get back in: through the deployed function, or onto the stream.

Guarantee: what returns without an exception has been stored. The function answers only after its
objects are written; of a put to the stream every record is put again until it is acknowledged.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from ops.errors import OperationError

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient
    from mypy_boto3_lambda import LambdaClient

# PutRecords takes 500 records and 5 MiB a call.
MAX_PUT_RECORDS = 500
MAX_PUT_BYTES = 5 * 1024 * 1024
MAX_FRUITLESS_PUTS = 8


class Function:
    """The deployed consumer."""

    def __init__(self, client: LambdaClient, name: str) -> None:
        self._client = client
        self.name = name

    def environment(self) -> dict[str, str]:
        """The function's environment variables: its policies and bounds are among them."""
        try:
            configuration = self._client.get_function_configuration(FunctionName=self.name)
        except ClientError as error:
            raise OperationError(
                f"the settings of function {self.name} cannot be read: {error}. "
                "The caller needs lambda:GetFunctionConfiguration."
            ) from error
        return configuration.get("Environment", {}).get("Variables", {})

    def ingest(self, event: bytes) -> dict[str, Any]:
        """The function's answer to one Kinesis event; raises OperationError if it failed."""
        try:
            response = self._client.invoke(
                FunctionName=self.name, InvocationType="RequestResponse", Payload=event
            )
        except (ClientError, BotoCoreError) as error:
            raise OperationError(f"function {self.name} cannot be invoked: {error}") from error
        answer = response["Payload"].read()
        if "FunctionError" in response:
            raise OperationError(
                f"function {self.name} failed on it: {answer[:500].decode(errors='replace')}. "
                "See the function's log; nothing of this batch counts as redriven."
            )
        account = json.loads(answer)
        if not isinstance(account, dict) or "accepted" not in account:
            raise OperationError(
                f"function {self.name} answered {answer[:200]!r} instead of an account of the "
                "batch: is it the function of this application?"
            )
        return account


class Stream:
    """The telemetry stream, as a producer sees it."""

    def __init__(
        self, client: KinesisClient, name: str, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._client = client
        self._name = name
        self._sleep = sleep

    def put(self, records: Sequence[tuple[str, bytes]]) -> None:
        """Puts all (partition key, data) pairs; raises OperationError if some were never taken."""
        waiting = list(records)
        fruitless = 0
        while waiting:
            now, later = _first_call(waiting)
            try:
                response = self._client.put_records(
                    StreamName=self._name,
                    Records=[{"PartitionKey": key, "Data": data} for key, data in now],
                )
            except (ClientError, BotoCoreError) as error:
                raise OperationError(f"stream {self._name} takes no records: {error}") from error
            # PutRecords answers in the order of the request; what it refused has an error code.
            codes = [answer.get("ErrorCode") for answer in response["Records"]]
            refused = [record for record, code in zip(now, codes, strict=True) if code]
            fruitless = fruitless + 1 if len(refused) == len(now) else 0
            if fruitless == MAX_FRUITLESS_PUTS:
                raise OperationError(
                    f"stream {self._name} refused {len(refused)} records {fruitless} times in a "
                    f"row ({codes[0]}); run again when it has room, nothing is doubled by that."
                )
            if refused:
                self._sleep(min(0.1 * 2**fruitless, 5))
            waiting = refused + later


def _first_call(
    waiting: list[tuple[str, bytes]],
) -> tuple[list[tuple[str, bytes]], list[tuple[str, bytes]]]:
    size = 0
    for count, (key, data) in enumerate(waiting):
        size += len(data) + len(key)
        if count == MAX_PUT_RECORDS or (count and size > MAX_PUT_BYTES):
            return waiting[:count], waiting[count:]
    return waiting, []
