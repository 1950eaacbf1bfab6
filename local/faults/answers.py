"""How each AWS service says that it is throttled or broken, so that SDKs know and retry it.

Each code is the one that the service's own pages have beside its operations, such as

https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecords.html
https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html
https://docs.aws.amazon.com/glue/latest/webapi/API_UpdateTable.html
https://docs.aws.amazon.com/sns/latest/api/API_ListTopics.html
https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricData.html
https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEvents.html

and InternalFailure or ThrottlingException, common to all, where the page has none.
"""

from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape

from local.api import Response, encode_json
from local.faults.calls import Call
from local.faults.faults import Fault

_THROTTLES: Final = {
    "kinesis": ("ProvisionedThroughputExceededException", 400),
    "s3": ("SlowDown", 503),
    "lambda": ("TooManyRequestsException", 429),
    "athena": ("TooManyRequestsException", 400),
}
_FAILURES: Final = {
    "s3": ("InternalError", 500),
    "lambda": ("ServiceException", 500),
    "glue": ("InternalServiceException", 500),
    "iot": ("InternalFailureException", 500),
    "kinesis": ("InternalFailureException", 500),
    "sns": ("InternalError", 500),
    "cloudwatch": ("InternalServiceError", 500),  # of the exception InternalServiceFault
    "events": ("InternalException", 500),
    "athena": ("InternalServerException", 500),
    "iam": ("ServiceFailure", 500),
    "logs": ("ServiceUnavailableException", 503),
}


@dataclass(frozen=True)
class Refusal:
    """An error of AWS: its code, the HTTP status and a message that names the fault."""

    code: str
    status: int
    message: str


def refusal_of(fault: Fault, call: Call) -> Refusal:
    """What the call's service answers under a throttle or an error."""
    if fault.kind == "throttle":
        code, status = _THROTTLES.get(call.service, ("ThrottlingException", 400))
    else:
        code, status = _FAILURES.get(call.service, ("InternalFailure", 500))
        code, status = fault.code or code, fault.status or status
    return Refusal(code, status, f"the fault {fault.name} strikes {call.name}")


def response_of(refusal: Refusal, protocol: str) -> Response:
    """The refusal in a service's protocol."""
    code, message = escape(refusal.code), escape(refusal.message)
    inner = f"<Code>{code}</Code><Message>{message}</Message>"
    match protocol:
        case "s3":
            kind, body = "application/xml", f"<Error>{inner}</Error>".encode()
        case "query":
            error = f"<ErrorResponse><Error>{inner}</Error></ErrorResponse>"
            kind, body = "text/xml", error.encode()
        case _:
            kind = "application/json"
            body = encode_json({"__type": refusal.code, "message": refusal.message})
    headers = {"Content-Type": kind, "x-amzn-ErrorType": refusal.code}
    return Response(refusal.status, headers, body)
