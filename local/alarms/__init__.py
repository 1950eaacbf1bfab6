"""CloudWatch alarms: what a deployed alarm watches, when it changes its state, and who is told."""
