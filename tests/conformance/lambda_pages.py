"""The pages that state how Lambda and its event source mappings behave, by what they are about."""

from typing import Final

_GUIDE: Final = "https://docs.aws.amazon.com/lambda/latest/dg"
_API: Final = "https://docs.aws.amazon.com/lambda/latest/api"
_STREAMS: Final = "https://docs.aws.amazon.com/streams/latest/dev"
_KINESIS_API: Final = "https://docs.aws.amazon.com/kinesis/latest/APIReference"
_CLOUDFORMATION: Final = "https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference"

# Event source mappings.
AT_LEAST_ONCE: Final = f"{_GUIDE}/invocation-eventsourcemapping.html"
BATCHING: Final = f"{AT_LEAST_ONCE}#invocation-eventsourcemapping-batching"
EVENT: Final = f"{_GUIDE}/with-kinesis.html"
POLLING: Final = f"{EVENT}#kinesis-polling-and-batching"
OPTIONS: Final = f"{_GUIDE}/services-kinesis-create.html#services-kinesis-eventsourcemapping"
PARAMETERS: Final = f"{_GUIDE}/services-kinesis-parameters.html"
FAILURES: Final = f"{_GUIDE}/kinesis-on-failure-destination.html"
DESTINATIONS: Final = f"{FAILURES}#kinesis-on-failure-destination-console"
PARTIAL_RESPONSES: Final = f"{_GUIDE}/services-kinesis-batchfailurereporting.html"
LARGE_RECORDS: Final = f"{_STREAMS}/large-records.html"
AFTER_RESHARDING: Final = f"{_STREAMS}/kinesis-using-sdk-java-after-resharding.html"
ITERATORS: Final = f"{_KINESIS_API}/API_GetShardIterator.html"
GET_RECORDS: Final = f"{_KINESIS_API}/API_GetRecords.html"
CREATE_MAPPING: Final = f"{_API}/API_CreateEventSourceMapping.html"
UPDATE_MAPPING: Final = f"{_API}/API_UpdateEventSourceMapping.html"
DELETE_MAPPING: Final = f"{_API}/API_DeleteEventSourceMapping.html"
GET_MAPPING: Final = f"{_API}/API_GetEventSourceMapping.html"
LIST_MAPPINGS: Final = f"{_API}/API_ListEventSourceMappings.html"
MAPPING_STATES: Final = f"{_API}/API_EventSourceMappingConfiguration.html"
MAPPING_RESOURCE: Final = f"{_CLOUDFORMATION}/aws-resource-lambda-eventsourcemapping.html"

# Functions.
ENVIRONMENT: Final = f"{_GUIDE}/lambda-runtime-environment.html"
VARIABLES: Final = f"{_GUIDE}/configuration-envvars.html"
SEARCH_PATH: Final = f"{_GUIDE}/python-package.html#python-package-searchpath"
LAYER_PATHS: Final = f"{_GUIDE}/packaging-layers.html#packaging-layers-paths"
LAYER_ORDER: Final = f"{_GUIDE}/adding-layers.html"
CONTEXT: Final = f"{_GUIDE}/python-context.html"
HANDLER: Final = f"{_GUIDE}/python-handler.html"
EXCEPTIONS: Final = f"{_GUIDE}/python-exceptions.html"
QUOTAS: Final = f"{_GUIDE}/gettingstarted-limits.html"
CONCURRENCY: Final = f"{_GUIDE}/lambda-concurrency.html"
RESERVED_CONCURRENCY: Final = f"{_GUIDE}/configuration-concurrency.html"
LOGS: Final = f"{_GUIDE}/python-logging.html"
INVOKE: Final = f"{_API}/API_Invoke.html"
UPDATE_CODE: Final = f"{_API}/API_UpdateFunctionCode.html"
DELETE_FUNCTION: Final = f"{_API}/API_DeleteFunction.html"
FUNCTION_RESOURCE: Final = f"{_CLOUDFORMATION}/aws-resource-lambda-function.html"
LAYER_RESOURCE: Final = f"{_CLOUDFORMATION}/aws-resource-lambda-layerversion.html"

# What either measures.
METRICS: Final = f"{_GUIDE}/monitoring-metrics-types.html"
INVOCATION_METRICS: Final = f"{METRICS}#invocation-metrics"
PERFORMANCE_METRICS: Final = f"{METRICS}#performance-metrics"
MAPPING_METRICS: Final = f"{METRICS}#event-source-mapping-metrics"
EMBEDDED_METRICS: Final = (
    "https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring"
    "/CloudWatch_Embedded_Metric_Format_Specification.html"
)
PUT_METRIC_DATA: Final = (
    "https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricData.html"
)
