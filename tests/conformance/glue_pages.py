"""The pages that state how Glue's catalogue, crawlers, jobs and workflows behave."""

from typing import Final

_GUIDE: Final = "https://docs.aws.amazon.com/glue/latest/dg"
_API: Final = "https://docs.aws.amazon.com/glue/latest/webapi"
_CLOUDFORMATION: Final = "https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference"

# Crawlers.
CRAWLERS: Final = f"{_GUIDE}/add-crawler.html"
TABLES_AND_PARTITIONS: Final = f"{_GUIDE}/crawler-s3-folder-table-partition.html"
INCREMENTAL: Final = f"{_GUIDE}/incremental-crawls.html"
SCHEMA_CHANGES: Final = f"{_GUIDE}/crawler-schema-changes-prevent.html"
CREATE_CRAWLER: Final = f"{_API}/API_CreateCrawler.html"
CREATE_PARTITIONS: Final = f"{_API}/API_BatchCreatePartition.html"
COLUMN_TYPES: Final = "https://docs.aws.amazon.com/athena/latest/ug/data-types.html"

# Jobs.
JOBS: Final = f"{_GUIDE}/add-job.html"
JOB_STATES: Final = f"{_GUIDE}/job-run-statuses.html"
ARGUMENTS: Final = f"{_GUIDE}/aws-glue-programming-etl-glue-arguments.html"
JOB_RUNS: Final = f"{_GUIDE}/aws-glue-api-jobs-runs.html"
START_JOB: Final = f"{_API}/API_StartJobRun.html"
STOP_JOB: Final = f"{_API}/API_BatchStopJobRun.html"

EVENTS: Final = f"{_GUIDE}/automating-awsglue-with-cloudwatch-events.html"

# Workflows and triggers.
WORKFLOWS: Final = f"{_GUIDE}/workflows_overview.html"
TRIGGERS: Final = f"{_GUIDE}/about-triggers.html"
WORKFLOW_API: Final = f"{_GUIDE}/aws-glue-api-workflow.html"
TRIGGER_API: Final = f"{_GUIDE}/aws-glue-api-jobs-trigger.html"
START_WORKFLOW: Final = f"{_API}/API_StartWorkflowRun.html"
STOP_WORKFLOW: Final = f"{_API}/API_StopWorkflowRun.html"
RUN_PROPERTIES: Final = f"{_API}/API_GetWorkflowRunProperties.html"
START_CRAWLER: Final = f"{_API}/API_StartCrawler.html"
STOP_CRAWLER: Final = f"{_API}/API_StopCrawler.html"
TRIGGER_RESOURCE: Final = f"{_CLOUDFORMATION}/aws-resource-glue-trigger.html"

# The catalogue.
UPDATE_TABLE: Final = f"{_API}/API_UpdateTable.html"
ICEBERG_LOCKING: Final = "https://iceberg.apache.org/docs/latest/aws/#optimistic-locking"
ICEBERG_CONCURRENCY: Final = (
    "https://iceberg.apache.org/docs/latest/reliability/#concurrent-write-operations"
)
