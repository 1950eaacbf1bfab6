"""Which calls a fault strikes, and what a request is called."""

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse

from local.faults.calls import Call, call_of
from local.faults.faults import Faults
from tests.loopback import client_of

PUT = Call("kinesis:PutRecord", "telemetry")

CALLS: list[tuple[str, Callable[[Any], Any]]] = [
    ("s3:PutObject", lambda s3: s3.put_object(Bucket="b", Key="a/b c.parquet", Body=b"x")),
    ("s3:CopyObject", lambda s3: s3.copy_object(Bucket="b", Key="k", CopySource="b/o")),
    (
        "s3:UploadPart",
        lambda s3: s3.upload_part(Bucket="b", Key="k", PartNumber=1, UploadId="u", Body=b"x"),
    ),
    (
        "s3:UploadPartCopy",
        lambda s3: s3.upload_part_copy(
            Bucket="b", Key="k", PartNumber=1, UploadId="u", CopySource="b/o"
        ),
    ),
    ("s3:CreateMultipartUpload", lambda s3: s3.create_multipart_upload(Bucket="b", Key="k")),
    ("s3:GetObject", lambda s3: s3.get_object(Bucket="b", Key="k/")),
    ("s3:HeadObject", lambda s3: s3.head_object(Bucket="b", Key="k")),
    ("s3:DeleteObject", lambda s3: s3.delete_object(Bucket="b", Key="k")),
    (
        "s3:DeleteObjects",
        lambda s3: s3.delete_objects(Bucket="b", Delete={"Objects": [{"Key": "k"}]}),
    ),
    ("s3:ListObjectsV2", lambda s3: s3.list_objects_v2(Bucket="b", Prefix="p")),
    ("s3:ListBuckets", lambda s3: s3.list_buckets()),
    ("s3:CreateBucket", lambda s3: s3.create_bucket(Bucket="b")),
    ("kinesis:PutRecord", lambda k: k.put_record(StreamName="s", Data=b"x", PartitionKey="k")),
    ("glue:UpdateTable", lambda g: g.update_table(DatabaseName="d", TableInput={"Name": "t"})),
    ("lambda:Invoke", lambda f: f.invoke(FunctionName="f")),
    ("lambda:UpdateFunctionCode", lambda f: f.update_function_code(FunctionName="f", ZipFile=b"")),
    ("iot:CreateThing", lambda i: i.create_thing(thingName="t")),
    ("iot:ListThingPrincipals", lambda i: i.list_thing_principals(thingName="t")),
    ("cloudwatch:PutMetricData", lambda c: c.put_metric_data(Namespace="n", MetricData=[])),
    ("cloudformation:DescribeStacks", lambda c: c.describe_stacks(StackName="s")),
    ("sns:ListTopics", lambda s: s.list_topics()),
]


@pytest.mark.parametrize(("name", "make"), CALLS, ids=[name for name, _ in CALLS])
def test_a_request_has_the_name_of_its_api_call(name: str, make: Callable[[Any], Any]) -> None:
    client = client_of("http://127.0.0.1:1", name.partition(":")[0])
    named: list[str | None] = []

    def keep(request: AWSPreparedRequest, **_: object) -> AWSResponse:
        call = call_of(environ_of(request), _body(request), None)
        named.append(None if call is None else call.name)
        raise InterruptedError

    client.meta.events.register("before-send", keep)
    with pytest.raises(InterruptedError):
        make(client)
    assert named == [name]


def _body(request: AWSPreparedRequest) -> bytes:
    body: Any = request.body or b""
    body = body.read() if hasattr(body, "read") else body
    return body.encode() if isinstance(body, str) else bytes(body)


def environ_of(request: AWSPreparedRequest) -> Any:
    url = urlsplit(request.url)
    environ = {
        "HTTP_" + name.upper().replace("-", "_"): value.decode()
        if isinstance(value, bytes)
        else value
        for name, value in request.headers.items()
    }
    return environ | {
        "REQUEST_METHOD": request.method,
        "PATH_INFO": url.path,
        "QUERY_STRING": url.query,
        "CONTENT_TYPE": environ.get("HTTP_CONTENT_TYPE", ""),
    }


def test_what_is_not_signed_is_no_call_of_aws() -> None:
    assert call_of({"REQUEST_METHOD": "GET", "PATH_INFO": "/_local/status"}, b"", None) is None


def struck(seed: int, probability: float = 0.3) -> list[bool]:
    faults = Faults()
    faults.inject("throttle", on="kinesis:Put*", times=0, probability=probability, seed=seed)
    return [faults.strike(PUT) is not None for _ in range(200)]


def test_a_seed_always_strikes_the_same_calls_about_as_many_as_the_probability_says() -> None:
    assert struck(7) == struck(7)
    assert struck(7) != struck(8)
    assert 40 <= struck(7).count(True) <= 80
    assert not any(struck(7, probability=0))
    assert all(struck(7, probability=1))


def test_other_calls_in_between_change_nothing() -> None:
    faults = Faults()
    faults.inject("throttle", on="kinesis:Put*", times=0, probability=0.3, seed=7)
    strikes = []
    for _ in range(200):
        assert faults.strike(Call("kinesis:GetRecords")) is None
        strikes.append(faults.strike(PUT) is not None)
    assert strikes == struck(7)


def test_threads_share_the_strikes_and_none_is_counted_twice() -> None:
    faults = Faults()
    faults.inject("throttle", on="kinesis:*", times=50)
    fired: Counter[bool] = Counter()
    lock = threading.Lock()

    def strike() -> None:
        for _ in range(50):
            was_struck = faults.strike(PUT) is not None
            with lock:
                fired[was_struck] += 1

    threads = [threading.Thread(target=strike) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert fired == {True: 50, False: 150}
    assert faults.fired("throttle") == 50
    assert not faults.waiting


def test_one_fault_at_a_time_strikes_a_call_the_first_injected_first() -> None:
    faults = Faults()
    faults.inject("delay", on="kinesis:*", seconds=1)
    faults.inject("throttle", on="kinesis:*")
    assert [fault and fault.kind for fault in (faults.strike(PUT) for _ in range(3))] == [
        "delay",
        "throttle",
        None,
    ]
