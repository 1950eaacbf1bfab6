"""Where a deployed stack's parts are: its outputs, read once.

Tools take a stack's name and nothing else, so that the same command works on AWS and, with
`build/local/environment` in the shell, in the local cloud.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from ops.errors import OperationError

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient


@dataclass(frozen=True)
class Stack:
    """The names of the parts that the tools touch, and the stream's ARN. `other_job_names`: of the
    jobs that write tables beside the curation job."""

    name: str
    stream_name: str
    stream_arn: str
    function_name: str
    raw_zone_bucket: str
    rejected_zone_bucket: str
    failed_zone_bucket: str
    curated_zone_bucket: str
    database_name: str
    curation_job_name: str
    other_job_names: tuple[str, ...] = ()


def read_stack(cloudformation: CloudFormationClient, name: str) -> Stack:
    """The deployed stack of that name; raises OperationError if it is not there or not ours."""
    try:
        [description] = cloudformation.describe_stacks(StackName=name)["Stacks"]
    except ClientError as error:
        region = cloudformation.meta.region_name
        raise OperationError(
            f"stack {name} cannot be read in {region}: {error.response['Error']['Message']}. "
            "Check --stack-name, the region and the credentials (`aws cloudformation list-stacks`)."
        ) from error
    outputs = {
        output.get("OutputKey", ""): output.get("OutputValue", "")
        for output in description.get("Outputs", [])
    }
    # arn:<partition>:cloudformation:<region>:<account>:stack/...
    _, partition, _, region, account, _ = description["StackId"].split(":", 5)
    try:
        return Stack(
            name=name,
            stream_name=outputs["TelemetryStreamName"],
            stream_arn=(
                f"arn:{partition}:kinesis:{region}:{account}"
                f":stream/{outputs['TelemetryStreamName']}"
            ),
            function_name=outputs["IngestTelemetryFunctionName"],
            raw_zone_bucket=outputs["RawZoneBucketName"],
            rejected_zone_bucket=outputs["RejectedZoneBucketName"],
            failed_zone_bucket=outputs["FailedZoneBucketName"],
            curated_zone_bucket=outputs["CuratedZoneBucketName"],
            database_name=outputs["DatabaseName"],
            curation_job_name=outputs["CurateTelemetryJobName"],
            other_job_names=(outputs["SummariseDevicesJobName"], outputs["MaintainTablesJobName"]),
        )
    except KeyError as error:
        raise OperationError(
            f"stack {name} has no output {error}: is it a stack of this application, and did its "
            "deployment finish?"
        ) from error
