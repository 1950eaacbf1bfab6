"""CloudWatch's dashboards in a browser, and the charts and page that the demo's report shares."""
