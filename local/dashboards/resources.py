"""How CloudFormation makes a dashboard here: one that could not be drawn is refused."""

from typing import Any

from local.dashboards.body import BodyError, widgets
from local.deployment.provider import ApiResource, Created, DeploymentError, Properties


def dashboard_provider(cloudwatch: Any) -> ApiResource:
    """`cloudwatch` is a boto3 client."""

    def put(name: str, properties: Properties) -> Created:
        name = properties.get("DashboardName", name)
        body = properties["DashboardBody"]
        try:
            widgets(body)
        except BodyError as error:
            raise DeploymentError(f"DashboardBody: {error}") from None
        cloudwatch.put_dashboard(DashboardName=name, DashboardBody=body)
        return Created(name)

    return ApiResource(
        "AWS::CloudWatch::Dashboard",
        frozenset({"DashboardName", "DashboardBody"}),
        put,
        lambda name, _: cloudwatch.delete_dashboards(DashboardNames=[name]),
        frozenset({"DashboardName"}),
    )
